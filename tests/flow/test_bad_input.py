"""Bad input against the running service: damaged pictures, and requests that no browser would send."""

from __future__ import annotations

import json
import socket

import pytest

from tests.conftest import wait_for
from tests.faults.bad_input.mutations import mutants
from tests.faults.bad_input.seeds import seeds
from tests.flow.conftest import Service
from tests.flow.test_service import JOBS, ended, submit

SAMPLE = 54
TAKEN = {"succeeded": None, "failed": "invalid_image"}


def test_damaged_pictures_get_their_documented_answers_and_no_worker_ends(shared_service: Service) -> None:
    before = shared_service.pid_of("worker-")
    statuses, ids = set(), []
    for _, data in mutants(seeds(), count=SAMPLE, seed=1):
        response = submit(shared_service, data)
        statuses.add(response.status_code)
        if response.status_code == 202:
            ids.append(response.json()["id"])
    assert {202, 400, 415} <= statuses <= {202, 400, 413, 415}
    wait_for(lambda: all(ended(shared_service, job_id) for job_id in ids), seconds=120, pause=0.5)
    ends = [ended(shared_service, job_id) for job_id in ids]
    assert {(job["status"], job["error"] and job["error"]["code"]) for job in ends if job} <= set(TAKEN.items())
    assert all(job["attempts"] == 1 for job in ends if job)
    assert shared_service.pid_of("worker-") == before


def ask(service: Service, request: bytes) -> tuple[int, bytes]:
    """The status and the rest of the answer to raw bytes; 0 where the server only closed the connection."""
    with socket.create_connection(("127.0.0.1", service.client.base_url.port or 80), timeout=20) as one:
        one.sendall(request)
        one.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: one.recv(1 << 16), b""))
    return (int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0), answer


def posted(body: bytes, *, length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n{more}"
    return f"{head}Content-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body


def form(picture: bytes, filename: bytes = b"a.png") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="' + filename + b'"\r\n\r\n'
    return head + picture + b"\r\n--b--\r\n"


PART = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        pytest.param(posted(form(b"x" * 100), length=100_000), {0, 400, 415}, id="a length beyond the body"),
        pytest.param(posted(form(b"x" * 100), length=20), {400, 415}, id="a length short of the body"),
        pytest.param(posted(form(b"x"), length=1 << 40), {413}, id="a length of a terabyte"),
        pytest.param(posted(form(b"x"), more="Content-Length: 5\r\n"), {400}, id="two lengths"),
        pytest.param(posted(form(b"x"), more="Transfer-Encoding: chunked\r\n"), {400, 415}, id="length and chunks"),
        pytest.param(posted(PART * 1001 + b"--b--\r\n"), {400, 413}, id="1001 parts"),
        pytest.param(posted(form(b"x", b"n" * 100_000)), {400, 413, 415}, id="a long name"),
        pytest.param(posted(b"no form at all"), {400}, id="a body that is no form"),
        pytest.param(posted(form(b"x"), more=f"X-Long: {'h' * 100_000}\r\n"), {400, 431}, id="a long header"),
        pytest.param(posted(form(b"x"), more="Idempotency-Key: a\x00b\r\n"), {0, 400}, id="NUL in a header"),
        pytest.param(b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404}, id="a path upwards"),
        pytest.param(b"GET /%2e%2e/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404}, id="a path with NUL"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {0, 400}, id="TLS where none is spoken"),
        pytest.param(b"\r\n\r\n\r\n", {0, 400}, id="nothing"),
    ],
)
def test_a_request_that_no_browser_sends_is_refused(
    request_bytes: bytes, statuses: set[int], shared_service: Service
) -> None:
    status, answer = ask(shared_service, request_bytes)
    assert status in statuses, answer[:300]
    assert b"Traceback" not in answer
    assert shared_service.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"../../../x.png", id="a path upwards"),
        pytest.param(b"/etc/passwd", id="an absolute path"),
        pytest.param(b"..\\..\\x.png", id="a Windows path"),
        pytest.param(b"a\x00b.png", id="NUL"),
        pytest.param(b"a%0d%0aSet-Cookie: x=1.png", id="a line break"),
        pytest.param(b"<script>alert(1)</script>.png", id="a script"),
        pytest.param("\u202egnp.cat\U0001f408".encode(), id="writing from right to left"),
        pytest.param(b"\xff\xfe\xfd.png", id="no UTF-8"),
        pytest.param(b"n" * 2000 + b".png", id="2000 characters"),
    ],
)
def test_a_files_name_is_shown_and_never_used(name: bytes, shared_service: Service) -> None:
    home = shared_service.log.parent
    before = {path for path in home.rglob("*") if "blobs" not in path.parts}
    picture = seeds()[0]
    status, answer = ask(shared_service, posted(form(picture, name)))
    assert status in (202, 400), answer[:300]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"set-cookie: x=1" not in head.lower()
    new = {path for path in home.rglob("*") if "blobs" not in path.parts} - before
    assert not [path for path in new if path.suffix == ".png" or path.name == "passwd"]
    if status == 202:
        job = json.loads(body)
        shown = job["image"]["filename"]
        assert len(shown) <= 120 and "/" not in shown and shown.isprintable()
        page = shared_service.client.get(job["links"]["page"]).text
        assert "<script>alert(1)" not in page
