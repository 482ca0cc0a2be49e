"""Exchanges with the addresses of strangers: bounded, and with nobody but the place that was vetted."""

from __future__ import annotations

import http.server
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.errors import FetchFailed, ForbiddenAddress
from shared.outbound.addresses import Rules
from shared.outbound.exchange import Outbound
from tests.shared.servers import Heard, answer, serving

PUBLIC = "93.184.215.14"


def outbound(port: int, *, resolve: Callable[[str, float], list[str]] | None = None) -> Outbound:
    """Allowed to contact a server on loopback, under whatever name."""
    return Outbound(Rules(frozenset((port,)), loopback=True, resolve=resolve or (lambda host, seconds: ["127.0.0.1"])))


def test_a_picture_is_fetched_from_the_place_its_name_leads_to() -> None:
    with serving(answer(200, b"bytes", **{"Content-Type": "image/png"})) as server:
        got = outbound(server.port).get(f"http://name.example:{server.port}/a?b", most_bytes=5, seconds=5)
    assert (got.status, got.headers["content-type"], got.body) == (200, "image/png", b"bytes")
    heard = server.heard[0]
    assert (heard.method, heard.path) == ("GET", "/a?b")
    assert heard.headers["host"] == f"name.example:{server.port}"


def test_a_body_is_posted_with_its_headers_and_the_answers_body_is_not_read() -> None:
    with serving(answer(204)) as server:
        status = outbound(server.port).post(
            f"http://name.example:{server.port}/", headers={"X-Own": "1"}, body=b"{}", seconds=5
        )
    assert status == 204
    assert (server.heard[0].headers["x-own"], server.heard[0].body) == ("1", b"{}")


def test_a_resolver_that_changes_its_answer_gains_nothing() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    with serving(answer(200)) as server:
        rules = Rules(frozenset((server.port,)), resolve=lambda host, seconds: next(answers))
        address = f"http://rebinding.example:{server.port}/"
        rules.vet(address, seconds=1)  # public when it was submitted
        with pytest.raises(ForbiddenAddress):
            Outbound(rules).get(address, most_bytes=10, seconds=1)
    assert server.heard == []
    assert next(answers) == ["127.0.0.1"], "it must be asked once an exchange"


def test_the_connection_goes_to_the_vetted_place_and_is_not_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError(f"looked up again: {arguments}")

    monkeypatch.setattr("socket.gethostbyname", refuse)
    with serving(answer(200)) as server:
        assert outbound(server.port).get(f"http://no-such-name.invalid:{server.port}/", most_bytes=1, seconds=5)


def test_a_redirect_is_not_followed() -> None:
    with serving(answer(200)) as inner, serving(answer(302, Location=f"http://127.0.0.1:{inner.port}/")) as server:
        got = outbound(server.port).get(f"http://name.example:{server.port}/", most_bytes=10, seconds=5)
    assert got.status == 302
    assert inner.heard == []


def test_proxy_variables_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answer(200)) as proxy, serving(answer(200, b"direct")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        got = outbound(server.port).get(f"http://name.example:{server.port}/", most_bytes=10, seconds=5)
    assert got.body == b"direct"
    assert proxy.heard == []


def test_a_body_over_the_bound_is_refused_whatever_its_length_is_said_to_be() -> None:
    def endless(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(65536))

    for reply in (answer(200, bytes(101)), endless):
        with serving(reply) as server, pytest.raises(FetchFailed, match="more than 100 bytes"):
            outbound(server.port).get(f"http://name.example:{server.port}/", most_bytes=100, seconds=5)


def trickle(head: bytes) -> Callable[[http.server.BaseHTTPRequestHandler, Heard], None]:
    def reply(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        handler.wfile.write(head)
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    return reply


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"]
)
def test_a_server_that_trickles_is_left_when_the_time_is_over(head: bytes) -> None:
    with serving(trickle(head)) as server:
        began = time.monotonic()
        with pytest.raises(FetchFailed):
            outbound(server.port).get(f"http://name.example:{server.port}/", most_bytes=1000, seconds=0.5)
        assert time.monotonic() - began < 4


def test_a_resolver_that_hangs_is_left_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **named: object) -> list[object]:
        time.sleep(6)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)
    began = time.monotonic()
    with pytest.raises(ForbiddenAddress, match="not known"):
        Outbound(Rules()).get("http://slow.example/", most_bytes=1, seconds=0.2)
    assert time.monotonic() - began < 4


def test_who_does_not_listen_or_does_not_speak_http_is_named() -> None:
    with serving(lambda handler, heard: None) as server:
        port = server.port
        with pytest.raises(FetchFailed, match=r"name\.example does not answer"):
            outbound(port).get(f"http://name.example:{port}/", most_bytes=1, seconds=2)
    with pytest.raises(FetchFailed, match=r"name\.example does not answer"):
        outbound(port).get(f"http://name.example:{port}/", most_bytes=1, seconds=2)


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(signed.public_bytes(pem) + private)
    return path


def test_a_certificate_is_checked_against_the_name_and_not_the_place(tmp_path: Path) -> None:
    path = certificate(tmp_path, "name.example")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(path)
    ours = ssl.create_default_context(cafile=path)
    with serving(answer(200, b"secret"), tls=theirs) as server:
        rules = Rules(frozenset((server.port,)), loopback=True, resolve=lambda host, seconds: ["127.0.0.1"])
        got = Outbound(rules, tls=ours).get(f"https://name.example:{server.port}/", most_bytes=10, seconds=5)
        assert got.body == b"secret"
        for wrong, host in ((ours, "other.example"), (None, "name.example")):
            with pytest.raises(FetchFailed):
                Outbound(rules, tls=wrong).get(f"https://{host}:{server.port}/", most_bytes=10, seconds=5)
