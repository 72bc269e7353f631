"""Errors that callers see: each says what happened, what it means, and what to do about it.

One tree; `status`, `code` and the attributes become an RFC 9457 problem in `routes.problems`.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from pipeline.faults import summary
from schemas.replies import BudgetResponse, dollars, plain
from schemas.requests import Period
from schemas.step import Lost

# Ends of a job that its request has brought about, and would again.
REFUSED = frozenset({"moderated", "invalid_request"})


class PipelineError(Lost):
    """Base. Raised inside a step it is a loser: nothing of the step is written."""

    status = 500
    code = "internal"
    title = "Something went wrong"
    # When it is worth asking again, where time alone may mend it.
    retry_after_seconds: int | None = None

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.facts = facts


class NoSuchJob(PipelineError):
    status, code, title = 404, "no_such_job", "There is no such job"

    def __init__(self, job_id: UUID) -> None:
        super().__init__(
            f"No job has the id {job_id}. Check the id; it is the job_id of the reply that"
            " accepted the request.",
            job_id=str(job_id),
        )


class NoSuchImage(PipelineError):
    status, code, title = 404, "no_such_image", "There is no such picture"

    def __init__(self, image_id: UUID, variant: str | None = None) -> None:
        what = f"no variant {variant!r}" if variant else "no picture"
        super().__init__(
            f"There is {what} with the id {image_id}. Take addresses from the job's result.",
            image_id=str(image_id),
        )


class PictureMissing(PipelineError):
    status, code, title = 500, "picture_missing", "The picture's bytes are missing"

    def __init__(self, image_id: UUID) -> None:
        super().__init__(
            f"Picture {image_id} is recorded, but its bytes are not where they were stored."
            " Nothing was charged. Restore the picture store, or ask for the picture again.",
            image_id=str(image_id),
        )


class PictureNotFetched(PipelineError):
    status, code, title = 422, "picture_not_fetched", "The picture was not taken from its address"

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(
            f"{field}: {reason}. Nothing was stored and nothing charged. Name a picture of this"
            " service by image_id or job_id, or upload the file. Whoever runs this service says"
            " which addresses pictures are taken from (LIMNER_FETCH__…).",
            field=field,
        )


class NoSuchDeadLetter(PipelineError):
    status, code, title = 404, "no_such_dead_letter", "There is no such dead letter"

    def __init__(self, subscriber: str, event_id: UUID) -> None:
        super().__init__(
            f"No event {event_id} of subscriber {subscriber!r} stands aside; it may have been"
            " redriven or dropped. Nothing was changed. Take both from the list of dead letters.",
            subscriber=subscriber,
            event_id=str(event_id),
        )


class NoSuchSubscriber(PipelineError):
    status, code, title = 422, "no_such_subscriber", "There is no such subscriber"

    def __init__(self, subscriber: str, known: Iterable[str]) -> None:
        super().__init__(
            f"This service has no subscriber {subscriber!r}; it has {', '.join(sorted(known))}."
            " Nothing was sent and nothing changed.",
            field="subscriber",
            subscriber=subscriber,
        )


class SubscriberTakesOthers(PipelineError):
    status, code, title = 422, "subscriber_takes_others", "The subscriber takes other events"

    def __init__(self, subscriber: str, types: Iterable[str]) -> None:
        super().__init__(
            f"{subscriber} takes only {', '.join(sorted(types))}. Nothing was sent. Leave the type"
            " out, or name one of these.",
            field="type",
            subscriber=subscriber,
        )


class ReplayCursorUnknown(PipelineError):
    status, code, title = 409, "cursor_unknown", "The cursor is not of this database"

    def __init__(self, cursor: str) -> None:
        super().__init__(
            "The event that the cursor names is not in this database: it is of another one, or a"
            " restore has undone it. Nothing was sent. Begin without it; events that were handled"
            " are passed over.",
            field="after",
            cursor=cursor,
        )


class RedriveFailed(PipelineError):
    status, code, title = 409, "redrive_failed", "The subscriber failed again"

    def __init__(self, subscriber: str, event_id: UUID, failures: int, error: str) -> None:
        super().__init__(
            f"{subscriber} failed on event {event_id}, the {_nth(failures)} time: {error}. It did"
            " nothing, and the event stays aside with this error. Mend what is wrong and redrive it"
            " again, or drop it.",
            subscriber=subscriber,
            event_id=str(event_id),
            failures=failures,
            error=error,
        )


def _nth(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


class NoSuchCall(PipelineError):
    status, code, title = 404, "no_such_call", "There is no such call"

    def __init__(self, job_id: UUID, attempt: int) -> None:
        super().__init__(
            f"The ledger has no call of attempt {attempt} of job {job_id}. Take both from"
            " `limner calls unknown`, or from GET /api/v1/images/calls.",
            job_id=str(job_id),
            attempt=attempt,
        )


class CallNotUnknown(PipelineError):
    status, code, title = 409, "call_not_unknown", "The outcome of the call is not unknown"

    def __init__(self, job_id: UUID, attempt: int, state: str) -> None:
        super().__init__(
            f"The call of attempt {attempt} of job {job_id} is {state}; a person decides about"
            " unknown calls only. Nothing was changed. An open call is settled by itself.",
            job_id=str(job_id),
            attempt=attempt,
            call_state=state,
        )


class ResolvedOtherwise(PipelineError):
    status, code, title = 409, "resolved_otherwise", "The call was resolved otherwise"

    def __init__(self, job_id: UUID, attempt: int, said: str) -> None:
        super().__init__(
            f"The call of attempt {attempt} of job {job_id} was resolved as {said} before. Nothing"
            " was changed; what was said once stands.",
            job_id=str(job_id),
            attempt=attempt,
            resolved_as=said,
        )


class JobFailed(PipelineError):
    """A job whose caller waits for it has come to another end than pictures."""

    status, code, title = 502, "job_failed", "The picture was not made"

    def __init__(self, job_id: UUID, state: str, code: str, message: str) -> None:
        super().__init__(
            f"Job {job_id} is {state}: {message} The same request without its Idempotency-Key is"
            " another job; a retry of this one keeps its history.",
            job_id=str(job_id),
            error_code=code,
        )
        if code in REFUSED:
            self.status = 422
        elif state == "cancelled":
            self.status = 409


class CannotCancel(PipelineError):
    status, code, title = 409, "cannot_cancel", "The job can no longer be cancelled"

    def __init__(self, job_id: UUID, state: str) -> None:
        super().__init__(
            f"Job {job_id} is {state}; only a queued or working job can be cancelled."
            " Nothing was changed.",
            job_id=str(job_id),
            job_status=state,
        )


class CannotRetry(PipelineError):
    status, code, title = 409, "cannot_retry", "The job cannot be retried now"

    def __init__(self, job_id: UUID, state: str) -> None:
        super().__init__(
            f"Job {job_id} is {state}; only a failed or cancelled job can be retried."
            " Nothing was changed and nothing charged.",
            job_id=str(job_id),
            job_status=state,
        )


class FinalReplaced(PipelineError):
    status, code, title = 409, "final_replaced", "The draft has another final by now"

    def __init__(self, job_id: UUID, final_job_id: UUID) -> None:
        super().__init__(
            f"Job {job_id} is an earlier final of its draft; the present one is job"
            f" {final_job_id}. Nothing was changed and nothing charged. Retry or cancel that one.",
            job_id=str(job_id),
            final_job_id=str(final_job_id),
        )


class ImageInUse(PipelineError):
    status, code, title = 409, "image_in_use", "The picture stands in a blog post"

    def __init__(self, image_id: UUID, place: str) -> None:
        super().__init__(
            f"Picture {image_id} stands in {place}. Nothing was deleted. Let another picture take"
            " its place first, unlink the place, or delete the blog.",
            image_id=str(image_id),
            place=place,
        )


class NoSuchBlog(PipelineError):
    status, code, title = 404, "no_such_blog", "There is no such blog"

    def __init__(self, blog_id: str) -> None:
        super().__init__(
            f"No picture was ever requested for blog {blog_id}. Check the blog_id.",
            blog_id=blog_id,
        )


class NoSuchSlot(PipelineError):
    status, code, title = 404, "no_such_slot", "There is no such place in the blog"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"No picture was ever offered to {place}. Nothing was changed. Take role and position"
            " from the blog's images.",
            place=place,
        )


class NoSuchCandidate(PipelineError):
    status, code, title = 404, "no_such_candidate", "The place has no such candidate"

    def __init__(self, place: str, named: UUID) -> None:
        super().__init__(
            f"{named} is no picture, and no job of a picture, that was offered to {place} and still"
            " exists. Nothing was changed. Take it from the place's candidates.",
            place=place,
        )


class IdempotencyKeyReused(PipelineError):
    status, code, title = 422, "idempotency_key_reused", "The key belongs to another request"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The Idempotency-Key {key!r} was used with another body. Nothing was stored. Send the"
            " same body to get the first reply again, or a new key for a new request.",
            field="Idempotency-Key",
        )


class UnknownProvider(PipelineError):
    status, code, title = 422, "unknown_provider", "The provider is not known here"

    def __init__(self, provider: str, known: list[str], field: str = "provider") -> None:
        super().__init__(
            f"There is no provider {provider!r}. Known: {', '.join(known)}. Nothing was stored.",
            field=field,
            known=known,
        )


class NoSuchProvider(PipelineError):
    status, code, title = 404, "no_such_provider", "There is no such provider"

    def __init__(self, provider: str, known: list[str]) -> None:
        super().__init__(
            f"No provider {provider!r} is configured here. Configured: {', '.join(known)}. Nothing"
            " was changed.",
            known=known,
        )


class UnknownStyle(PipelineError):
    status, code, title = 422, "unknown_style", "The provider does not know this style"

    def __init__(self, style: str, provider: str, known: list[str]) -> None:
        super().__init__(
            f"{provider} has no style {style!r}. Known: {', '.join(known)}. Nothing was stored.",
            field="style",
            known=known,
        )


class BudgetExceeded(PipelineError):
    status, code, title = 402, "budget_exceeded", "The budget does not allow it"

    def __init__(self, cost: Decimal, budget: BudgetResponse) -> None:
        wait = " wait for tomorrow," if budget.day else ""
        super().__init__(
            f"It costs {dollars(cost)}, and {_name_of(budget)} has {dollars(budget.left)} left: of"
            f" {dollars(budget.limit)}, {dollars(budget.spent)} are spent and"
            f" {dollars(budget.held)} are held for what is under way. Nothing was stored and"
            f" nothing charged. Ask for a cheaper quality,{wait} cancel jobs that still wait, or"
            " raise the budget (`limner budgets set`).",
            cost=plain(cost),
            budget=budget.model_dump(mode="json"),
        )


class PriceUnknown(PipelineError):
    status, code, title = 402, "price_unknown", "Nobody knows what it would cost"

    def __init__(self, budget: BudgetResponse) -> None:
        super().__init__(
            f"The price book does not know what it costs, so {_name_of(budget)} cannot admit it."
            " Nothing was stored and nothing charged. Ask for another quality or provider, have the"
            " price added, or remove the budget.",
            cost=None,
            budget=budget.model_dump(mode="json"),
        )


class NoSuchBudget(PipelineError):
    status, code, title = 404, "no_such_budget", "There is no such budget"

    def __init__(self, period: Period, blog_id: str | None) -> None:
        super().__init__(
            f"{_whose(blog_id)} has no budget of the period {period}. Nothing was changed. Take"
            " one from the list of budgets.",
            blog_id=blog_id,
            period=period,
        )


def _name_of(budget: BudgetResponse) -> str:
    of_day = f" of {budget.day} (UTC)" if budget.day else ""
    return f"the budget{of_day} of {_whose(budget.blog_id)}"


def _whose(blog_id: str | None) -> str:
    return f"blog {blog_id}" if blog_id is not None else "the tenant"


class DraftNotUsable(PipelineError):
    status, code, title = 409, "draft_not_usable", "The draft cannot get this final"

    def __init__(self, draft_job_id: UUID, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"Job {draft_job_id} cannot get a final: {reason}. Nothing was stored. Name a completed"
            " draft of yours that has no final yet.",
            field="draft_job_id",
            draft_job_id=str(draft_job_id),
        )


class NotApprovable(PipelineError):
    status, code, title = 409, "not_approvable", "There is nothing to approve"

    def __init__(self, job_id: UUID, reason: str) -> None:
        super().__init__(
            f"Job {job_id} cannot be approved or rejected: {reason}. No link was made. Name a"
            " completed draft.",
            job_id=str(job_id),
        )


class BlogDeleted(PipelineError):
    status, code, title = 409, "blog_deleted", "The blog was deleted"

    def __init__(self, blog_id: str) -> None:
        super().__init__(
            f"Blog {blog_id} was deleted; it takes no more pictures. Nothing was stored."
            " Use another blog_id.",
            field="blog_id",
            blog_id=blog_id,
        )


class NoPlaceLeft(PipelineError):
    status, code, title = 409, "no_place_left", "The blog has no next inline place"

    def __init__(self, blog_id: str, last: int) -> None:
        super().__init__(
            f"The last inline place of blog {blog_id}, {last}, was given already, so there is no"
            " next one. Nothing was stored. Name the position that the picture is to take.",
            field="position",
            blog_id=blog_id,
        )


class NoSuchBatch(PipelineError):
    status, code, title = 404, "no_such_batch", "There is no such batch"

    def __init__(self, batch_id: UUID) -> None:
        super().__init__(
            f"No batch has the id {batch_id}. Check the id; it is the batch_id of the reply that"
            " accepted the batch.",
            batch_id=str(batch_id),
        )


class InvalidBatch(PipelineError):
    """*errors* name each bad field by its path, such as `images.3.quality`."""

    status, code, title = 422, "invalid_request", "The request is not valid"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(
            f"{summary(errors)} Nothing was stored.", field=errors[0]["field"], errors=errors
        )


class BatchCancelled(PipelineError):
    status, code, title = 409, "batch_cancelled", "The batch was cancelled"

    def __init__(self, batch_id: UUID) -> None:
        super().__init__(
            f"Batch {batch_id} was cancelled; nothing more is bought for it. Nothing was changed"
            " and nothing charged. Ask for the picture in a new request.",
            batch_id=str(batch_id),
        )


class CannotCancelBatch(PipelineError):
    status, code, title = 409, "cannot_cancel", "The batch can no longer be cancelled"

    def __init__(self, batch_id: UUID) -> None:
        super().__init__(
            f"Batch {batch_id} is done: no job of it is open and no draft waits for a decision."
            " Nothing was changed.",
            batch_id=str(batch_id),
        )


class UnknownStrategy(PipelineError):
    status, code, title = 422, "unknown_strategy", "The provider has no such strategy"

    def __init__(self, strategy: str, provider: str, known: list[str]) -> None:
        super().__init__(
            f"{provider} does not make finals by {strategy}. It has: {', '.join(known)}. Nothing"
            " was stored.",
            field="strategy",
            known=known,
        )


class StrategyWithoutDraft(PipelineError):
    status, code, title = 422, "strategy_without_draft", "There is no draft to make a final of"

    def __init__(self) -> None:
        super().__init__(
            "strategy says how a final is made of its draft, and no draft is named. Nothing was"
            " stored. Name draft_job_id, or leave strategy out.",
            field="strategy",
        )


class DraftRejected(PipelineError):
    status, code, title = 409, "draft_rejected", "The draft was rejected"

    def __init__(self, draft_job_id: UUID) -> None:
        super().__init__(
            f"Draft {draft_job_id} was rejected, which stands. Nothing was bought. Ask for a new"
            " draft.",
            draft_job_id=str(draft_job_id),
        )


class CannotReject(PipelineError):
    status, code, title = 409, "cannot_reject", "The draft can no longer be rejected"

    def __init__(self, draft_job_id: UUID, reason: str, final_job_id: UUID | None = None) -> None:
        final = {"final_job_id": str(final_job_id)} if final_job_id else {}
        super().__init__(
            f"Job {draft_job_id} cannot be rejected: {reason}. Nothing was changed.",
            draft_job_id=str(draft_job_id),
            **final,
        )


class BlogGone(PipelineError):
    status, code, title = 410, "blog_gone", "The blog was deleted"

    def __init__(self, blog_id: str) -> None:
        super().__init__(
            f"Blog {blog_id} was deleted; nothing stands in its places any more.",
            blog_id=blog_id,
        )


class BlogIdsDisagree(PipelineError):
    status, code, title = 400, "blog_ids_disagree", "Two blog ids were given"

    def __init__(self, body: str, query: str) -> None:
        super().__init__(
            f"The body names blog {body!r}, the query {query!r}. Nothing was stored. Give one.",
            field="blog_id",
        )
