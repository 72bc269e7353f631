"""No URL of a caller leads into our own network: judged by what comes to the connector, not by what
the guard says. Resolver and connector are the test's, so that no packet leaves even where it fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import httpcore2
import pytest

from adapters.errors import AddressRefused, NoReply
from adapters.guard.addresses import IPAddress, is_reachable, parsed
from adapters.guard.settings import GuardSettings
from adapters.guard.web import GuardedWeb

PUBLIC = "93.184.215.14"


@dataclass
class Outside:
    """Stands where the network begins: gives *answers* for every name, notes every connection."""

    answers: Sequence[str] = (PUBLIC,)
    resolved: list[str] = field(default_factory=list)
    connected: list[tuple[IPAddress, int]] = field(default_factory=list)

    async def resolve(self, name: str, _: int) -> Sequence[str]:
        self.resolved.append(name)
        return self.answers

    async def connect(self, address: IPAddress, port: int) -> Any:
        self.connected.append((address, port))
        raise httpcore2.ConnectError("the test has no network")

    def web(self, **settings: Any) -> GuardedWeb:
        guard = GuardSettings(**settings)
        return GuardedWeb(guard, resolve=self.resolve, connect=self.connect)


async def sent(web: GuardedWeb, url: str) -> None:
    await web.send(
        "POST", url, headers={}, body=b"{}", within=timedelta(seconds=5), max_bytes=1_000
    )


# Every port is allowed here, so that nothing is refused for its port by accident.
PORTS = [80, 443, 8080, 8443]

HOSTILE_URLS = [
    # schemes
    "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
    "javascript:alert(1)", "data:text/plain,x", "//example.com/", "example.com", "", "https:///x",
    "https:example.com", "https:/example.com", "https://", "unix:///var/run/docker.sock",
    # who the host is
    "https://example.com@127.0.0.1/", "https://user:password@example.com/", "https://@example.com/",
    "https://127.0.0.1#@example.com/", "https://example.com%40127.0.0.1/",
    "https://example.com\\@127.0.0.1/", "https://127.0.0.1\\.example.com/",
    "https://exa mple.com/", "https://example.com\t/", "https://example.com\r\nHost: x/",
    "https://example.com/\r\nX-Header: 1", "https://example.com\x00.evil.com/",
    "https://127.0.0.1%2f.example.com/", "https://%31%32%37.0.0.1/", "https://[::1/",
    "https://::1/", "https://example.com:443:80/", "https://example.com:/", "https://example.com:x/",
    "https://example.com:99999/", "https://example.com:-1/", "https://example.com:٤٤٣/",
    "https://example.com:22/", "https://example.com:6379/", "https://example.com:8443443/",
    # forms of loopback
    "https://127.0.0.1/", "https://127.0.0.1./", "https://127.1/", "https://127.0.1/",
    "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
    "https://017700000001/", "https://127.0.0.0x1/", "https://0/", "https://0.0.0.0/",
    "https://127.0.0.01/", "https://127.0.0.1.:443/", "https://00000177.0.0.1/",
    "https://0x7f.0x0.0x0.0x1/", "https://127.65535/", "https://4294967297/", "https://0x/",
    "https://１２７.0.0.1/", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://127．0．0．1/",
    "https://٣.٣.٣.٣/", "https://８.８.８.８/", "https://ⅼocalhost/", "https://localhost/",
    "https://LOCALHOST/", "https://localhost./", "https://ｌｏｃａｌｈｏｓｔ/", "https://a.localhost/",
    "https://[::1]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[::ffff:0:127.0.0.1]/",
    # networks of one's own
    "https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/",
    "https://100.64.0.1/", "https://100.127.255.254/", "https://169.254.1.1/", "https://192.0.0.8/",
    "https://192.0.0.192/", "https://198.18.0.1/", "https://224.0.0.1/", "https://239.1.2.3/",
    "https://240.0.0.1/", "https://255.255.255.255/", "https://192.0.2.1/", "https://198.51.100.1/",
    "https://203.0.113.1/", "https://192.88.99.1/", "https://[fc00::1]/", "https://[fd12::1]/",
    "https://[fe80::1]/", "https://[fe80::1%eth0]/", "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/", "https://[ff02::1]/", "https://[2001:db8::1]/", "https://[100::1]/",
    "https://[3fff::1]/", "https://[5f00::1]/", "https://[4000::1]/",
    # translated on their way
    "https://[2002:a9fe:a9fe::]/", "https://[2002:7f00:1::]/", "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b::127.0.0.1]/", "https://[64:ff9b:1::a9fe:a9fe]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "https://[2001:10::1]/",
    "https://[2606:4700::5efe:10.0.0.1]/", "https://[2606:4700::200:5efe:7f00:1]/",
    # what clouds tell their machines
    "https://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/latest/",
    "https://metadata.google.internal/computeMetadata/v1/", "https://metadata/",
    "https://100.100.100.200/latest/", "https://168.63.129.16/machine", "https://0xA9FEA9FE/",
    "https://2852039166/", "https://kubernetes.default.svc.cluster.local/", "https://kubernetes/",
    "https://consul.service.internal./",
    # no names
    "https://-a.example.com/", "https://a..example.com/", "https://.example.com/",
    "https://example.com../", "https://a_b.example.com/", "https://xn--a.com/", "https://a‍b.com/",
    f"https://{'a' * 64}.example.com/",
    f"https://{'a.' * 130}com/", f"https://example.com/{'x' * 2000}",
    "https://example.com/ä", "https://example.com/%zz", "https://example.com/#fragment",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_a_hostile_url_is_never_connected_to(url: str) -> None:
    outside = Outside()
    web = outside.web(ports=PORTS)
    with pytest.raises(AddressRefused):
        await sent(web, url)
    with pytest.raises(AddressRefused):
        await web.check(url)
    assert outside.connected == []
    assert outside.resolved == [], "it was told to a resolver"


HOSTILE_ANSWERS = [
    ["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["100.64.0.1"], ["192.0.0.8"], ["0.0.0.0"],
    ["::1"], ["::ffff:169.254.169.254"], ["fe80::1%eth0"], ["fec0::1"], ["fd00:ec2::254"],
    ["2002:a9fe:a9fe::"], ["64:ff9b::a9fe:a9fe"], ["64:ff9b::7f00:1"], ["168.63.129.16"],
    ["2001:0:4136:e378:8000:63bf:3fff:fdd2"], ["224.0.0.1"], ["255.255.255.255"], ["no address"],
    [PUBLIC, "127.0.0.1"], ["2606:4700::1", "fd12::1"],
    ["10.0.0.1", PUBLIC], [PUBLIC, "0177.0.0.1"],
]  # fmt: skip


@pytest.mark.parametrize("answers", HOSTILE_ANSWERS, ids=",".join)
async def test_a_name_that_leads_inside_is_never_connected_to(answers: list[str]) -> None:
    outside = Outside(answers)
    web = outside.web(ports=PORTS)
    with pytest.raises(AddressRefused, match="public internet"):
        await sent(web, "https://hooks.example.com/")
    with pytest.raises(AddressRefused):
        await web.check("https://hooks.example.com/")
    assert outside.connected == []
    assert outside.resolved == ["hooks.example.com"] * 2


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(set(HOSTILE_URLS)) == len(HOSTILE_URLS)
    assert len(HOSTILE_URLS) + len(HOSTILE_ANSWERS) >= 150


# URL, what the resolver says, what is connected to
GOOD = [
    ("https://hooks.example.com/a?b=c%20d", [PUBLIC], PUBLIC, 443),
    ("HTTPS://Hooks.Example.COM:8443/", [PUBLIC], PUBLIC, 8443),
    ("https://hooks.example.com.", [PUBLIC], PUBLIC, 443),
    ("https://bücher.example.com/", [PUBLIC], PUBLIC, 443),
    ("https://faß.de/", ["2606:4700::6810:84e5"], "2606:4700::6810:84e5", 443),
    ("https://1.1.1.1/", [], "1.1.1.1", 443),
    ("https://[2606:4700:4700::1111]/", [], "2606:4700:4700::1111", 443),
    ("https://[::ffff:1.1.1.1]/", [], "1.1.1.1", 443),
    # IPv6-only networks reach IPv4 so
    ("https://hooks.example.com/", ["64:ff9b::101:101"], "64:ff9b::101:101", 443),
    ("https://hooks.example.com?only=query", [PUBLIC, PUBLIC], PUBLIC, 443),
]


@pytest.mark.parametrize(("url", "answers", "address", "port"), GOOD)
async def test_a_public_address_is_connected_to(
    url: str, answers: list[str], address: str, port: int
) -> None:
    outside = Outside(answers)
    web = outside.web()
    await web.check(url)
    with pytest.raises(NoReply, match="no connection could be made"):
        await sent(web, url)
    assert outside.connected == [(ip_address(address), port)]


async def test_a_name_is_resolved_once_and_not_again_for_the_connection() -> None:
    """DNS rebinding: the second answer would lead inside."""
    outside = Outside()
    web = outside.web()
    first = outside.resolve

    async def turning(name: str, port: int) -> Sequence[str]:
        answers = await first(name, port)
        outside.answers = ["127.0.0.1"]
        return answers

    rebound = GuardedWeb(GuardSettings(), resolve=turning, connect=outside.connect)
    with pytest.raises(NoReply):
        await sent(rebound, "https://hooks.example.com/")
    assert outside.resolved == ["hooks.example.com"]
    assert outside.connected == [(ip_address(PUBLIC), 443)]
    with pytest.raises(AddressRefused):
        await sent(web, "https://hooks.example.com/")


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    many = [f"93.184.215.{number}" for number in range(1, 9)]
    outside = Outside(many)
    with pytest.raises(NoReply):
        await sent(outside.web(), "https://hooks.example.com/")
    assert [str(address) for address, _ in outside.connected] == many[:3]


async def test_a_network_that_is_allowed_may_be_reached_and_no_other() -> None:
    outside = Outside(["10.1.2.3"])
    web = outside.web(allow_http=True, ports=[80, 3000], allowed_networks=["10.1.0.0/16"])
    for url in ("http://receiver/", "http://receiver.internal/", "http://10.1.9.9:3000/"):
        with pytest.raises(NoReply):
            await sent(web, url)
    assert [str(address) for address, _ in outside.connected] == [
        "10.1.2.3", "10.1.2.3", "10.1.9.9",
    ]  # fmt: skip
    outside.answers = ["10.2.0.1"]
    for url in ("http://receiver/", "http://127.0.0.1/", "http://localhost/", "http://10.2.0.1/"):
        with pytest.raises(AddressRefused):
            await sent(web, url)
    assert len(outside.connected) == 3


async def test_localhost_is_this_machine_whatever_a_resolver_says() -> None:
    outside = Outside([PUBLIC])
    web = outside.web(allow_http=True, ports=[3000], allowed_networks=["127.0.0.0/8"])
    with pytest.raises(NoReply):
        await sent(web, "http://localhost:3000/hook")
    assert outside.connected == [(ip_address("127.0.0.1"), 3000)]
    assert outside.resolved == []


async def test_a_name_that_leads_nowhere_is_no_reply() -> None:
    outside = Outside([])
    with pytest.raises(NoReply, match="no address"):
        await outside.web().check("https://hooks.example.com/")

    async def unknown(name: str, port: int) -> Sequence[str]:
        raise OSError(f"{name} is not known")

    web = GuardedWeb(GuardSettings(), resolve=unknown, connect=outside.connect)
    for asked in (web.check, lambda url: sent(web, url)):
        with pytest.raises(NoReply, match="cannot be resolved"):
            await asked("https://hooks.example.com/")


@pytest.mark.parametrize("word", ["https", "user name", "public internet", "port 22"])
async def test_a_refusal_says_what_is_wrong_and_not_where_a_name_leads(word: str) -> None:
    url, answers = {
        "https": ("http://hooks.example.com/", [PUBLIC]),
        "user name": ("https://me:secret@hooks.example.com/", [PUBLIC]),
        "public internet": ("https://hooks.example.com/", ["10.11.12.13"]),
        "port 22": ("https://hooks.example.com:22/", [PUBLIC]),
    }[word]
    with pytest.raises(AddressRefused, match=word) as refused:
        await sent(Outside(answers).web(), url)
    assert not {"10.11.12.13", "secret", "hooks.example.com"} & set(str(refused.value).split())


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_what_is_reachable_is_public_by_pythons_own_list_too(network: str) -> None:
    """A grid over all addresses: the guard is never more lenient than `is_global`."""
    whole = ip_network(network)
    step = whole.num_addresses // 4_001
    for number in range(4_001):
        address = parsed(str(whole[number * step]))
        assert address is not None
        if is_reachable(address):
            assert address.is_global
            assert not address.is_multicast
