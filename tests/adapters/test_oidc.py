"""Only a token that Google made, for us, as our service account, lets a caller in."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.errors import CallerRefused, Unavailable
from adapters.gcp.oidc import (
    FETCH_PAUSE_SECONDS,
    FIRST_PAUSE_SECONDS,
    KEYS_GOOD_FOR_SECONDS,
    KeySet,
    OidcCheck,
)
from tests.fakes.clock import START, FakeClock
from tests.fakes.google.login import Login, key_pair

EMAIL = "tasks@project.iam.gserviceaccount.com"
AUDIENCE = "https://limner.example/api/v1/images/worker"
NOW = START.timestamp()


@pytest.fixture
def login() -> Iterator[Login]:
    with Login() as running:
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def check(login: Login, clock: FakeClock) -> AsyncIterator[OidcCheck]:
    keys = KeySet(login.url, clock, call_seconds=5)
    yield OidcCheck(keys, clock, audience=AUDIENCE, email=EMAIL)
    await keys.close()


def bearer(login: Login, **changes: Any) -> str:
    told: dict[str, Any] = {"email": EMAIL, "audience": AUDIENCE, "now": NOW} | changes
    return f"Bearer {login.token(**told)}"


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
async def test_a_token_of_google_for_us_is_let_in(
    check: OidcCheck, login: Login, issuer: str
) -> None:
    await check.check(bearer(login, iss=issuer))
    await check.check(bearer(login).replace("Bearer", "bearer"))


def signed_with_the_public_key(login: Login) -> str:
    """HS256 keyed with what everybody can fetch: the classic confusion of algorithms."""
    public = login.keys["first"].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = part({"alg": "HS256", "kid": "first"})
    claims = bearer(login).split(".")[1]
    signature = jwt.get_algorithm_by_name("HS256").sign(f"{header}.{claims}".encode(), pem)
    return f"Bearer {header}.{claims}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def unsigned(token: str) -> str:
    return f"Bearer {part({'alg': 'none', 'kid': 'first'})}.{token.split('.')[1]}."


def altered(token: str) -> str:
    header, claims, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return f"{header}.{part(said | {'sub': 'somebody else'})}.{signature}"


def part(said: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


WRONG: dict[str, Callable[[Login], str | None]] = {
    "none": lambda login: None,
    "empty": lambda login: "",
    "no bearer": lambda login: bearer(login).replace("Bearer", "Basic"),
    "no token": lambda login: "Bearer ",
    "no JWT": lambda login: "Bearer a.b.c",
    "not of this world": lambda login: "Bearer \xff.\xfe",
    "too long": lambda login: bearer(login, padding="x" * 10_000),
    "another issuer": lambda login: bearer(login, iss="https://accounts.example.com"),
    "no issuer": lambda login: bearer(login, iss=None),
    "another audience": lambda login: bearer(login, aud="https://limner.example"),
    "a longer audience": lambda login: bearer(login, aud=AUDIENCE + "/"),
    "our audience among others": lambda login: bearer(login, aud=[AUDIENCE, "https://other"]),
    "our audience in a list": lambda login: bearer(login, aud=[AUDIENCE]),
    "no audience": lambda login: bearer(login, aud=None),
    "another account": lambda login: bearer(login, email="other@project.iam.gserviceaccount.com"),
    "our account in capitals": lambda login: bearer(login, email=EMAIL.upper()),
    "no account": lambda login: bearer(login, email=None),
    "unverified": lambda login: bearer(login, email_verified=False),
    "verified in words": lambda login: bearer(login, email_verified="true"),
    "unsaid whether verified": lambda login: bearer(login, email_verified=None),
    "expired": lambda login: bearer(login, now=NOW - 3611),
    "without an end": lambda login: bearer(login, exp=None),
    "an end that is no time": lambda login: bearer(login, exp=True),
    "made tomorrow": lambda login: bearer(login, now=NOW + 86_400),
    "an unknown key": lambda login: bearer(login, kid="other"),
    "a stranger's key under a known name": lambda login: bearer(login, key=key_pair(1)),
    "RS512": lambda login: bearer(login, algorithm="RS512"),
    "signed with the public key": signed_with_the_public_key,
    "unsigned": lambda login: unsigned(bearer(login)),
    "altered": lambda login: altered(bearer(login)),
}


@pytest.mark.parametrize("name", WRONG)
async def test_any_other_token_is_refused(check: OidcCheck, login: Login, name: str) -> None:
    await check.check(bearer(login))
    with pytest.raises(CallerRefused):
        await check.check(WRONG[name](login))


async def test_clocks_may_differ_by_ten_seconds(
    check: OidcCheck, login: Login, clock: FakeClock
) -> None:
    await check.check(bearer(login, now=NOW + 9))
    token = bearer(login)
    await clock.advance(3609)
    await check.check(token)
    await clock.advance(1)
    with pytest.raises(CallerRefused, match="expired"):
        await check.check(token)


async def test_keys_are_fetched_once_for_many_callers(check: OidcCheck, login: Login) -> None:
    await asyncio.gather(*(check.check(bearer(login)) for _ in range(20)))
    assert login.fetches == 1


async def test_a_rotated_key_is_fetched_and_the_old_one_is_good_no_more(
    check: OidcCheck, login: Login, clock: FakeClock
) -> None:
    old = bearer(login)
    await check.check(old)
    login.keys = {"second": key_pair(1)}
    await clock.advance(FETCH_PAUSE_SECONDS + 1)
    await check.check(bearer(login, now=clock.now().timestamp()))
    with pytest.raises(CallerRefused):
        await check.check(old)


async def test_a_withdrawn_key_is_good_for_an_hour_at_most(
    check: OidcCheck, login: Login, clock: FakeClock
) -> None:
    await check.check(bearer(login))
    token = bearer(login, now=NOW + KEYS_GOOD_FOR_SECONDS)
    login.keys = {"second": key_pair(1)}
    await clock.advance(KEYS_GOOD_FOR_SECONDS + 1)
    with pytest.raises(CallerRefused):
        await check.check(token)


async def test_names_of_unknown_keys_do_not_cost_a_fetch_each(
    check: OidcCheck, login: Login
) -> None:
    await check.check(bearer(login))
    for number in range(50):
        with pytest.raises(CallerRefused):
            await check.check(bearer(login, kid=f"made-up-{number}"))
    assert login.fetches == 1


async def test_known_keys_stay_good_while_new_ones_cannot_be_fetched(
    check: OidcCheck, login: Login, clock: FakeClock
) -> None:
    await check.check(bearer(login))
    login.down = True
    await clock.advance(KEYS_GOOD_FOR_SECONDS + 1)
    await check.check(bearer(login, now=clock.now().timestamp()))


async def test_without_any_key_the_caller_is_to_come_again(
    check: OidcCheck, login: Login, clock: FakeClock
) -> None:
    login.down = True
    with pytest.raises(Unavailable):
        await check.check(bearer(login))
    login.down = False
    with pytest.raises(Unavailable):  # not a fetch for each of them
        await check.check(bearer(login))
    await clock.advance(FIRST_PAUSE_SECONDS + 0.1)
    await check.check(bearer(login))
