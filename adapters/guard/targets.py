"""Read a caller's URL strictly, once, so that nobody reads it a second time in another way.

What browsers and resolvers would mend or guess (backslashes, octal numbers, digits of other
scripts, user names) is refused with words that say what it must be.
"""

import re
from dataclasses import dataclass

from adapters.errors import AddressRefused
from adapters.guard.addresses import IPAddress, is_reachable, parsed
from adapters.guard.settings import GuardSettings

MOST_URL_CHARACTERS = 2_000
MOST_NAME_CHARACTERS = 253
DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)((?:/[^?#]*)?(?:\?[^#]*)?)(#.*)?")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]*))?")
_NAMED = re.compile(r"([^:\[\]]+)(?::([0-9]*))?")
# RFC 3986: what a path and a query may hold; all else must be percent-encoded.
_PATH = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# A last label of this form makes the whole name an address to lenient readers.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

# Names that mean something in one network only, and those that never lead anywhere.
LOCAL_NAMES = frozenset(
    {
        "arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain",
        "localhost", "onion", "private", "test",
    }
)  # fmt: skip
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart. *host* is ASCII, in small letters, without brackets or a last dot."""

    scheme: str
    host: str
    port: int
    # Path and query as they travel.
    path: str
    # Where the host is an address and no name.
    address: IPAddress | None = None

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read_target(url: str, settings: GuardSettings) -> Target:
    """Take *url* apart; raises `AddressRefused` for one that is never connected to."""
    if len(url) > MOST_URL_CHARACTERS:
        raise AddressRefused(f"it has more than {MOST_URL_CHARACTERS} characters")
    if any(char <= " " or char in '\\\x7f"<>^`{|}' for char in url):
        raise AddressRefused("it holds spaces, control characters or characters that no URL has")
    found = _URL.fullmatch(url)
    if found is None:
        raise AddressRefused("it is no URL of the form https://host/path")
    scheme, authority, path, fragment = found[1].lower(), found[2], found[3], found[4]
    if scheme not in DEFAULT_PORTS or (scheme == "http" and not settings.allow_http):
        raise AddressRefused("it must begin with https://")
    if "@" in authority:
        raise AddressRefused("it must hold no user name or password")
    if fragment is not None:
        raise AddressRefused("it must have no fragment (#…), which never travels")
    if not _PATH.fullmatch(path):
        raise AddressRefused("its path and query must be ASCII; percent-encode all else")
    host, port_text, address = _host(authority)
    port = DEFAULT_PORTS[scheme] if port_text is None else _port(port_text)
    if port not in settings.ports:
        known = ", ".join(str(one) for one in sorted(settings.ports))
        raise AddressRefused(f"port {port} is not among those that may be connected to ({known})")
    _check_host(host, address, settings)
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}", address)


def not_public(what: str) -> AddressRefused:
    return AddressRefused(f"{what} does not lead to the public internet")


def _host(authority: str) -> tuple[str, str | None, IPAddress | None]:
    """The host, its port as it was written, and the address that it is."""
    if (found := _BRACKETED.fullmatch(authority)) is not None:
        address = parsed(found[1])
        if address is None:
            raise AddressRefused("its host is no IPv6 address")
        return str(address), found[2], address
    if (found := _NAMED.fullmatch(authority)) is None:
        raise AddressRefused("its host or port cannot be read")
    host = _ascii_name(found[1])
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return host, found[2], None
    address = parsed(host)
    if address is None or not found[1].isascii():
        raise AddressRefused("an address must be written as four plain decimal numbers")
    return host, found[2], address


def _ascii_name(name: str) -> str:
    """A name as resolvers know it (IDNA 2008, mapped as UTS 46 says)."""
    if not name.isascii() or "xn--" in name.lower():
        import idna  # its tables are large, and hardly any name needs them

        try:
            name = idna.encode(name, uts46=True, std3_rules=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise AddressRefused("its host is no name that the internet knows") from None
    name = name.lower().removesuffix(".")
    if len(name) > MOST_NAME_CHARACTERS or not all(map(_LABEL.fullmatch, name.split("."))):
        raise AddressRefused("its host is no name that the internet knows")
    return name


def _port(text: str) -> int:
    if not 1 <= len(text) <= 5 or not 0 < int(text) < 65_536:
        raise AddressRefused("its port is no number from 1 to 65535")
    return int(text)


def _check_host(host: str, address: IPAddress | None, settings: GuardSettings) -> None:
    if address is not None:
        if not is_reachable(address, settings.allowed_networks):
            raise not_public("its address")
        return
    # Where networks of one's own are allowed, their names are; what they lead to is then checked.
    if settings.allowed_networks:
        return
    if "." not in host or host.rpartition(".")[2] in LOCAL_NAMES:
        raise not_public("its host name")
