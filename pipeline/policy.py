"""What is done with a job whose paid call lost its answer: by its request, else by the settings.

It is settled when the job is made, so that a setting that changes later breaks no promise.
"""

from pydantic import BaseModel, ConfigDict

from adapters.ports import ImageProvider
from schemas.requests import OnUnknown
from schemas.tables import JobRow


class UnknownPolicy(BaseModel):
    """What requests that say nothing of it get."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    drafts: OnUnknown = OnUnknown.RETRY_ONCE
    finals: OnUnknown = OnUnknown.PARK

    def promised(
        self, wanted: OnUnknown | None, provider: ImageProvider, *, is_draft: bool
    ) -> OnUnknown | None:
        """What a new job is promised; None where its provider is free and simply asked again."""
        if wanted is not None or provider.repeatable:
            return wanted
        return self.drafts if is_draft else self.finals

    def of(self, job: JobRow) -> OnUnknown:
        """What is done with *job*, which may be older than this policy or have changed hands."""
        promised = job.request.get("on_unknown")
        if promised is not None:
            return OnUnknown(promised)
        return self.drafts if job.is_draft else self.finals
