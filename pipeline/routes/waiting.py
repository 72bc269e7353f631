"""Answer with the pictures of a job where they are there in time, else with the job."""

from typing import Annotated, Any

from fastapi import Header, Query, Response

from pipeline import addresses
from pipeline.errors import JobFailed
from pipeline.status import job_status
from pipeline.wait import wait_for_end
from pipeline.wiring import Limner
from schemas.replies import CreateImageJobResponse, GeneratedImagesResponse
from schemas.requests import KEY_PATTERN, MAX_KEY_CHARACTERS
from states.table import State

# How long a caller waits, unless it says otherwise; proxies give up after a minute.
WAIT_SECONDS, MOST_WAIT_SECONDS = 30.0, 55.0
RESULT = ("success", "images", "provider", "model", "generation_time_seconds", "cost")

WaitSeconds = Annotated[float, Query(ge=0, le=MOST_WAIT_SECONDS)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        pattern=KEY_PATTERN,
        description="A name of your own for this request: sent again, it is answered and not"
        " done again. Kept for 7 days.",
    ),
]
JOB_INSTEAD: dict[int | str, dict[str, Any]] = {
    202: {"model": CreateImageJobResponse, "description": "It takes longer; a job"}
}


async def when_done(
    accepted: CreateImageJobResponse,
    response: Response,
    limner: Limner,
    tenant: str,
    base_url: addresses.BaseUrl,
    wait_seconds: float,
) -> GeneratedImagesResponse | CreateImageJobResponse:
    """The pictures of the job that was accepted; raises `JobFailed` where there will be none."""
    await wait_for_end(
        accepted.job_id,
        tenant=tenant,
        feed=limner.feed,
        clock=limner.worker.clock,
        within_seconds=wait_seconds,
    )
    told = await job_status(
        accepted.job_id,
        tenant=tenant,
        journal=limner.journal,
        providers=limner.providers,
        base_url=base_url,
        estimates=limner.estimates,
    )
    if told.status in (State.FAILED, State.CANCELLED):
        code = (told.error_details or {}).get("code", told.status.value)
        message = told.error_message or "Somebody cancelled it."
        raise JobFailed(told.job_id, told.status.value, code, message)
    if told.result is None:
        response.status_code = 202
        response.headers["Retry-After"] = "1"
        return accepted
    return GeneratedImagesResponse(
        **{name: getattr(told.result, name) for name in RESULT},
        job_id=told.job_id,
        is_draft=told.is_draft,
        warnings=told.warnings,
    )
