"""Webhooks: the history of events, told to endpoints that callers have registered."""
