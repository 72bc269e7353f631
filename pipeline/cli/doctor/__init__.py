"""`limner doctor`: what is configured, what is missing, and how to mend it.

Every check looks at one thing and tells it as a `Finding`; nothing is left behind where it looked.
"""
