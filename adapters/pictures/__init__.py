"""Pictures are checked, stripped and scaled here.

Everything but `worker` may run in worker processes and therefore imports neither ports nor tables;
`codec` and `fidelity`, which decode, run nowhere else.
"""
