"""Doubles of Google's services: the official clients speak to them as to the services."""

import os

# Tests start other programs; gRPC would tell of each on stderr.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
