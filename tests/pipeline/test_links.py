"""A link says what we signed, or nothing at all."""

import stat
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from adapters.local.secret import kept_secret
from pipeline.links import LEAST_SECRET_BYTES, Link, Purpose, read, sign
from pipeline.settings import Settings

SECRET, OTHER = b"s" * LEAST_SECRET_BYTES, b"t" * LEAST_SECRET_BYTES
LINK = Link(Purpose.APPROVE, "default", UUID(int=7), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("tenant", ["default", "Größe/ä", ""])
def test_a_link_is_read_as_it_was_signed(purpose: Purpose, tenant: str) -> None:
    link = LINK._replace(purpose=purpose, tenant=tenant, job_id=uuid4())
    token = sign(link, SECRET)
    assert read(token, SECRET) == link
    assert len(token) < 120, "short enough for a chat"
    assert token.replace("-", "").replace("_", "").isalnum()


def test_a_changed_character_anywhere_makes_no_link() -> None:
    token = sign(LINK, SECRET)
    for place, char in enumerate(token[:-1]):  # the last one holds bits that mean nothing
        changed = token[:place] + ("A" if char != "A" else "B") + token[place + 1 :]
        assert read(changed, SECRET) is None


@pytest.mark.parametrize(
    "token",
    ["", "a", "%%%", "ä", "A" * 44, "A" * 2_000, sign(LINK, OTHER), sign(LINK, SECRET)[:-4]],
)
def test_what_was_not_signed_by_this_secret_is_no_link(token: str) -> None:
    assert read(token, SECRET) is None


def test_a_secret_of_its_own_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "link-secret"
    secret = kept_secret(path)
    assert len(secret) >= LEAST_SECRET_BYTES
    assert kept_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["link-secret"]
    path.chmod(0o644)
    assert kept_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept_secret(tmp_path / "another") != secret


def test_an_emptied_secret_is_not_signed_with(tmp_path: Path) -> None:
    (tmp_path / "link-secret").write_text("\n")
    with pytest.raises(OSError, match="remove it"):
        kept_secret(tmp_path / "link-secret")


def test_a_secret_that_can_be_guessed_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="link_secret"):
        Settings(link_secret="secret")
    assert "s" * 32 not in repr(Settings(link_secret="s" * 32))
