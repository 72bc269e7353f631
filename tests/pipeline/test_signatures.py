"""What is sent is signed as Standard Webhooks says; its own library is the judge."""

import base64
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from adapters.local.ids import RandomIds
from pipeline.webhooks.signatures import live_secrets, new_secret, rotated, signed
from tests.fakes.clock import FakeClock

EVENT = UUID("019b76da-a800-7003-8601-cba335bf992d")
BODY = '{"type": "image.job.completed", "data": {"alt_text": "Bücher"}}'.encode()
DAY = timedelta(days=1)


def secret(seed: int = 1) -> dict[str, Any]:
    return new_secret(RandomIds(FakeClock(), random.Random(seed)), datetime.now(UTC))


def verified(headers: dict[str, str], body: bytes, one: dict[str, Any]) -> bool:
    try:
        Webhook(one["secret"]).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_the_signature_is_that_of_the_specifications_own_example() -> None:
    """https://github.com/standard-webhooks/standard-webhooks, whose libraries all test this."""
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)
    theirs = Webhook(key).sign(str(EVENT), at, body.decode())
    ours = signed(EVENT, body, [{"secret": key, "created_at": "", "ends_at": None}], at)
    assert ours["webhook-signature"] == theirs
    assert ours["webhook-timestamp"] == "1614265330"


def test_a_receiver_accepts_what_we_signed_and_nothing_else() -> None:
    one, at = secret(), datetime.now(UTC)
    headers = signed(EVENT, BODY, [one], at)
    assert verified(headers, BODY, one)
    assert not verified(headers, BODY + b" ", one)
    assert not verified(headers, BODY, secret(2))
    for name, other in (
        ("webhook-id", str(EVENT.int)),
        ("webhook-timestamp", str(int(at.timestamp()) + 1)),
    ):
        assert not verified(headers | {name: other}, BODY, one)
    old = signed(EVENT, BODY, [one], at - timedelta(minutes=6))
    assert not verified(old, BODY, one)


def test_a_secret_has_the_specifications_form_and_256_bits() -> None:
    text = secret()["secret"]
    assert text.startswith("whsec_")
    assert len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) == 32
    assert len({secret(seed)["secret"] for seed in range(50)}) == 50


def test_after_a_rotation_both_secrets_sign_until_the_old_one_ends() -> None:
    at = datetime.now(UTC)
    old, new = secret(1), secret(2)
    both = rotated([old], new, at, DAY)
    headers = signed(EVENT, BODY, both, at)
    assert len(headers["webhook-signature"].split()) == 2
    assert verified(headers, BODY, old)
    assert verified(headers, BODY, new)
    later = signed(EVENT, BODY, both, at + DAY)
    assert len(later["webhook-signature"].split()) == 1
    assert later == signed(EVENT, BODY, [new], at + DAY)


def test_never_do_more_than_two_secrets_sign() -> None:
    at = datetime.now(UTC)
    first, second, third = (secret(seed) for seed in (1, 2, 3))
    now = rotated(rotated([first], second, at, DAY), third, at, DAY)
    assert [one["secret"] for one in live_secrets(now, at)] == [third["secret"], second["secret"]]


@pytest.mark.parametrize("overlap", [timedelta(), timedelta(seconds=1)])
def test_a_rotation_without_overlap_ends_the_old_secret_at_once(overlap: timedelta) -> None:
    at = datetime.now(UTC)
    old, new = secret(1), secret(2)
    live = live_secrets(rotated([old], new, at, overlap), at + overlap)
    assert [one["secret"] for one in live] == [new["secret"]]
