"""How events travel to watchers: Server-Sent Events, text that a browser reads by itself.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from schemas.cursors import EventCursor

MEDIA_TYPE = "text/event-stream"
# A comment: it keeps a silent connection from being taken for a dead one.
PING = b": ping\n\n"


def server_sent(kind: str, data: str, cursor: EventCursor) -> bytes:
    """One event. *data* is JSON on one line; *cursor* comes back as `Last-Event-ID`."""
    return f"event: {kind}\ndata: {data}\nid: {cursor}\n\n".encode()
