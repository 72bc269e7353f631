"""Pictures are checked, stripped and scaled here.

Everything but `worker` runs in worker processes and therefore imports neither ports nor tables.
"""
