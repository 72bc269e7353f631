"""The SDK's way to the network: through the one client that tells what a failure means for money.

Without this the SDK would read replies of any length, follow redirects, keep connections, and raise
errors of its own.
"""

from datetime import timedelta

import httpx2

from adapters.http import ChargingService

# Of the SDK's headers these are the connection's, which our client sets by itself.
OF_CONNECTION = {"host", "connection", "content-length", "accept-encoding", "transfer-encoding"}


class ChargingTransport(httpx2.AsyncBaseTransport):
    """Sends each request by *service*, whose errors pass through the SDK as they are."""

    def __init__(self, service: ChargingService, within: timedelta, max_bytes: int) -> None:
        self._service = service
        self._within = within
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = [(name, value) for name, value in request.headers.multi_items()
                   if name.lower() not in OF_CONNECTION]  # fmt: skip
        reply = await self._service.ask(
            request.method,
            str(request.url),
            within=self._within,
            max_bytes=self._max_bytes,
            headers=headers,
            content=await request.aread(),
        )
        # No other header: one that claims an encoding would have the body unfolded without a cap.
        return httpx2.Response(
            reply.status, headers={"content-type": "application/json"}, content=reply.body
        )
