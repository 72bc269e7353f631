"""`limner replay` and `limner dead-letters`: with a server, and where there is none."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.service import Service
from tests.test_cli_commands import done_well, here, one_line

LINKER = "blog-linking"
GONE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of two finished pictures; no server runs there."""
    folder = tmp_path_factory.mktemp("redelivery") / "home"
    for blog in ("one", "two"):
        done_well(
            here(
                "submit", "a lake", "--quality", "standard", "--blog-id", blog, "--wait",
                home=str(folder), port="0",
            )
        )  # fmt: skip
    return folder


def stored(home: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(home / "limner.sqlite", timeout=5)) as connection, connection:
        return connection.execute(query, values).fetchall()


def put_aside(home: Path, blog: str, *, poisoned: bool = False) -> str:
    """A dead letter of the blog's picture, whose place is empty again; its event's id."""
    ((event_id, subject, at, data),) = stored(
        home,
        "SELECT event_id, stream_id, occurred_at, data FROM events"
        " WHERE type = 'image.job.completed' AND blog_id = ?",
        blog,
    )
    if poisoned:
        event_id, data = uuid4().hex, json.dumps({"blog_id": blog})
    event = {
        "specversion": "1.0", "id": str(UUID(str(event_id))), "source": "/limner",
        "type": "image.job.completed", "subject": subject, "tenant": "default",
        "time": f"{str(at).replace(' ', 'T')}Z", "dataschema": "x", "sequence": "0000000004",
        "data": json.loads(str(data)),
    }  # fmt: skip
    stored(home, "DELETE FROM inbox WHERE event_id = ? AND subscriber = ?", event_id, LINKER)
    stored(
        home,
        "INSERT INTO dead_letters VALUES (?, ?, 'default', 5, 'KeyError: ''images''', ?,"
        " '2026-11-01 12:00:00.000000')",
        LINKER, event_id, json.dumps(event),
    )  # fmt: skip
    return str(event["id"])


@pytest.fixture
def letters(home: Path) -> tuple[str, str]:
    """A letter that can be handled by now, and one that never can."""
    stored(home, "DELETE FROM dead_letters")
    return put_aside(home, "one"), put_aside(home, "two", poisoned=True)


def test_letters_are_listed_shown_redriven_and_dropped_without_a_server(
    home: Path, letters: tuple[str, str]
) -> None:
    good, bad = letters
    place = {"home": str(home), "port": "0"}
    lines = done_well(here("dead-letters", "list", **place)).splitlines()
    assert [line.split("\t")[1:] for line in lines] == [
        [LINKER, event_id, "image.job.completed", "5", "KeyError: 'images'"]
        for event_id in sorted(letters)
    ]
    shown = done_well(here("dead-letters", "show", LINKER, good, **place))
    assert "failures: 5\n" in shown
    assert "error: KeyError: 'images'\n" in shown
    assert '"sequence": "0000000004"' in shown

    failed = here("dead-letters", "redrive", LINKER, bad, **place)
    assert failed.returncode == 1
    assert "failed on event" in failed.stderr
    assert "the 6th time: KeyError" in failed.stderr
    rest = here("dead-letters", "redrive", LINKER, "--all", **place)
    assert (rest.returncode, rest.stdout) == (1, f"{LINKER}\t{good}\n")
    assert "1 event redriven, 1 failed again." in rest.stderr
    assert stored(home, "SELECT count(*) FROM inbox WHERE event_id = ? AND subscriber = ?",
                  UUID(good).hex, LINKER) == [(1,)]  # fmt: skip

    told = json.loads(here("dead-letters", "drop", LINKER, bad, "--json", **place).stdout)
    assert told == {"dropped": [bad], "failed": 0}
    nothing = here("dead-letters", "list", "--json", **place)
    assert json.loads(nothing.stdout) == {"dead_letters": [], "total": 0, "next_cursor": None}


def test_what_is_no_letter_is_said_in_clear_words(home: Path) -> None:
    place = {"home": str(home), "port": "0"}
    for command in ("show", "redrive", "drop"):
        one_line(here("dead-letters", command, LINKER, "12", **place), 2)
        absent = here("dead-letters", command, LINKER, str(UUID(int=0)), **place)
        assert absent.returncode == 1
        assert "There is no such dead letter" in absent.stderr
        assert "list of dead letters" in absent.stderr
    assert "--all" in one_line(here("dead-letters", "drop", LINKER, **place), 2)
    assert "next_cursor" in one_line(here("dead-letters", "list", "--cursor", "x", **place), 2)


def test_a_replay_without_a_server_says_how_many_it_sent(home: Path) -> None:
    place = {"home": str(home), "port": "0"}
    before = stored(home, "SELECT count(*), max(position) FROM events")
    told = here("replay", "--type", "image.job.completed", "--type", "image.job.queued", **place)
    assert (told.returncode, told.stdout) == (0, "image.job.completed\t2\nimage.job.queued\t2\n")
    assert "4 events sent." in told.stderr
    assert stored(home, "SELECT count(*), max(position) FROM events") == before
    again = here("replay", "--subscriber", LINKER, "--reapply", "--json", **place)
    document = json.loads(again.stdout)
    assert (document["events"], document["failed"]) == (2, 0)
    assert stored(home, "SELECT count(*), max(position) FROM events") == before
    dry = here("replay", "--until", "2026-01-01", "--dry-run", **place)
    assert (dry.returncode, dry.stdout, dry.stderr) == (0, "", "0 events would be sent.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reapply"], "reapply goes with a subscriber"),
        (["--type", "image.job.finished"], "--type: it must be"),
        (["--since", "yesterday"], "--since: 'yesterday' is no time"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], "until must be later than since"),
        (["--after", "x"], "--after: it must be the cursor"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused_at_once(arguments: list[str], words: str) -> None:
    assert words in one_line(here("replay", *arguments, server=GONE), 2)


def test_a_server_is_asked_where_one_runs(home: Path, letters: tuple[str, str]) -> None:
    good, bad = letters
    with Service(home) as service:
        told = here("replay", server=service.address)
        assert told.returncode == 0
        ((number,),) = service.rows("SELECT count(*) FROM events")
        assert f"{number} events sent." in told.stderr
        one = here("dead-letters", "redrive", LINKER, good, server=service.address)
        assert (one.returncode, one.stdout) == (0, f"{LINKER}\t{good}\n")
        unknown = here("replay", "--subscriber", "nobody", server=service.address)
        assert unknown.returncode == 1
        assert "it has blog-linking, draft-promotion" in unknown.stderr
        with service.client as client:
            _problems(client, bad)


def _problems(client: httpx2.Client, bad: str) -> None:
    """The routes refuse what makes no sense, each with its field."""
    letters, replay = "/api/v1/dead-letters", "/api/v1/replay"
    cases = [
        ("GET", f"{letters}?limit=0", None, 422, "limit"),
        ("GET", f"{letters}?cursor=x", None, 422, "cursor"),
        ("GET", f"{letters}/{LINKER}/x", None, 422, "event_id"),
        ("GET", f"{letters}/{LINKER}/{uuid4()}", None, 404, None),
        ("DELETE", f"{letters}/nobody/{bad}", None, 404, None),
        ("POST", f"{letters}/{LINKER}/{bad}/redrive", None, 409, None),
        ("POST", replay, {"since": "2026-01-01T00:00:00"}, 422, "since"),
        ("POST", replay, {"reapply": True}, 422, "body"),
        ("POST", replay, {"sinse": "2026-01-01T00:00:00Z"}, 422, "sinse"),
        ("POST", replay, {"type": ["x"]}, 422, "type.0"),
        ("POST", replay, {"end": "x"}, 422, "end"),
        ("POST", replay, {"subscriber": "nobody"}, 422, "subscriber"),
    ]  # fmt: skip
    for method, path, body, status, field in cases:
        reply = client.request(method, path, json=body)
        assert reply.status_code == status, (path, body, reply.text)
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json().get("field") == field
    assert client.get(f"{letters}/{LINKER}/{bad}").json()["failures"] == 6
