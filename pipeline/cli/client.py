"""Limner's HTTP interface as commands call it: typed replies, and problems as exceptions."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx2
from pydantic import BaseModel, ValidationError

from pipeline.cli.start import CommandFailed
from schemas.replies import (
    BatchRetryResponse,
    BatchStatusResponse,
    BlogCostsResponse,
    BlogImagesResponse,
    CreateImageJobResponse,
    DispatchResponse,
    HealthResponse,
    ImageJobStatusResponse,
    JobListResponse,
    Problem,
    PromotionResponse,
    ProviderHealth,
    ProviderHealthResponse,
    ProviderListResponse,
)

M = TypeVar("M", bound=BaseModel)

JOBS = "/api/v1/images/jobs"
BATCHES = "/api/v1/images/batches"
BLOGS = "/api/v1/blogs"
PROVIDERS = "/api/v1/images/providers"
PROBLEM_TYPE = "application/problem+json"
CONNECT_SECONDS = 5.0
REPLY_SECONDS = 30.0
# The server says that it is alive more often than this, while there is nothing to tell.
SILENCE_SECONDS = 60.0

Query = Mapping[str, str | list[str]]


class Refused(Exception):
    """The service answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.code = (problem.model_extra or {}).get("code")

    @property
    def is_passing(self) -> bool:
        """Whether the same call may go well later: the service stops, or misses its database."""
        return self.problem.status >= httpx2.codes.INTERNAL_SERVER_ERROR


class NoAnswer(CommandFailed):
    """Nobody answers at the address, or the connection broke before the reply."""


class NotLimner(CommandFailed):
    def __init__(self, address: str, why: str) -> None:
        super().__init__(
            f"what answers on {address} is not Limner ({why}). Name Limner's address with --server."
        )


class Client:
    """*http* has the address as its base; it may lead to a service in this process."""

    def __init__(self, http: httpx2.AsyncClient, address: str) -> None:
        self._http = http
        self.address = address

    async def is_alive(self) -> bool:
        """Whether Limner answers: False when nobody does; raises `NotLimner` for another one."""
        try:
            await self._call(HealthResponse, "GET", "/healthz")
        except (NoAnswer, NotLimner) as exc:
            if isinstance(exc.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout)):
                return False
            if isinstance(exc.__cause__, httpx2.RemoteProtocolError):
                raise NotLimner(self.address, "it speaks no HTTP") from exc
            raise
        except Refused as exc:
            raise NotLimner(self.address, exc.problem.title) from exc
        return True

    async def submit(
        self, request: dict[str, Any], *, idempotency_key: str
    ) -> CreateImageJobResponse:
        return await self._call(
            CreateImageJobResponse,
            "POST",
            "/api/v1/images/generate-async",
            json=request,
            headers={"Idempotency-Key": idempotency_key},
        )

    async def job(self, job_id: UUID) -> ImageJobStatusResponse:
        return await self._call(ImageJobStatusResponse, "GET", f"{JOBS}/{job_id}")

    async def jobs(self, query: Query) -> JobListResponse:
        return await self._call(JobListResponse, "GET", JOBS, params=query)

    async def cancel(self, job_id: UUID) -> ImageJobStatusResponse:
        return await self._call(ImageJobStatusResponse, "POST", f"{JOBS}/{job_id}/cancel")

    async def retry(self, job_id: UUID) -> ImageJobStatusResponse:
        return await self._call(ImageJobStatusResponse, "POST", f"{JOBS}/{job_id}/retry")

    async def promote(self, job_id: UUID, wishes: dict[str, Any]) -> PromotionResponse:
        return await self._call(PromotionResponse, "POST", f"{JOBS}/{job_id}/promote", json=wishes)

    async def reject(self, job_id: UUID, reason: str | None) -> ImageJobStatusResponse:
        body = {"reason": reason} if reason is not None else {}
        return await self._call(
            ImageJobStatusResponse, "POST", f"{JOBS}/{job_id}/reject", json=body
        )

    async def batch(self, batch_id: UUID) -> BatchStatusResponse:
        return await self._call(BatchStatusResponse, "GET", f"{BATCHES}/{batch_id}")

    async def cancel_batch(self, batch_id: UUID) -> BatchStatusResponse:
        return await self._call(BatchStatusResponse, "POST", f"{BATCHES}/{batch_id}/cancel")

    async def retry_batch(self, batch_id: UUID) -> BatchRetryResponse:
        return await self._call(BatchRetryResponse, "POST", f"{BATCHES}/{batch_id}/retry")

    async def blog_images(self, blog_id: str) -> BlogImagesResponse:
        return await self._call(BlogImagesResponse, "GET", f"{BLOGS}/{quote(blog_id)}/images")

    async def blog_costs(self, blog_id: str) -> BlogCostsResponse:
        return await self._call(BlogCostsResponse, "GET", f"{BLOGS}/{quote(blog_id)}/costs")

    async def providers(self) -> ProviderListResponse:
        return await self._call(ProviderListResponse, "GET", PROVIDERS)

    async def provider_health(self) -> ProviderHealthResponse:
        return await self._call(ProviderHealthResponse, "GET", f"{PROVIDERS}/health")

    async def reset_provider(self, name: str) -> ProviderHealth:
        return await self._call(ProviderHealth, "POST", f"{PROVIDERS}/{quote(name, safe='')}/reset")

    async def dispatch(self) -> DispatchResponse:
        return await self._call(DispatchResponse, "GET", "/api/v1/dispatch")

    async def pause(self, reason: str | None) -> DispatchResponse:
        body = {"reason": reason} if reason is not None else {}
        return await self._call(DispatchResponse, "POST", "/api/v1/dispatch/pause", json=body)

    async def resume(self) -> DispatchResponse:
        return await self._call(DispatchResponse, "POST", "/api/v1/dispatch/resume")

    async def events(
        self, query: Query, *, after: str | None
    ) -> AsyncGenerator[httpx2.ServerSentEvent]:
        """Events after the cursor *after*, until the server ends the stream.

        Raises `NoAnswer` when the connection cannot be made or breaks.
        """
        headers = {"Last-Event-ID": after} if after is not None else {}
        timeout = httpx2.Timeout(REPLY_SECONDS, connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
        async with self._told():
            stream = self._http.sse(
                "/api/v1/events", params=query, headers=headers, timeout=timeout
            )
            async with stream as source:
                if source.response.status_code != httpx2.codes.OK:
                    await source.response.aread()
                    self._refuse(source.response)
                async for event in source:
                    yield event

    async def _call(self, model: type[M], method: str, path: str, **request: Any) -> M:
        async with self._told():
            reply = await self._http.request(method, path, **request)
        if not reply.is_success:
            self._refuse(reply)
        try:
            return model.model_validate_json(reply.content)
        except ValidationError as exc:
            raise NotLimner(self.address, f"its reply to {method} {path} is unknown") from exc

    def _refuse(self, reply: httpx2.Response) -> None:
        media_type = reply.headers.get("content-type", "").partition(";")[0]
        if media_type == PROBLEM_TYPE:
            try:
                problem = Problem.model_validate_json(reply.content)
            except ValidationError as exc:
                raise NotLimner(self.address, "its problem has no known form") from exc
            raise Refused(problem)
        raise NotLimner(self.address, f"HTTP {reply.status_code} {media_type}".rstrip())

    @asynccontextmanager
    async def _told(self) -> AsyncGenerator[None]:
        """Tell every failure of the connection in a command's words."""
        try:
            yield
        except httpx2.ConnectError as exc:
            raise NoAnswer(f"nothing answers on {self.address}: start `limner serve`") from exc
        except httpx2.TimeoutException as exc:
            raise NoAnswer(f"{self.address} does not answer in time") from exc
        except httpx2.SSEError as exc:
            raise NotLimner(self.address, str(exc)) from exc
        except (httpx2.TransportError, httpx2.StreamError) as exc:
            raise NoAnswer(f"the connection to {self.address} broke: {exc}") from exc
        except httpx2.DecodingError as exc:
            raise NotLimner(self.address, "its reply cannot be decoded") from exc
