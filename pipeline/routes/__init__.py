"""The HTTP interface: one file a resource, `app.py` joins them."""
