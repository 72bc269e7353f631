"""What operators see of a running process: logs, traces and metrics."""
