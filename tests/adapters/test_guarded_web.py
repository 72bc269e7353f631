"""Requests through the guard over a real HTTP server that misbehaves."""

import datetime
import socket
import ssl
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.errors import NoReply
from adapters.guard.addresses import IPAddress
from adapters.guard.settings import GuardSettings
from adapters.guard.web import GuardedWeb, SystemResolver
from adapters.ports import WebReply
from tests.fakes.receiver import Answer, Receiver

HERE = "127.0.0.0/8"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


def web_to(receiver: Receiver) -> GuardedWeb:
    guard = GuardSettings(allow_http=True, ports=[receiver.port], allowed_networks=[HERE])
    return GuardedWeb(guard, resolve=SystemResolver())


async def sent(receiver: Receiver, *, seconds: float = 10, max_bytes: int = 1_000) -> WebReply:
    return await web_to(receiver).send(
        "POST",
        receiver.url,
        headers={"content-type": "application/json", "x-own": "1"},
        body=b'{"a": 1}',
        within=timedelta(seconds=seconds),
        max_bytes=max_bytes,
    )


async def test_a_request_arrives_as_it_was_given(receiver: Receiver) -> None:
    reply = await sent(receiver)
    assert (reply.status, reply.body, reply.whole) == (200, b"ok", True)
    (came,) = receiver.received
    assert (came.path, came.body) == ("/hooks?from=limner", b'{"a": 1}')
    assert came.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert came.headers["content-length"] == "8"
    assert came.headers["x-own"] == "1"
    assert "transfer-encoding" not in came.headers


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    receiver.script = [Answer.REDIRECTED]
    assert (await sent(receiver)).status == 307
    assert [came.path for came in receiver.received] == ["/hooks?from=limner"]


@pytest.mark.parametrize("answer", [Answer.CUT, Answer.RESET, Answer.GARBAGE])
async def test_what_is_no_reply_is_told_as_none(receiver: Receiver, answer: Answer) -> None:
    receiver.script = [answer]
    with pytest.raises(NoReply, match="broke before there was a reply"):
        await sent(receiver)


async def test_a_receiver_that_does_not_answer_in_time_is_left(receiver: Receiver) -> None:
    receiver.script = [Answer.SLOW]
    with pytest.raises(NoReply, match=r"no reply within 0\.2 s"):
        await sent(receiver, seconds=0.2)


async def test_a_giant_body_is_cut_off_and_its_status_counts(receiver: Receiver) -> None:
    receiver.script = [Answer.GIANT]
    reply = await sent(receiver, max_bytes=100_000)
    assert (reply.status, len(reply.body), reply.whole) == (200, 100_000, False)


@pytest.mark.parametrize(("answer", "begun"), [(Answer.CUT_BODY, b"half"), (Answer.DRIPPING, b".")])
async def test_a_body_that_breaks_off_or_drips_is_not_whole(
    receiver: Receiver, answer: Answer, begun: bytes
) -> None:
    receiver.script = [answer]
    reply = await sent(receiver, seconds=0.3)
    assert (reply.status, reply.body, reply.whole) == (200, begun, False)


async def test_nobody_at_the_address_is_no_reply(receiver: Receiver) -> None:
    web, url = web_to(receiver), receiver.url
    receiver.__exit__()
    with pytest.raises(NoReply, match="no connection could be made"):
        await web.send("POST", url, headers={}, body=b"", within=timedelta(seconds=5), max_bytes=1)
    receiver.__enter__()


async def test_the_proxy_of_the_environment_is_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would resolve the name anew, and connect where the guard sees nothing of it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await sent(receiver)).status == 200


async def test_the_system_is_asked_for_the_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the last dot a cluster's search domains are tried first, and lead inside."""
    asked: list[str] = []

    def looked_up(name: str, port: int, **_: Any) -> list[Any]:
        asked.append(name)
        return [(2, 1, 6, "", ("93.184.215.14", port)), (10, 1, 6, "", ("fe80::1%2", port, 0, 2))]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    resolver = SystemResolver()
    assert await resolver("hooks.example.com", 443) == ["93.184.215.14", "fe80::1%2"]
    assert asked == ["hooks.example.com."]
    resolver.close()


# --- TLS: the connection goes to a checked address, the certificate is that of the name


NAME = "hooks.example.com"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate of `NAME` that signs itself: its file, and a context that believes in it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path, ssl.create_default_context(cafile=str(path))


async def over_tls(
    certificate: tuple[Path, ssl.SSLContext], url: str, *, trusted: bool = True
) -> tuple[WebReply, Receiver]:
    path, trust = certificate
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    with Receiver(tls=serving) as receiver:

        async def resolve(_: str, __: int) -> Sequence[str]:
            return ["93.184.215.14"]

        async def connect(_: IPAddress, __: int) -> Any:
            import httpcore2

            return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", receiver.port)

        web = GuardedWeb(
            GuardSettings(),
            resolve=resolve,
            connect=connect,
            trusted=(lambda: trust) if trusted else None,
        )
        reply = await web.send(
            "POST", url, headers={}, body=b"", within=timedelta(seconds=10), max_bytes=100
        )
        return reply, receiver


async def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    reply, receiver = await over_tls(certificate, f"https://{NAME}/hook")
    assert reply.status == 200
    assert receiver.received[0].headers["host"] == NAME


@pytest.mark.parametrize(("url", "trusted"), [("https://other.example.com/", True), (
    f"https://{NAME}/", False)])  # fmt: skip
async def test_a_certificate_of_another_name_or_of_nobody_we_know_is_refused(
    certificate: tuple[Path, ssl.SSLContext], url: str, trusted: bool
) -> None:
    with pytest.raises(NoReply, match="certificate is not accepted"):
        await over_tls(certificate, url, trusted=trusted)
