"""Requests to addresses that callers name: none of them may lead into our own network."""
