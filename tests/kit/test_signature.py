"""Only what the secret signed, and lately, is believed."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.kit.signature import Unsigned, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldA=="
# The example of the specification of Standard Webhooks.
AT = datetime.fromtimestamp(1614265330, UTC)
ID, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_specifications_own_example_is_signed_and_believed() -> None:
    headers = sign(SECRET, ID, BODY, AT)
    assert headers["webhook-signature"] == SIGNATURE
    verify([SECRET], headers, BODY, AT)
    verify([SECRET], {name.title(): value for name, value in headers.items()}, BODY, AT)


def test_either_of_two_secrets_signs_while_one_is_replaced() -> None:
    both = f"{sign(OTHER, ID, BODY, AT)['webhook-signature']} v1a,xyz {SIGNATURE}"
    headers = sign(SECRET, ID, BODY, AT) | {"webhook-signature": both}
    verify([SECRET], headers, BODY, AT)
    verify([OTHER], headers, BODY, AT)
    verify(["whsec_bmVpdGhlcg==", SECRET], headers, BODY, AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "msg_other"},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "x"},
        {"webhook-signature": ""},
        {"webhook-signature": SIGNATURE.replace("v1", "v2")},
        {"webhook-signature": "ä"},
        {"webhook-signature": SIGNATURE[:-2]},
    ],
)
def test_whatever_was_changed_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(Unsigned):
        verify([SECRET], sign(SECRET, ID, BODY, AT) | changes, BODY, AT)


def test_another_body_secret_or_none_at_all_is_refused() -> None:
    headers = sign(SECRET, ID, BODY, AT)
    for secrets, body in (([OTHER], BODY), ([], BODY), ([SECRET], BODY + b" ")):
        with pytest.raises(Unsigned, match="no signature"):
            verify(secrets, headers, body, AT)
    for name in headers:
        with pytest.raises(Unsigned, match="missing"):
            verify([SECRET], {key: headers[key] for key in headers if key != name}, BODY, AT)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_message_of_another_time_is_refused(minutes: int) -> None:
    headers = sign(SECRET, ID, BODY, AT)
    verify([SECRET], headers, BODY, AT + timedelta(minutes=minutes / 2))
    with pytest.raises(Unsigned, match="too old"):
        verify([SECRET], headers, BODY, AT + timedelta(minutes=minutes))
