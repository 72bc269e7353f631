"""From staged bytes to finished pictures: `receive`, then decode, store and `complete`.

Every part may be done again after a death: staged bytes are found by their manifest, objects are
named by their content, image ids follow from the job, so that nothing is paid or kept twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

import structlog

from adapters.errors import BadPicture
from adapters.ports import BlobStore, Ids, Pictures, TakenPicture
from pipeline.budgets import booking_keys
from pipeline.fidelity import compare_with_draft
from pipeline.journal import Journal
from pipeline.key_news import close_probed
from pipeline.move import JobMoved, fail_job, job_key, move_job, patience
from pipeline.staging import EXTENSIONS, Manifest, load_manifest, manifest_key
from pipeline.tally import batch_keys, record_moves
from schemas.fidelity import Fidelity
from schemas.ids import id_from
from schemas.operations import PaintingOf
from schemas.provenance import Provenance, SourceType
from schemas.step import Look, RowKey, Step, Writes, row_key
from schemas.tables import CallState, ImageRow, JobRow, ProviderCallRow
from states.table import OPEN, State, Trigger

log = structlog.get_logger(__name__)


async def receive(
    job_id: UUID,
    manifest: Manifest,
    *,
    tenant: str,
    journal: Journal,
    ids: Ids,
    lease_token: str | None,
    by_person: bool = False,
    probed: RowKey | None = None,
) -> JobRow:
    """Commit that the result of an attempt is staged; return the job in processing_result.

    With *lease_token* the caller goes on with the job itself; without, it is sent to a worker.
    A job that went another way keeps its state: the result is booked as surplus and `JobMoved`
    raised. Only a person (*by_person*) brings a result into a cancelled job. *probed* is the gate
    whose key the result shows to be good.
    """
    event_id, now = ids.new(), journal.now()
    call_key = row_key((ProviderCallRow, (job_id, manifest.attempt)))

    def decide(look: Look, writes: Writes) -> JobRow | JobMoved:
        job = look.get(JobRow, job_id)
        if job is None:
            raise JobMoved(None, "the job is gone")
        if probed is not None:
            close_probed(look, writes, probed, job_id, now)
        trigger = _way_in(job, manifest, by_person=by_person)
        call = look.get(ProviderCallRow, *call_key.key)
        taken_after_all = call is not None and call.surplus and trigger is not None
        # What came counts more than what a person found out.
        said = call is not None and call.resolved_at is not None
        if call is not None and (call.state is not CallState.ANSWERED or taken_after_all or said):
            writes.update(
                call.changed(
                    state=CallState.ANSWERED,
                    resolved_at=None,
                    amount=manifest.cost,
                    surplus=trigger is None,
                    due_at=None,
                    settled_at=now,
                ),
                *call_key.key,
            )
        if trigger is None:
            return JobMoved(job, f"the job is {job.state.value}; its late result was kept")
        held = lease_token is not None and job.lease_token == lease_token
        changes: dict[str, Any] = {
            "staged": manifest_key(job_id, manifest.attempt),
            "error": None,
            "not_before": None,
            "lost_calls": 0,
            **_painted_by(job, manifest),
        }
        if not held:
            changes |= {
                "lease_token": None,
                "lease_until": None,
                "wake_at": now + patience(1),
                "dispatch": job.dispatch + 1,
                "dispatched_to": None,
            }
        return move_job(writes, job, trigger, at=now, event_id=event_id, **changes)

    probing = (probed,) if probed is not None else ()
    shared = (*booking_keys(tenant, manifest.cost), *probing)
    step = Step("receive", decide, (job_key(job_id), call_key), shared)
    answer = await record_moves(journal, step, at=now)
    if isinstance(answer, JobMoved):
        raise answer
    return answer


def _way_in(job: JobRow, manifest: Manifest, *, by_person: bool) -> Trigger | None:
    """Which trigger takes the result into the job; None where it comes too late."""
    if job.state is State.RUNNING:
        return Trigger.RECEIVE if job.attempt == manifest.attempt else None
    if job.state is State.QUEUED or (job.state is State.FAILED and job.staged is None):
        return Trigger.RECOVER
    if by_person and job.state in (State.FAILED, State.CANCELLED):
        return Trigger.RECOVER
    return None


def _painted_by(job: JobRow, manifest: Manifest) -> dict[str, Any]:
    """The columns of a job that had been handed over when the result of another provider came."""
    if manifest.provider == job.provider:
        return {}
    note = f"the picture of {manifest.provider} came after all; {job.provider} was not needed"
    return {
        "provider": manifest.provider,
        "fallback": None,
        "warnings": [*job.warnings, note],
    }


async def complete(
    job: JobRow,
    *,
    journal: Journal,
    ids: Ids,
    blobs: BlobStore,
    pictures: Pictures,
    manifest: Manifest | None = None,
    at_hand: Mapping[str, bytes] = MappingProxyType({}),
) -> JobRow:
    """Decode, measure, strip and store the staged pictures, then complete the job.

    The first picture of a final is held against its draft's. Whoever has just staged its pictures
    gives *manifest* and the bytes *at_hand* (by object key), which are then not fetched again.

    Raises `JobMoved` when the job went another way meanwhile, `Unavailable` when the same call
    may be tried again. Bytes that are no picture fail the job, and stay staged.
    """
    assert job.staged is not None
    manifest = manifest or await load_manifest(job.staged, blobs)
    images = []
    fidelity = None
    source_type = _source_type(job, manifest)
    try:
        for index, staged in enumerate(manifest.pictures):
            data = at_hand.get(staged.key) or await blobs.get(staged.key)
            image_id = id_from(job.id, f"{job.staged}#{index}")
            provenance = Provenance(source_type, manifest.provider, manifest.model, image_id)
            taken = await pictures.take_in(data, provenance)
            images.append(await _store(job, image_id, index, taken, journal, blobs))
            if index == 0:
                fidelity = await compare_with_draft(
                    job, taken.data, journal=journal, blobs=blobs, pictures=pictures
                )
    except BadPicture as exc:
        return await _fail_bad_picture(job, exc, journal, ids)
    return await _commit_completion(job, manifest, images, fidelity, journal, ids)


def _source_type(job: JobRow, manifest: Manifest) -> SourceType:
    of = PaintingOf.of(job.request)
    if of is None:
        return manifest.source_type
    return manifest.source_type.over(of.keeps, sent=of.keeps_sent)


async def _store(
    job: JobRow,
    image_id: UUID,
    index: int,
    taken: TakenPicture,
    journal: Journal,
    blobs: BlobStore,
) -> ImageRow:
    original = await blobs.put(
        _object_name(image_id, "original", taken.data, taken.content_type),
        taken.data,
        content_type=taken.content_type,
    )
    variants = []
    for variant in taken.variants:
        stored = await blobs.put(
            _object_name(image_id, variant.name, variant.data, variant.content_type),
            variant.data,
            content_type=variant.content_type,
        )
        variants.append(
            {
                "name": variant.name,
                "key": stored.key,
                "content_type": variant.content_type,
                "width": variant.width,
                "height": variant.height,
                "size_bytes": stored.size_bytes,
                "sha256": stored.sha256,
            }
        )
    return ImageRow.of(
        id=image_id,
        tenant=job.tenant,
        job_id=job.id,
        index=index,
        key=original.key,
        content_type=taken.content_type,
        width=taken.width,
        height=taken.height,
        size_bytes=original.size_bytes,
        sha256=original.sha256,
        variants=variants,
        created_at=journal.now(),
    )


def _object_name(image_id: UUID, name: str, data: bytes, content_type: str) -> str:
    # The content is part of the name: another release of the encoder may make other bytes.
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"images/{image_id}/{name}-{digest}.{EXTENSIONS[content_type]}"


async def _commit_completion(
    job: JobRow,
    manifest: Manifest,
    images: Sequence[ImageRow],
    fidelity: Fidelity | None,
    journal: Journal,
    ids: Ids,
) -> JobRow:
    event_id, now = ids.new(), journal.now()
    kept = fidelity.model_dump(mode="json") if fidelity is not None else None
    result = {
        "model": manifest.model,
        "price_book": manifest.price_book,
        "seed": manifest.pictures[0].seed,
        "generation_time_seconds": manifest.elapsed_seconds,
        "image_ids": [str(image.id) for image in images],
        "source_type": _source_type(job, manifest).value,
        "fidelity": kept,
    }
    facts = {
        "model": manifest.model,
        "cost": str(manifest.cost) if manifest.cost is not None else None,
        "alt_text": job.request.get("alt_text"),
        "caption": job.request.get("caption"),
        "fidelity": kept,
        "images": [
            {
                "image_id": str(image.id),
                "key": image.key,
                "content_type": image.content_type,
                "width": image.width,
                "height": image.height,
                "size_bytes": image.size_bytes,
                "sha256": image.sha256,
                "variants": image.variants,
            }
            for image in images
        ],
    }

    def decide(look: Look, writes: Writes) -> JobRow:
        current = look.get(JobRow, job.id)
        if current is None or current.attempt != job.attempt or current.staged != job.staged:
            raise JobMoved(current, "the job went another way")
        moved = move_job(
            writes,
            current,
            Trigger.COMPLETE,
            at=now,
            event_id=event_id,
            data=facts,
            result=result,
            cost=manifest.cost,
            # The same list is no change.
            warnings=[*current.warnings, *manifest.warnings]
            if manifest.warnings
            else current.warnings,
        )
        for image in images:
            writes.insert(image, image.id)
        return moved

    step = Step("complete", decide, (job_key(job.id),), batch_keys(job))
    completed = await record_moves(journal, step, at=now)
    log.info(
        "job_completed",
        job_id=str(job.id),
        attempt=job.attempt,
        images=len(images),
        elapsed_ms=round((now - job.created_at).total_seconds() * 1000),
    )
    return completed


async def _fail_bad_picture(job: JobRow, exc: BadPicture, journal: Journal, ids: Ids) -> JobRow:
    event_id, now = ids.new(), journal.now()
    message = (
        f"The provider delivered something that is not a usable picture: {exc}. It was paid for;"
        " the delivered bytes are kept. Retry the job to ask again."
    )

    def decide(look: Look, writes: Writes) -> JobRow:
        current = look.get(JobRow, job.id)
        if current is None or current.attempt != job.attempt or current.state not in OPEN:
            raise JobMoved(current, "the job went another way")
        return fail_job(
            writes,
            current,
            "bad_picture",
            message,
            at=now,
            event_id=event_id,
            reason=exc.reason,
            staged=job.staged,
        )

    step = Step("fail", decide, (job_key(job.id),), batch_keys(job))
    failed = await record_moves(journal, step, at=now)
    log.error("picture_unusable", job_id=str(job.id), reason=exc.reason, error=str(exc))
    return failed
