"""A plan is made once and kept. Made while tables are small, it has to serve large ones too."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import make_url

from adapters.store import postgres_statements as sql
from adapters.store.database import open_store
from adapters.store.plans import Plans
from adapters.store.postgres_connection import connect
from schemas.tables import JobRow
from tests.jobs import create, new_job

JOBS = 1_000
PLAN = Plans(asyncpg_dialect.dialect()).by_row[JobRow]  # type: ignore[no-untyped-call]  # SQLAlchemy's
KEYS_AND_XIDS = "uuid[], xid[]"
UPDATE = sql.Part("update", PLAN, ("id", "version"), by_transaction=True)

STATEMENTS = {
    "sent marks": (sql.SENT, "uuid[], int[], int[], text", "{ids}, {ones}, {ones}, 'here'"),
    "look": (sql.look(PLAN, lock=False), KEYS_AND_XIDS, "{ids}, {xids}"),
    "look under locks": (sql.look(PLAN, lock=True), KEYS_AND_XIDS, "{ids}, {xids}"),
    "look at all": (sql.look_at_all((PLAN,), lock=True), "uuid[]", "{ids}"),
    "update": (sql.write((UPDATE,)), "uuid[], int[], xid[]", "{ids}, {ones}, {xids}"),
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_each_row_is_found_by_its_key(postgres_url: str, name: str) -> None:
    statement, types, values = STATEMENTS[name]
    connection = await connect(make_url(postgres_url))
    await connection.execute(f"PREPARE kept ({types}) AS {statement}")
    none = values.format(ids="'{}'", ones="'{}'", xids="'{}'")
    await connection.execute(f"EXECUTE kept ({none})")  # from here on the plan is kept

    store = open_store(postgres_url)
    jobs = [new_job() for _ in range(JOBS)]
    await store.commit([create(job) for job in jobs])
    await store.close()

    rows = await connection.fetch("SELECT id, xmin FROM jobs")
    some = values.format(
        ids=_array(row["id"] for row in rows),
        ones=_array("1" for _ in rows),
        xids=_array(row["xmin"] for row in rows),
    )
    (told,) = await connection.fetchrow(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE kept ({some})")
    await connection.close()
    (explained,) = json.loads(told)
    nodes = list(_nodes(explained["Plan"]))
    assert max(node["Actual Rows"] for node in nodes) >= JOBS, "it did something"
    looked_at = sum(
        (node["Actual Rows"] + removed) * node["Actual Loops"]
        for node in nodes
        for removed in [sum(n for name, n in node.items() if name.startswith("Rows Removed"))]
    )
    assert looked_at < 20 * JOBS


def _array(values: Any) -> str:
    return "'{" + ",".join(map(str, values)) + "}'"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)
