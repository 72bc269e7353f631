"""Who may stand in a place, decided without a database."""

from uuid import UUID

from states.slots import Rank, Standing, may_fill, preview_of, raised_floor

EARLY, LATE, LATEST = UUID(int=1), UUID(int=2), UUID(int=3)


def draft(job_id: UUID, seq: int = 4) -> Standing:
    return Standing(Rank.DRAFT, job_id, seq)


def final(job_id: UUID, seq: int = 4) -> Standing:
    return Standing(Rank.FINAL, job_id, seq)


def test_a_draft_never_takes_a_place_by_itself() -> None:
    assert not may_fill(draft(LATE), None, None)
    assert not may_fill(draft(LATE), draft(EARLY), None)
    assert not may_fill(draft(LATE), final(EARLY), None)


def test_between_finals_the_later_request_decides_then_the_sequence() -> None:
    assert may_fill(final(EARLY), None, None)
    assert may_fill(final(LATE, 1), final(EARLY, 9), None)
    assert not may_fill(final(EARLY, 9), final(LATE, 1), None)
    assert may_fill(final(EARLY, 5), final(EARLY, 4), None)
    assert not may_fill(final(EARLY), final(EARLY), None)


def test_a_final_replaces_a_draft_that_a_person_put_there_however_old_its_request() -> None:
    assert may_fill(final(EARLY), draft(LATE), None)


def test_a_floor_lets_only_later_requests_pass() -> None:
    assert not may_fill(final(EARLY, 9), None, EARLY)
    assert may_fill(final(LATE, 1), None, EARLY)


def test_the_preview_is_the_newest_draft_that_was_requested_after_what_stands_there() -> None:
    offered = [draft(EARLY), draft(LATEST), final(LATE)]
    assert preview_of(offered, None, None) == draft(LATEST)
    assert preview_of(offered, final(LATE), None) == draft(LATEST)
    assert preview_of([draft(EARLY), final(LATE)], final(LATE), None) is None
    assert preview_of(offered, None, LATEST) is None
    assert preview_of(offered, None, EARLY) == draft(LATEST)
    assert preview_of([], None, None) is None


def test_a_floor_is_never_lowered_and_stands_above_what_stands_there() -> None:
    assert raised_floor(LATE, None, None) == LATE
    assert raised_floor(LATE, None, EARLY) == LATE
    assert raised_floor(EARLY, None, LATE) == LATE
    assert raised_floor(EARLY, final(LATEST), LATE) == LATEST
