"""Limner's HTTP interface as commands call it: typed replies, and problems as exceptions."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx2
from pydantic import BaseModel, RootModel, ValidationError

from pipeline.cli.start import CommandFailed
from schemas.ledger import CallListResponse, DayCostsResponse, ResolvedCallResponse
from schemas.redelivery import (
    DeadLetterDetails,
    DeadLetterListResponse,
    DeadLetterResponse,
    ReplayRequest,
    ReplayResponse,
)
from schemas.replies import (
    BatchRetryResponse,
    BatchStatusResponse,
    BlogCostsResponse,
    BlogImagesResponse,
    BudgetListResponse,
    BudgetResponse,
    CreateImageJobResponse,
    DispatchResponse,
    GeneratedImagesResponse,
    HealthResponse,
    ImageJobStatusResponse,
    JobListResponse,
    Problem,
    PromotionResponse,
    ProviderHealth,
    ProviderHealthResponse,
    ProviderListResponse,
    QuoteResponse,
)
from schemas.requests import BudgetName, BudgetRequest
from schemas.retention import LegalHoldResponse, SweepResponse
from schemas.webhooks import (
    DeliveryListResponse,
    DeliveryResponse,
    RedeliveryResponse,
    WebhookListResponse,
    WebhookResponse,
    WebhookWithSecretResponse,
)
from states.table import State

M = TypeVar("M", bound=BaseModel)

JOBS = "/api/v1/images/jobs"
BATCHES = "/api/v1/images/batches"
BLOGS = "/api/v1/blogs"
BUDGETS = "/api/v1/images/budgets"
CALLS = "/api/v1/images/calls"
PROVIDERS = "/api/v1/images/providers"
DEAD_LETTERS = "/api/v1/dead-letters"
WEBHOOKS = "/api/v1/webhooks"
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


class _Operated(RootModel[CreateImageJobResponse | GeneratedImagesResponse]):
    """The job, or, where a request is repeated, the pictures that it has made."""


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

    async def submit(self, request: dict[str, Any], idempotency_key: str) -> CreateImageJobResponse:
        return await self._call(
            CreateImageJobResponse,
            "POST",
            "/api/v1/images/generate-async",
            json=request,
            headers={"Idempotency-Key": idempotency_key},
        )

    async def operate(
        self,
        path: str,
        request: Mapping[str, Any],
        files: Mapping[str, bytes],
        idempotency_key: str,
    ) -> CreateImageJobResponse:
        """Have something done to a picture, sent in *files* or named in *request*."""
        told = await self._call(
            _Operated,
            "POST",
            f"/api/v1/images/{path}",
            params={"wait_seconds": 0},
            headers={"Idempotency-Key": idempotency_key},
            **_body(request, files),
        )
        accepted = told.root
        if isinstance(accepted, CreateImageJobResponse):
            return accepted
        return CreateImageJobResponse(
            job_id=accepted.job_id,
            status=State.COMPLETED,
            message="It was done before",
            estimated_completion_time=0,
            is_draft=accepted.is_draft,
            warnings=accepted.warnings,
        )

    async def quote_operation(
        self, path: str, request: Mapping[str, Any], files: Mapping[str, bytes]
    ) -> QuoteResponse:
        address = f"/api/v1/images/quote/{path}"
        return await self._call(QuoteResponse, "POST", address, **_body(request, files))

    async def quote(self, request: dict[str, Any]) -> QuoteResponse:
        return await self._call(QuoteResponse, "POST", "/api/v1/images/quote", json=request)

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

    async def budgets(self) -> BudgetListResponse:
        return await self._call(BudgetListResponse, "GET", BUDGETS)

    async def set_budget(self, wanted: BudgetRequest) -> BudgetResponse:
        body = wanted.model_dump(mode="json")
        return await self._call(BudgetResponse, "PUT", BUDGETS, json=body)

    async def remove_budget(self, which: BudgetName) -> None:
        query = which.model_dump(mode="json", exclude_none=True)
        async with self._told():
            reply = await self._http.request("DELETE", BUDGETS, params=query)
        if not reply.is_success:
            self._refuse(reply)

    async def providers(self) -> ProviderListResponse:
        return await self._call(ProviderListResponse, "GET", PROVIDERS)

    async def provider_health(self) -> ProviderHealthResponse:
        return await self._call(ProviderHealthResponse, "GET", f"{PROVIDERS}/health")

    async def reset_provider(self, name: str) -> ProviderHealth:
        return await self._call(ProviderHealth, "POST", f"{PROVIDERS}/{quote(name, safe='')}/reset")

    async def calls(self, query: Query) -> CallListResponse:
        return await self._call(CallListResponse, "GET", CALLS, params=query)

    async def resolve_call(
        self, job_id: UUID, attempt: int, found: dict[str, Any]
    ) -> ResolvedCallResponse:
        path = f"{CALLS}/{job_id}/{attempt}/resolve"
        return await self._call(ResolvedCallResponse, "POST", path, json=found)

    async def day_costs(self, day: str | None) -> DayCostsResponse:
        query = {"day": day} if day is not None else {}
        return await self._call(DayCostsResponse, "GET", "/api/v1/images/costs", params=query)

    async def dispatch(self) -> DispatchResponse:
        return await self._call(DispatchResponse, "GET", "/api/v1/dispatch")

    async def pause(self, reason: str | None) -> DispatchResponse:
        body = {"reason": reason} if reason is not None else {}
        return await self._call(DispatchResponse, "POST", "/api/v1/dispatch/pause", json=body)

    async def sweep(self, *, dry_run: bool) -> SweepResponse:
        path = "/api/v1/retention/sweep"
        return await self._call(SweepResponse, "POST", path, json={"dry_run": dry_run})

    async def hold_blog(self, blog_id: str, *, held: bool) -> LegalHoldResponse:
        path = f"{BLOGS}/{quote(blog_id, safe='')}/legal-hold"
        return await self._call(LegalHoldResponse, "PUT" if held else "DELETE", path)

    async def resume(self) -> DispatchResponse:
        return await self._call(DispatchResponse, "POST", "/api/v1/dispatch/resume")

    async def dead_letters(self, query: Query) -> DeadLetterListResponse:
        return await self._call(DeadLetterListResponse, "GET", DEAD_LETTERS, params=query)

    async def dead_letter(self, subscriber: str, event_id: UUID) -> DeadLetterDetails:
        return await self._call(DeadLetterDetails, "GET", _letter(subscriber, event_id))

    async def redrive(self, subscriber: str, event_id: UUID) -> DeadLetterResponse:
        path = _letter(subscriber, event_id) + "/redrive"
        return await self._call(DeadLetterResponse, "POST", path)

    async def drop_dead_letter(self, subscriber: str, event_id: UUID) -> DeadLetterResponse:
        return await self._call(DeadLetterResponse, "DELETE", _letter(subscriber, event_id))

    async def replay(self, asked: ReplayRequest) -> ReplayResponse:
        body = asked.model_dump(mode="json", exclude_none=True)
        return await self._call(ReplayResponse, "POST", "/api/v1/replay", json=body)

    async def add_webhook(self, asked: dict[str, Any]) -> WebhookWithSecretResponse:
        return await self._call(WebhookWithSecretResponse, "POST", WEBHOOKS, json=asked)

    async def webhooks(self) -> WebhookListResponse:
        return await self._call(WebhookListResponse, "GET", WEBHOOKS)

    async def webhook(self, webhook_id: UUID) -> WebhookResponse:
        return await self._call(WebhookResponse, "GET", f"{WEBHOOKS}/{webhook_id}")

    async def change_webhook(self, webhook_id: UUID, asked: dict[str, Any]) -> WebhookResponse:
        return await self._call(WebhookResponse, "PATCH", f"{WEBHOOKS}/{webhook_id}", json=asked)

    async def remove_webhook(self, webhook_id: UUID) -> None:
        await self._reply("DELETE", f"{WEBHOOKS}/{webhook_id}")

    async def rotate_secret(
        self, webhook_id: UUID, asked: dict[str, Any]
    ) -> WebhookWithSecretResponse:
        path = f"{WEBHOOKS}/{webhook_id}/secret"
        return await self._call(WebhookWithSecretResponse, "POST", path, json=asked)

    async def test_webhook(self, webhook_id: UUID) -> DeliveryResponse:
        return await self._call(DeliveryResponse, "POST", f"{WEBHOOKS}/{webhook_id}/test")

    async def deliveries(self, webhook_id: UUID, query: Query) -> DeliveryListResponse:
        path = f"{WEBHOOKS}/{webhook_id}/deliveries"
        return await self._call(DeliveryListResponse, "GET", path, params=query)

    async def redeliver(self, webhook_id: UUID, delivery_id: UUID) -> DeliveryResponse:
        path = f"{WEBHOOKS}/{webhook_id}/deliveries/{delivery_id}/redeliver"
        return await self._call(DeliveryResponse, "POST", path)

    async def redeliver_failed(self, webhook_id: UUID) -> RedeliveryResponse:
        path = f"{WEBHOOKS}/{webhook_id}/deliveries/redeliver"
        return await self._call(RedeliveryResponse, "POST", path)

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
        reply = await self._reply(method, path, **request)
        try:
            return model.model_validate_json(reply.content)
        except ValidationError as exc:
            raise NotLimner(self.address, f"its reply to {method} {path} is unknown") from exc

    async def _reply(self, method: str, path: str, **request: Any) -> httpx2.Response:
        async with self._told():
            reply = await self._http.request(method, path, **request)
        if not reply.is_success:
            self._refuse(reply)
        return reply

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


def _body(request: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """A form where there are files, else JSON."""
    if not files:
        return {"json": dict(request)}
    fields = {name: str(value) for name, value in request.items()}
    return {"data": fields, "files": {name: (name, data) for name, data in files.items()}}


def _letter(subscriber: str, event_id: UUID) -> str:
    return f"{DEAD_LETTERS}/{quote(subscriber, safe='')}/{event_id}"
