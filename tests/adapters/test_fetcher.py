"""Pictures from callers' addresses: nothing leaves where the guard refuses, and nothing but a
picture comes back. Resolver and connector are the test's; a recorder at the sockets sees what
passes them by."""

import asyncio
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import AddressRefused, NoReply, NotFetched
from adapters.guard.addresses import IPAddress
from adapters.guard.fetch import AT_ONCE, GuardedFetcher
from adapters.guard.settings import FetchSettings, GuardSettings
from adapters.guard.web import GuardedWeb
from adapters.ports import Fetcher
from pipeline.errors import PictureNotFetched
from pipeline.fetch import fetch_picture
from pipeline.settings import Settings
from tests.adapters.test_guard import HOSTILE_ANSWERS, HOSTILE_URLS, PUBLIC
from tests.fakes.receiver import Receiver
from tests.fakes.stability import painted
from tests.hostile import REFUSED
from tests.pictures import painting, saved
from tests.service import served

URL = "https://pictures.example.com/a.png"
OUTWARD = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
_recording: list[list[str]] = []


def _record(event: str, _: Any) -> None:
    if event in OUTWARD:
        for seen in _recording:
            seen.append(event)


sys.addaudithook(_record)


@pytest.fixture
def sockets() -> Iterator[list[str]]:
    """What this process asks its sockets and its resolver for, whoever asks."""
    seen: list[str] = []
    _recording.append(seen)
    yield seen
    _recording.remove(seen)


class Stream:
    """A connection to a server that sends *parts* and ends, or says nothing more."""

    def __init__(self, parts: Sequence[bytes], ends: bool) -> None:
        self.parts = list(parts)
        self.ends = ends
        self.sent = b""
        self.closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.parts:
            if not self.ends:
                await asyncio.Event().wait()
            return b""
        part = self.parts.pop(0)
        if len(part) > max_bytes:
            self.parts.insert(0, part[max_bytes:])
        return part[:max_bytes]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.sent += buffer

    async def aclose(self) -> None:
        self.closed = True

    async def start_tls(self, *_: Any, **__: Any) -> "Stream":
        return self

    def get_extra_info(self, info: str) -> None:
        return None


@dataclass
class Outside:
    """Where the network begins."""

    answers: Sequence[str] = (PUBLIC,)
    parts: Sequence[bytes] = ()
    ends: bool = True
    resolved: list[str] = field(default_factory=list)
    connected: list[tuple[IPAddress, int]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    async def resolve(self, name: str, _: int) -> Sequence[str]:
        self.resolved.append(name)
        return self.answers

    async def connect(self, address: IPAddress, port: int) -> Any:
        self.connected.append((address, port))
        self.streams.append(Stream(self.parts, self.ends))
        return self.streams[-1]

    def fetcher(self, **settings: Any) -> Fetcher:
        allowed = FetchSettings(enabled=True, **settings)
        web = GuardedWeb(allowed, resolve=self.resolve, connect=self.connect, trusted=_nobody_asked)
        return GuardedFetcher(web, allowed)


def _nobody_asked() -> ssl.SSLContext:
    """The streams of these tests speak no TLS; the system's certificates take long to read."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture(scope="module")
def picture() -> bytes:
    return saved(painting(), "PNG")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_is_taken_from_the_address_that_was_judged(
    sockets: list[str], kind: str
) -> None:
    data = saved(painting(), kind)
    outside = Outside(parts=[reply(data, "200 OK", "content-type: text/plain")])
    assert await outside.fetcher().fetch(URL) == data
    assert outside.connected == [(ip_address(PUBLIC), 443)]
    (stream,) = outside.streams
    assert stream.sent.startswith(b"GET /a.png HTTP/1.1\r\n")
    told = stream.sent.lower()
    assert b"host: pictures.example.com\r\n" in told
    assert not any(name in told for name in (b"cookie", b"authorization", b"referer"))
    assert stream.closed
    assert sockets == []


@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_no_hostile_address_is_connected_to(sockets: list[str], url: str) -> None:
    outside = Outside()
    with pytest.raises(AddressRefused):
        await outside.fetcher(ports=[80, 443, 8080, 8443]).fetch(url)
    assert (outside.connected, outside.resolved, sockets) == ([], [], [])


@pytest.mark.parametrize("answers", HOSTILE_ANSWERS, ids=",".join)
async def test_no_name_that_leads_inside_is_connected_to(
    sockets: list[str], answers: list[str]
) -> None:
    outside = Outside(answers)
    with pytest.raises(AddressRefused, match="public internet"):
        await outside.fetcher().fetch(URL)
    assert (outside.connected, sockets) == ([], [])


async def test_only_the_port_of_https_is_connected_to(sockets: list[str]) -> None:
    outside = Outside()
    with pytest.raises(AddressRefused, match="port 8443"):
        await outside.fetcher().fetch("https://pictures.example.com:8443/a.png")
    assert (outside.connected, outside.resolved, sockets) == ([], [], [])


async def test_a_name_that_turns_inward_after_it_was_judged_is_not_asked_again(
    sockets: list[str], picture: bytes
) -> None:
    outside = Outside(parts=[reply(picture)])

    async def turning(name: str, port: int) -> Sequence[str]:
        answers = await outside.resolve(name, port)
        outside.answers = ["127.0.0.1"]
        return answers

    allowed = FetchSettings(enabled=True)
    web = GuardedWeb(allowed, resolve=turning, connect=outside.connect)
    fetcher = GuardedFetcher(web, allowed)
    assert await fetcher.fetch(URL) == picture
    with pytest.raises(AddressRefused):
        await fetcher.fetch(URL)
    assert outside.connected == [(ip_address(PUBLIC), 443)]
    assert sockets == []


# What a server answers, and what is said of it.
def _replies() -> dict[str, tuple[list[bytes], str]]:
    picture = saved(painting(), "PNG")
    inside = "location: http://169.254.169.254/latest/meta-data/"
    replies = {
        f"{status} inward": ([reply(picture, f"{status} Elsewhere", inside)], "redirect")
        for status in (300, 301, 302, 303, 307, 308)
    }
    replies |= {
        f"{status} with a picture": ([reply(picture, f"{status} No")], f"answered {status}")
        for status in (201, 204, 206, 400, 401, 403, 404, 429, 500, 503)
    }
    replies |= {
        name: ([reply(make()[:5_000])], "neither PNG")
        for name, (reason, make) in REFUSED.items()
        if reason == "format"
    }
    return replies | {
        "more bytes than allowed": ([reply(picture + bytes(70_000))], "more than 65536 bytes"),
        "bytes without end": (
            [b"HTTP/1.1 200 OK\r\n\r\n", picture, *[bytes(60_000)] * 9],
            "more than 65536 bytes",
        ),
        "half of a body": ([reply(picture)[:-9]], "broke off"),
        "gzip": ([reply(b"\x1f\x8b" + bytes(30), "200 OK", "content-encoding: gzip")], "neither"),
    }


REPLIES = _replies()


@pytest.mark.parametrize("name", REPLIES)
async def test_what_is_no_picture_is_not_taken(sockets: list[str], name: str) -> None:
    parts, said = REPLIES[name]
    outside = Outside(parts=parts)
    with pytest.raises(NotFetched, match=said):
        await outside.fetcher(max_bytes=65_536).fetch(URL)
    assert len(outside.connected) == 1, "a redirect was followed"
    assert outside.streams[0].closed
    assert sockets == []


BROKEN = {
    "no byte": [],
    "half of a head": [b"HTTP/1.1 200 OK\r\ncontent-le"],
    "another protocol": [b"SSH-2.0-OpenSSH_9.9\r\n"],
    "a head without end": [b"HTTP/1.1 200 OK\r\n", *[b"x-filler: " + b"x" * 60_000 + b"\r\n"] * 9],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_reply_is_told_as_none(sockets: list[str], name: str) -> None:
    with pytest.raises(NoReply):
        await Outside(parts=BROKEN[name]).fetcher().fetch(URL)
    assert sockets == []


async def test_a_server_that_says_nothing_or_drips_is_left_in_time(picture: bytes) -> None:
    silent = Outside(ends=False)
    with pytest.raises(NoReply, match=r"within 0\.05 s"):
        await silent.fetcher(seconds=0.05).fetch(URL)
    dripping = Outside(parts=[reply(picture)[:200]], ends=False)
    with pytest.raises(NotFetched, match="within 1 s"):
        await dripping.fetcher(seconds=1).fetch(URL)
    assert silent.streams[0].closed
    assert dripping.streams[0].closed


async def test_few_are_fetched_at_once(picture: bytes) -> None:
    outside = Outside(parts=[reply(picture)])
    here = most = 0

    async def connect(address: IPAddress, port: int) -> Any:
        nonlocal here, most
        here += 1
        most = max(most, here)
        for _ in range(50):  # whoever wants to come too has time to
            await asyncio.sleep(0)
        here -= 1
        return await outside.connect(address, port)

    allowed = FetchSettings(enabled=True)
    web = GuardedWeb(allowed, resolve=outside.resolve, connect=connect)
    fetcher = GuardedFetcher(web, allowed)
    assert await fetcher.fetch(URL) == picture  # the certificates are read once
    answers = await asyncio.gather(*(fetcher.fetch(URL) for _ in range(AT_ONCE + 3)))
    assert answers == [picture] * (AT_ONCE + 3)
    assert most == AT_ONCE


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(HOSTILE_URLS) + len(HOSTILE_ANSWERS) + len(REPLIES) + len(BROKEN) >= 60


# --- in the service


async def test_nothing_is_fetched_unless_it_is_enabled(sockets: list[str], tmp_path: Path) -> None:
    """Whatever webhooks may be sent to."""
    with Receiver() as receiver:
        anywhere = GuardSettings(
            allow_http=True, ports=[receiver.port], allowed_networks=["127.0.0.0/8"]
        )
        async with served(Settings(home=tmp_path / "off", guard=anywhere)) as here:
            sockets.clear()
            for url in (receiver.url, URL):
                with pytest.raises(PictureNotFetched) as refused:
                    await fetch_picture(url, here.limner.fetcher)
            assert sockets == []
        said = str(refused.value)
        assert (refused.value.status, refused.value.facts) == (422, {"field": "image_url"})
        assert said.startswith("image_url: this service takes no pictures from foreign addresses.")
        assert "nothing charged" in said
        assert "image_id" in said
        only_https = {"enabled": True}
        async with served(Settings(home=tmp_path / "on", guard=anywhere, fetch=only_https)) as here:
            with pytest.raises(PictureNotFetched, match="must begin with https"):
                await fetch_picture(receiver.url, here.limner.fetcher)
        assert receiver.received == []


async def test_where_it_is_enabled_a_picture_is_taken_and_what_is_none_refused(
    tmp_path: Path,
) -> None:
    with Receiver(body=painted((96, 64), (9, 99, 9))) as receiver:
        fetch = {
            "enabled": True,
            "allow_http": True,
            "ports": [receiver.port],
            "allowed_networks": ["127.0.0.0/8"],
        }
        async with served(Settings(home=tmp_path / "home", fetch=fetch)) as here:
            upscale = {"json": {"image_url": receiver.url, "scale": 2}}
            reply = await here.http.post("/api/v1/images/upscale", **upscale)
            (image,) = reply.json()["images"]
            assert (image["width"], image["height"]) == (192, 128)
            before = here.stored()
            for body, code in (
                (b"no picture", "picture_not_fetched"),
                (painted((96, 64), (9, 99, 9))[:200], "bad_picture"),
            ):
                receiver.body = body
                reply = await here.http.post("/api/v1/images/upscale", **upscale)
                problem = reply.json()
                assert (reply.status_code, problem["code"]) == (422, code)
                assert problem["field"] == "image_url"
                assert "othing" in problem["detail"]
            assert here.stored() == before
        assert [one.path for one in receiver.received] == ["/hooks?from=limner"] * 3
