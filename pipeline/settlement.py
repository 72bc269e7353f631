"""What the answer to a paid call means: for its line in the ledger, for its job, for its key."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

from adapters.errors import ProviderBusy, ProviderUnusable
from pipeline.gate import Word
from schemas.tables import CallState, JobRow, ProviderCallRow, Waiting

# A free provider that never gets done (its process dies on this very prompt) is given up.
MAX_REPEATS = 25
# Whatever a provider says, a job is not put off for longer.
MAX_RETRY_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the call's row becomes, and what its job is to do if it still runs this attempt."""

    call: CallState
    detail: str
    job: Literal["release", "repeat", "by_policy", "fail"]
    code: str | None = None
    not_before: datetime | None = None
    # What the answer says of the key with which it was asked.
    says: Word = Word("nothing")
    waiting: Waiting | None = None

    @classmethod
    def of_busy(cls, exc: ProviderBusy, now: datetime) -> Self:
        """The provider took nothing: of this request, or of any with this key."""
        wait = min(exc.retry_after, MAX_RETRY_AFTER)
        detail, waiting, says = clean(str(exc)), Waiting.BUSY, Word("nothing")
        if isinstance(exc, ProviderUnusable):
            waiting, says = Waiting.UNUSABLE, Word("unusable", exc.reason, detail, wait)
        elif exc.of_key:
            waiting, says = Waiting.PAUSED, Word("busy", "", detail, wait)
        call = CallState.NOT_CHARGED
        return cls(call, detail, "release", None, now + wait, says, waiting)

    @classmethod
    def busy(cls, detail: str, now: datetime, retry_after: timedelta = timedelta(0)) -> Self:
        """The provider was not asked, or took nothing: back into the queue, after *retry_after*."""
        wait = min(retry_after, MAX_RETRY_AFTER)
        return cls(CallState.NOT_CHARGED, clean(detail), "release", not_before=now + wait)

    @classmethod
    def refused(cls, code: str, detail: str, *, may_be_charged: bool = False) -> Self:
        """The provider will never paint this; *may_be_charged* where it did and kept it back."""
        call = CallState.UNKNOWN if may_be_charged else CallState.REFUSED
        says = Word("works" if may_be_charged else "nothing")
        return cls(call, clean(detail), "fail", code=clean(code), says=says)

    @classmethod
    def unknown(cls, detail: str, *, repeatable: bool) -> Self:
        """The answer is lost. Free and repeatable: asked again. Else the job's policy decides."""
        if repeatable:
            return cls(CallState.NOT_CHARGED, clean(detail), "repeat")
        code, says = "outcome_unknown", Word("unknown")
        return cls(CallState.UNKNOWN, clean(detail), "by_policy", code=code, says=says)


def clean(text: str, most_characters: int = 2_000) -> str:
    """A text from outside as every database takes it: no NUL, no half characters, not endless."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:most_characters]


def may_be_charged(job: JobRow, call: ProviderCallRow | None) -> str:
    """What a lost answer may have cost, in words."""
    if call is None or call.amount is None:
        return f"an amount that nobody knows may have been charged by {job.provider}"
    amount = f"${call.amount.normalize():f}"
    return f"{amount} may have been charged by {call.provider} ({call.model})"


def advice(code: str, settlement: Settlement, job: JobRow, call: ProviderCallRow | None) -> str:
    """Why the job failed, what it means for the money, and what to do."""
    detail = settlement.detail
    match code:
        case "outcome_unknown":
            again = " a third time" if job.asked_again_at is not None else " again"
            return (
                f"The provider was asked but its answer was lost: {may_be_charged(job, call)}, and"
                f" the picture cannot be fetched. It was not asked{again}. `limner calls unknown`"
                " tells what to look for at the provider, `limner calls resolve` records what was"
                " found; retry the job to pay for another try."
            )
        case "moderated" if settlement.call is CallState.UNKNOWN:
            return (
                "The provider painted the picture and withheld it for its content. It may have been"
                " charged. Change the prompt."
            )
        case "moderated":
            return "The provider refused the prompt. Nothing was charged. Change the prompt."
        case "model_retired":
            return (
                f"The provider no longer has the model: {detail}. Nothing was charged. Have another"
                " model configured for this quality, then retry the job."
            )
        case "provider_failing":
            return (
                f"The provider lost its answer {MAX_REPEATS} times: {detail}. Nothing was charged."
                " Retry the job, or change the prompt."
            )
    return f"The provider refused the request: {detail}. Nothing was charged."
