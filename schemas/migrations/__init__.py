"""The database's schema, step by step (Alembic). `run.py` applies it, guards included."""

from pathlib import Path

# The oldest revision whose programs may run on this schema: from there on an update of a cluster
# needs no stop. A migration that they cannot run on raises it to its own number (docs/upgrade.md);
# tests/store/test_serves.py holds it to what it says.
SERVES = "0004"


def head() -> str:
    """The revision that this program's code was written for.

    Told by the files' names alone: to compare it with a database needs no Alembic.
    """
    return max(path.name[:4] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))
