"""The database's schema, step by step (Alembic). `run.py` applies it, guards included."""

from pathlib import Path


def head() -> str:
    """The revision that this program's code was written for.

    Told by the files' names alone: to compare it with a database needs no Alembic.
    """
    return max(path.name[:4] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))
