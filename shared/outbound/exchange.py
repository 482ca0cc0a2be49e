"""One HTTP exchange with an address that a stranger named, so that nothing else can be reached by it.

The connection goes to a place that was vetted, whatever the name leads to a moment later. No redirect is followed, no
proxy variable is read, nothing is decompressed, and the exchange as a whole is bounded in time and in size.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore

from shared.errors import AnswerTooLarge, FetchFailed
from shared.outbound.addresses import PORTS, Address, IpAddress, Rules


@dataclass(frozen=True)
class Response:
    """What the other side answered; header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities that this machine trusts; to read them takes a tenth of a second."""
    return httpcore.default_ssl_context()


class Outbound:
    """Exchanges under rules. May be used by many threads at once."""

    def __init__(self, rules: Rules, *, tls: ssl.SSLContext | None = None) -> None:
        self._rules = rules
        self._tls = tls or _trusted()

    def get(self, text: str, *, most_bytes: int, seconds: float) -> Response:
        """Fetch what an address holds. Raises ForbiddenAddress, or FetchFailed where nothing arrives in time, or more
        than so many bytes."""
        return self._exchange("GET", text, {}, b"", most_bytes=most_bytes, seconds=seconds)

    def post(self, text: str, *, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
        """Post to an address and return the status; what is answered beside it is not read. Raises as `get` does."""
        return self._exchange("POST", text, headers, body, most_bytes=0, seconds=seconds).status

    def _exchange(
        self, method: str, text: str, headers: Mapping[str, str], body: bytes, *, most_bytes: int, seconds: float
    ) -> Response:
        deadline = Deadline(seconds)
        address = self._rules.read(text)
        dialer = Dialer(self._rules.ip_addresses(address, seconds=deadline.left()), deadline)
        origin = httpcore.Origin(address.scheme.encode(), address.host.encode(), address.port)
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=address.target.encode())
        own = {"Host": _authority(address), "User-Agent": "Pathlight", "Accept": "*/*", "Connection": "close"}
        sent = [*(own | dict(headers)).items()]
        try:
            with (
                httpcore.HTTPConnection(origin, ssl_context=self._tls, network_backend=dialer) as connection,
                connection.stream(method, url, headers=sent, content=body or None) as response,
            ):
                received = _read(response.iter_stream(), most_bytes) if most_bytes else b""
                named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                return Response(response.status, named, received)
        except TimeoutError as error:
            raise FetchFailed(f"{address.host} did not answer within {seconds:.0f} s") from error
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchFailed(f"{address.host} does not answer as a web server does") from error


class Deadline:
    """So many seconds from now, whatever they are spent on."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left. Raises TimeoutError where there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Dialer(httpcore.NetworkBackend):
    """Connects to vetted IP addresses only, whatever host it is given."""

    def __init__(self, ips: list[IpAddress], deadline: Deadline) -> None:
        self._ips = ips
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure = OSError("no address to connect to")
        for ip in self._ips:
            try:
                connection = socket.create_connection((str(ip), port), timeout=self._deadline.left())
            except TimeoutError:
                raise
            except OSError as error:
                failure = error
                continue
            return Wire(connection, self._deadline)
        raise failure


class Wire(httpcore.NetworkStream):
    """A connection on which no step may outlast the deadline, so that whoever trickles gains nothing by it."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._connection.settimeout(self._deadline.left())
        return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        while buffer:
            self._connection.settimeout(self._deadline.left())
            buffer = buffer[self._connection.send(buffer) :]

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._connection.settimeout(self._deadline.left())
        return Wire(ssl_context.wrap_socket(self._connection, server_hostname=server_hostname), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return None


def _read(chunks: Iterable[bytes], most: int) -> bytes:
    received = bytearray()
    for chunk in chunks:
        received += chunk
        if len(received) > most:
            raise AnswerTooLarge(f"there are more than {most} bytes")
    return bytes(received)


def _authority(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return host if address.port == PORTS[address.scheme] else f"{host}:{address.port}"
