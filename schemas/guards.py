"""The database's own guards, generated from the transition table, for both databases.

Without them a hand-written UPDATE could do what no trigger allows. They are installed again after
every migration, since SQLite loses a table's triggers when it is rebuilt.
"""

from states.table import LEGAL_PAIRS, State

GUARD = "jobs_guard"
_ILLEGAL = "limner: illegal move of a job"


def _legal(separator: str) -> str:
    pairs = sorted(LEGAL_PAIRS)
    return separator.join(
        f"(OLD.state = '{source.value}' AND NEW.state = '{target.value}')"
        for source, target in pairs
    )


def _condition(differs: str) -> str:
    """True for an update that must be refused; *differs* is the dialect's null-safe inequality."""
    return (
        f"(OLD.state {differs} NEW.state AND (NEW.version <> OLD.version + 1"
        f" OR NOT ({_legal(' OR ')})))\n"
        "    OR (OLD.state = NEW.state"
        " AND NEW.version <> OLD.version AND NEW.version <> OLD.version + 1)"
    )


def _born_wrong() -> str:
    return f"NEW.state <> '{State.QUEUED.value}' OR NEW.version <> 1"


SQLITE = (
    f"DROP TRIGGER IF EXISTS {GUARD}",
    f"DROP TRIGGER IF EXISTS {GUARD}_insert",
    f"CREATE TRIGGER {GUARD} BEFORE UPDATE ON jobs\nWHEN {_condition('<>')}\n"
    f"BEGIN SELECT RAISE(ABORT, '{_ILLEGAL}'); END",
    f"CREATE TRIGGER {GUARD}_insert BEFORE INSERT ON jobs\nWHEN {_born_wrong()}\n"
    f"BEGIN SELECT RAISE(ABORT, '{_ILLEGAL}'); END",
)

POSTGRESQL = (
    f"CREATE OR REPLACE FUNCTION {GUARD}() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    f"BEGIN\n    RAISE EXCEPTION '{_ILLEGAL} (% v% -> % v%)',"
    " OLD.state, OLD.version, NEW.state, NEW.version USING ERRCODE = 'check_violation';\nEND $$",
    f"DROP TRIGGER IF EXISTS {GUARD} ON jobs",
    f"CREATE TRIGGER {GUARD} BEFORE UPDATE ON jobs FOR EACH ROW\n"
    f"WHEN ({_condition('<>')})\nEXECUTE FUNCTION {GUARD}()",
    f"CREATE OR REPLACE FUNCTION {GUARD}_insert() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    f"BEGIN\n    RAISE EXCEPTION '{_ILLEGAL} (born % v%)', NEW.state, NEW.version"
    " USING ERRCODE = 'check_violation';\nEND $$",
    f"DROP TRIGGER IF EXISTS {GUARD}_insert ON jobs",
    f"CREATE TRIGGER {GUARD}_insert BEFORE INSERT ON jobs FOR EACH ROW\n"
    f"WHEN ({_born_wrong()})\nEXECUTE FUNCTION {GUARD}_insert()",
)

DDL = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
