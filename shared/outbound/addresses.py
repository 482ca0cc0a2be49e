"""Network addresses that strangers name: which of them may be contacted on their behalf.

Whoever may make this service contact an address must not reach what only the service can reach: its own machine, its
private network, a cloud's metadata. So an address is plain http or https on a usual port, its name is looked up once,
and every IP address that the name leads to must be on the public internet.
"""

from __future__ import annotations

import queue
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from shared.errors import ForbiddenAddress
from shared.settings import Settings

LONGEST_ADDRESS = 2048
PORTS = {"http": 80, "https": 443}
IpAddress = IPv4Address | IPv6Address
Resolve = Callable[[str, float], Sequence[str]]
"""Looks a host name up within so many seconds; raises OSError where it leads nowhere."""

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*")
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")  # what resolvers take for an IPv4 address in some notation
# Some version of Python's `is_global` calls each of these public. They are tunnels, relays and special uses, through
# which an address of a private network can be reached.
_NOT_PUBLIC_4 = tuple(map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")))
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(map(IPv6Network, ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")))


@dataclass(frozen=True)
class Address:
    """An address taken apart. `host` is an ASCII name or a number without brackets, `target` path and query."""

    scheme: str
    host: str
    port: int
    target: str


def resolve(host: str, seconds: float) -> list[str]:
    """Look a name up with the system's resolver, which knows no limit of time of its own: where it takes longer, it is
    left behind in its thread. Raises OSError."""
    answer: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put([str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)])
        except OSError as error:
            answer.put(error)
        except UnicodeError as error:
            answer.put(OSError(f"{host} is not a name: {error}"))

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise TimeoutError(f"{host} was not found within {seconds:.0f} s") from None
    if isinstance(found, OSError):
        raise found
    return found


@dataclass(frozen=True)
class Rules:
    """Which addresses may be contacted. `ports` beside 80 and 443, and this very machine, are for the operator to
    allow."""

    ports: frozenset[int] = frozenset(PORTS.values())
    loopback: bool = False
    resolve: Resolve = resolve

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that the settings give."""
        return cls(settings.allowed_ports, settings.outbound_loopback)

    def read(self, text: str) -> Address:
        """Take an address apart. Raises ForbiddenAddress where its form, scheme or port is not allowed."""
        if len(text) > LONGEST_ADDRESS:
            raise ForbiddenAddress(f"an address may have at most {LONGEST_ADDRESS} characters")
        try:
            url = httpx.URL(text)
            host = url.raw_host.decode("ascii").removesuffix(".")
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ForbiddenAddress("this is not an http or https address") from error
        if url.scheme not in PORTS or not host:
            raise ForbiddenAddress("an address begins with http:// or https:// and a host")
        if url.userinfo:
            raise ForbiddenAddress("an address must hold no user name or password")
        if not _is_host(host):
            raise ForbiddenAddress("the host is neither a name nor a number in its usual form")
        port = PORTS[url.scheme] if url.port is None else url.port
        if port not in self.ports:
            raise ForbiddenAddress(f"port {port} is not allowed; allowed are {', '.join(map(str, sorted(self.ports)))}")
        return Address(url.scheme, host, port, url.raw_path.decode("ascii"))

    def ip_addresses(self, address: Address, *, seconds: float) -> list[IpAddress]:
        """Look the host up once, and return its IP addresses; raises ForbiddenAddress where it leads nowhere, or any of
        them may not be contacted. Connect to these addresses, not to the name: it may lead elsewhere next time."""
        try:
            found = [ip_address(address.host)] if _is_number(address.host) else self._look_up(address.host, seconds)
        except (OSError, ValueError) as error:
            raise ForbiddenAddress(f"the host {address.host} is not known") from error
        if not found:
            raise ForbiddenAddress(f"the host {address.host} is not known")
        if not all(is_public(ip) or (self.loopback and is_loopback(ip)) for ip in found):
            raise ForbiddenAddress(f"the host {address.host} is not on the public internet")
        return found

    def vet(self, text: str, *, seconds: float) -> Address:
        """Take an address apart and see where it leads. Raises ForbiddenAddress."""
        address = self.read(text)
        self.ip_addresses(address, seconds=seconds)
        return address

    def _look_up(self, host: str, seconds: float) -> list[IpAddress]:
        return [ip_address(number) for number in dict.fromkeys(self.resolve(host, seconds))]


def is_public(ip: IpAddress) -> bool:
    """Whether an IP address is one on the public internet: no multicast, and none of a special range."""
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(ip.ipv4_mapped)
        return ip in _PUBLIC_6 and not any(ip in network for network in _NOT_PUBLIC_6)
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC_4)


def is_loopback(ip: IpAddress) -> bool:
    """Whether an IP address is one of this very machine."""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.is_loopback
    return ip.is_loopback


def _is_host(host: str) -> bool:
    """Whether a host is a name, or a number in the one notation that nobody reads differently."""
    return _is_number(host) or bool(_NAME.fullmatch(host) and not _NUMBER.fullmatch(host))


def _is_number(host: str) -> bool:
    if "%" in host:  # a zone: it means something on one machine only
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
