"""Rows in memory: ordinary objects that pass for instances of their table's shape."""

import pytest

from schemas.requests import Approval
from schemas.step import Look, RowKey, Writes
from schemas.tables import BatchRow, InboxRow, JobRow
from schemas.tables.row import Row
from tests.jobs import NOW, new_job


def test_a_row_passes_for_its_class_and_for_no_other() -> None:
    row = new_job().changed(attempt=2)
    assert isinstance(row, JobRow)
    assert isinstance(row, Row)
    assert not isinstance(row, InboxRow)
    assert row.__class__ is JobRow


def test_a_changed_row_leaves_the_one_before_as_it_was() -> None:
    row = JobRow.of_all(new_job().__dict__)
    other = row.changed(attempt=2).changed(resumes=1)
    assert (row.attempt, row.resumes, other.attempt, other.resumes) == (1, 0, 2, 1)
    assert other.changed(attempt=1, resumes=0) == row


def test_what_is_not_named_has_its_default() -> None:
    values = {name: value for name, value in new_job().__dict__.items() if name != "retry_count"}
    assert JobRow.of(**values).retry_count == 0


def test_rows_of_two_tables_are_never_equal() -> None:
    facts = {"subscriber": "a", "event_id": 1, "handled_at": NOW}
    assert InboxRow.of(**facts) == InboxRow.of(**facts)
    assert InboxRow.of(**facts) != InboxRow.of(**facts | {"subscriber": "b"})
    assert InboxRow.of_all(dict(facts)) != JobRow.of_all(dict(facts))


def test_a_row_has_the_methods_of_its_class() -> None:
    batch = BatchRow.of(open=2, undecided=3, approval=Approval.AUTOMATIC)
    assert batch.awaits_promotion
    assert batch.owed == 5


def test_a_row_is_no_key() -> None:
    with pytest.raises(TypeError):
        hash(InboxRow.of(subscriber="a", event_id=1, handled_at=NOW))


def test_a_row_shows_its_columns() -> None:
    assert repr(InboxRow.of_all({"subscriber": "a"})) == "InboxRow(subscriber='a')"


def test_a_changed_row_knows_what_was_named_as_it_was_made() -> None:
    row = JobRow.of_all(new_job().__dict__)
    other = row.changed(attempt=2, resumes=0)
    assert other.take_named_since(new_job()) is None
    other = row.changed(attempt=2, resumes=0)
    assert set(other.take_named_since(row) or ()) == {"attempt", "resumes"}
    # It has let go of the row before, so that no row keeps all of its versions.
    assert other.take_named_since(row) is None
    assert new_job().take_named_since(row) is None


def test_only_columns_of_another_value_are_taken_for_changed() -> None:
    before = JobRow.of_all(new_job().__dict__)
    key = RowKey(JobRow, (before.id,))
    named, over, unchanged = (
        before.changed(attempt=2, resumes=before.resumes),
        before.changed(attempt=2).changed(resumes=3),
        before.changed(attempt=before.attempt),
    )
    for after, changed in ((named, {"attempt"}), (over, {"attempt", "resumes"}), (unchanged, None)):
        writes = Writes()
        writes.update(after, before.id)
        Look({key: before}, [key]).accept(writes)
        assert writes.changed.get(JobRow) == changed
        assert bool(writes.updates) == (changed is not None)


def test_an_inserted_row_lets_go_of_what_it_was_made_of() -> None:
    before = JobRow.of_all(new_job().__dict__)
    row, writes = before.changed(position=2), Writes()
    writes.insert(row, row.id)
    Look({}, []).accept(writes)
    assert row.take_named_since(before) is None
