"""A Redis as an operator guards one: a user with a password and few commands, behind TLS."""

from __future__ import annotations

import datetime
import ipaddress
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cli import embedded
from shared.settings import REPOSITORY
from tests.conftest import wait_for

PASSWORD = "p@ss/w:rd#1"


def documented_acl() -> str:
    """The line of docs/security.md that a reader is told to give Redis."""
    lines = (REPOSITORY / "docs" / "security.md").read_text("utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("user pathlight "))
    return line


@dataclass
class GuardedRedis:
    """Addresses of one server. `cut` ends every connection over TLS and takes no new one until `mend`."""

    port: int
    tls_port: int
    certificate: Path
    relay: Relay

    @property
    def url(self) -> str:
        return f"redis://pathlight:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/0"

    @property
    def tls_url(self) -> str:
        return f"{self.untrusted_url}?ssl_ca_certs={quote(str(self.certificate))}"

    @property
    def untrusted_url(self) -> str:
        """Over TLS, without saying whose certificates are good."""
        return f"rediss://pathlight:{quote(PASSWORD, safe='')}@127.0.0.1:{self.tls_port}/0"


@contextmanager
def guarded_redis(folder: Path) -> Iterator[GuardedRedis]:
    """Start a server, and what stands before it."""
    port = free_port()
    lines = ["bind 127.0.0.1", f"port {port}", "appendonly no", 'save ""', f'dir "{folder}"', "user default off"]
    lines.append(documented_acl().replace("PASSWORD", PASSWORD))
    (folder / "redis.conf").write_text("\n".join(lines), "utf-8")
    server = subprocess.Popen([str(embedded.find_server()[0]), str(folder / "redis.conf")], stdout=subprocess.DEVNULL)
    certificate, context = _certificate(folder)
    relay = Relay(port, context)
    try:
        guarded = GuardedRedis(port, relay.port, certificate, relay)
        wait_for(lambda: _answers(guarded.url), seconds=10)
        yield guarded
    finally:
        relay.close()
        server.kill()
        server.wait()


class Relay:
    """Ends TLS before a server that has none."""

    def __init__(self, target: int, context: ssl.SSLContext) -> None:
        self._target, self._context = target, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._carry, args=(self._listener.accept()[0],), daemon=True).start()

    def _carry(self, raw: socket.socket) -> None:
        with suppress(OSError), raw, socket.create_connection(("127.0.0.1", self._target)) as back:
            if self._is_cut:
                return
            with self._context.wrap_socket(raw, server_side=True) as front:
                self._open |= {front, back}
                try:
                    self._pump(front, back)
                finally:
                    self._open -= {front, back}

    @staticmethod
    def _pump(front: ssl.SSLSocket, back: socket.socket) -> None:
        while True:
            readable = [front] if front.pending() else select.select([front, back], [], [])[0]
            for end, other in ((front, back), (back, front)):
                if end in readable:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    other.sendall(data)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of its own authority, for 127.0.0.1, and the context of a server that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a Redis of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    shown, kept = folder / "certificate.pem", folder / "key.pem"
    shown.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    kept.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown, kept)
    return shown, context


def _answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.ConnectionError:
        return False
