"""Webhooks: signed, told until they are heard, to nobody but whom the rules allow, and never at a job's cost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import logging
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from cli import embedded
from shared.answer.answer import Answer
from shared.blobs.blob_store import BlobStore
from shared.documents import job_document
from shared.errors import StoreUnavailable
from shared.jobs import JobError
from shared.outbound.addresses import Rules
from shared.outbound.exchange import Outbound
from shared.results import Result
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import PREFIX, JobStore
from shared.tracing import Trace, current
from tests.conftest import wait_for
from tests.shared.servers import Heard, Reply, answer, serving
from tests.shared.submissions import raw_client, submission
from worker.queue.webhooks import AT_ONE_RECEIVER, Sender, pause_after, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANSWER = Answer(timings={"compute_ms": 1.0})
Make = Callable[..., Sender]


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> redis.Redis:
    return raw_client(settings)


@pytest.fixture
def sender(settings: Settings, store: JobStore, blobs: BlobStore) -> Make:
    """A sender that may contact some ports of this machine; what is not heard is due again at once."""

    def make(*ports: int, loopback: bool = True, ring: Callable[[], None] = lambda: None, **changes: object) -> Sender:
        given = {"webhook_secret": SECRET, "webhook_pause_seconds": 0.0, "outbound_seconds": 5.0, **changes}
        rules = Rules(frozenset(ports), loopback=loopback)
        changed = replace(settings, **given)  # type: ignore[arg-type]
        return Sender(JobStore.connect(changed), blobs, changed, outbound=Outbound(rules), ring=ring)

    return make


def ended(store: JobStore, blobs: BlobStore, port: int, path: str = "/hook?token=t0ps3cret") -> str:
    """A job that has succeeded, whose end is to be told to a port of this machine."""
    job_id = store.submit(replace(submission(), webhook=f"http://127.0.0.1:{port}{path}"))
    (claim,) = store.claim(1, claim_id=secrets.token_hex(8))
    assert store.succeed(claim, blobs.put(Result(ANSWER, {}).pack()), compute_ms=1.0)
    return job_id


def replies(*statuses: int) -> Reply:
    """One answer after the other; the last goes on."""
    left = list(statuses)

    def reply(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        answer(left.pop(0) if len(left) > 1 else left[0])(handler, heard)

    return reply


def waiting(raw: redis.Redis) -> int:
    """How many webhooks are still to be sent, now or later."""
    return int(raw.zcard(f"{PREFIX}webhooks"))


def test_the_signature_is_that_of_standard_webhooks() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = sign(key, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=body)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_check_of_the_documentation_believes_what_is_signed_and_nothing_else() -> None:
    page = (REPOSITORY / "docs" / "webhooks.md").read_text("utf-8")
    scope: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], scope)
    is_genuine, now, body = scope["is_genuine"], int(time.time()), b'{"id": "x"}'
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    headers = sign(key, message_id="x", timestamp=now, body=body)
    assert is_genuine(SECRET, headers, body)
    assert not is_genuine(SECRET, headers, body + b" ")
    assert not is_genuine(f"whsec_{base64.b64encode(bytes(24)).decode()}", headers, body)
    assert not is_genuine(SECRET, {**headers, "webhook-id": "y"}, body)
    assert not is_genuine(SECRET, sign(key, message_id="x", timestamp=now - 3600, body=body), body)


def test_a_line_about_a_webhook_names_its_job_and_the_request_that_brought_it(store: JobStore, sender: Make) -> None:
    job_id = store.submit(replace(submission(), webhook="http://127.0.0.1:9/", request_id="r-1"))
    store.cancel(job_id)
    heard: list[Trace] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(current())  # type: ignore[method-assign]
    logger = logging.getLogger("worker.queue.webhooks")
    logger.addHandler(handler)
    try:
        sender(9, webhook_attempts=1).run()  # nobody listens there
    finally:
        logger.removeHandler(handler)
    assert heard == [Trace("r-1", job_id)]


def test_pauses_grow_to_some_hours_and_no_further() -> None:
    pauses = [pause_after(attempt, first=10) for attempt in range(1, 8)]
    assert pauses == [10, 40, 160, 640, 2560, 10240, 21600]
    assert pause_after(100, first=10) == 21600


def test_the_job_is_told_as_it_ended_signed_and_once(
    store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis
) -> None:
    with serving(answer(204)) as server:
        job_id = ended(store, blobs, server.port)
        sending = sender(server.port, public_url="https://example.org/")
        assert sending.run() == 1
        assert sending.run() == 0
    (heard,) = server.heard
    assert (heard.method, heard.path) == ("POST", "/hook?token=t0ps3cret")
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["webhook-id"] == job_id
    assert int(heard.headers["webhook-timestamp"]) == pytest.approx(time.time(), abs=60)
    signed = f"{job_id}.{heard.headers['webhook-timestamp']}.".encode() + heard.body
    expected = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert heard.headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert json.loads(heard.body) == job_document(store.get(job_id), ANSWER, base="https://example.org").to_dict()
    assert b"t0ps3cret" not in heard.body
    assert waiting(raw) == 0


def test_a_failure_is_told_too(store: JobStore, blobs: BlobStore, sender: Make) -> None:
    with serving(answer(200)) as server:
        store.submit(replace(submission(), webhook=f"http://127.0.0.1:{server.port}/"))
        (claim,) = store.claim(1, claim_id="c")
        store.fail(claim, JobError("timeout", "It took too long."))
        sender(server.port).run()
    told = json.loads(server.heard[0].body)
    assert (told["status"], told["error"]["code"], told["result"]) == ("failed", "timeout", None)


def test_it_is_told_again_until_it_is_heard(
    store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with serving(replies(500, 302, 200)) as server:
        job_id = ended(store, blobs, server.port)
        assert sender(server.port).run() == 3
    assert [heard.headers["webhook-id"] for heard in server.heard] == [job_id] * 3
    assert waiting(raw) == 0
    assert "answers with status 500" in caplog.text and "answers with status 302" in caplog.text
    assert f"the webhook of job {job_id} was delivered at attempt 3" in caplog.text
    assert "t0ps3cret" not in caplog.text and SECRET not in caplog.text


def test_after_its_last_attempt_a_webhook_is_given_up(
    store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(answer(503)) as server:
        ended(store, blobs, server.port)
        assert sender(server.port, webhook_attempts=3).run() == 3
    assert len(server.heard) == 3 and waiting(raw) == 0
    assert "given up after 3 attempts" in caplog.text


def test_where_nobody_listens_the_next_attempt_waits(
    store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis
) -> None:
    with serving(answer(200)) as server:
        job_id = ended(store, blobs, server.port)
    assert sender(server.port, webhook_pause_seconds=60.0).run() == 1
    at = raw.zscore(f"{PREFIX}webhooks", job_id)
    assert at == pytest.approx(store.now_ms() + 60_000, abs=10_000)


def test_an_address_that_leads_elsewhere_by_now_is_not_contacted(
    store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis
) -> None:
    with serving(answer(200)) as server:
        ended(store, blobs, server.port)
        assert sender(server.port, loopback=False, webhook_attempts=1).run() == 1
    assert server.heard == [] and waiting(raw) == 0


def test_a_receiver_that_keeps_us_waiting_holds_up_nobody_else(store: JobStore, blobs: BlobStore, sender: Make) -> None:
    others = threading.Event()

    def reply(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        if heard.path == "/slow":
            others.wait(10)
        elif sum(one.path == "/fast" for one in server.heard) == 20:
            others.set()
        answer(200)(handler, heard)

    with serving(reply) as server:
        for path in ["/slow"] * 3 + ["/fast"] * 20:
            ended(store, blobs, server.port, path)
        assert sender(server.port, outbound_seconds=20.0).run() == 23
        assert others.is_set()


def test_a_webhook_is_told_though_its_sender_died_before(
    store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis
) -> None:
    with serving(answer(200)) as server:
        job_id = ended(store, blobs, server.port)
        assert len(store.webhooks.claim(1, claim_id="of the dead")) == 1
        assert sender(server.port).run() == 0
        raw.zadd(f"{PREFIX}webhooks", {job_id: 1})  # its lease has run out
        assert sender(server.port).run() == 1
    assert len(server.heard) == 1 and waiting(raw) == 0


def test_a_webhook_is_told_though_redis_died_between(
    settings: Settings,
    store: JobStore,
    blobs: BlobStore,
    sender: Make,
    raw: redis.Redis,
    redis_server: subprocess.Popen[bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def heard_as_redis_dies(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        redis_server.kill()
        redis_server.wait()
        answer(200)(handler, heard)

    with serving(heard_as_redis_dies) as server:
        job_id = ended(store, blobs, server.port)
        with pytest.raises(StoreUnavailable):
            sender(server.port).run()
    assert f"whether the webhook of job {job_id} was heard is not known" in caplog.text
    again = subprocess.Popen(embedded.prepare(settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(store), seconds=10)
        raw.zadd(f"{PREFIX}webhooks", {job_id: 1}, xx=True)  # its lease has run out
        with serving(answer(200), port=server.port) as back:
            assert sender(server.port).run() == 1
        assert back.heard[0].headers["webhook-id"] == job_id and waiting(raw) == 0
    finally:
        again.kill()
        again.wait()


def test_a_receiver_that_does_not_answer_holds_up_no_other(store: JobStore, blobs: BlobStore, sender: Make) -> None:
    answered = threading.Event()

    def slow(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        answered.wait(30)
        answer(200)(handler, heard)

    with serving(slow) as dead, serving(answer(200)) as sound:
        for _ in range(40):
            ended(store, blobs, dead.port)
        sending = threading.Thread(target=sender(dead.port, sound.port).run)
        sending.start()
        wait_for(lambda: len(dead.heard) == AT_ONE_RECEIVER, seconds=10)
        ended(store, blobs, sound.port)  # it became due after all the others
        wait_for(lambda: len(sound.heard) == 1, seconds=5)
        assert len(dead.heard) == AT_ONE_RECEIVER, "no more at once than one receiver may keep waiting"
        answered.set()
        sending.join()


def test_a_forgotten_job_is_told_to_nobody(store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis) -> None:
    with serving(answer(200)) as server:
        job_id = ended(store, blobs, server.port)
        raw.hdel(f"{PREFIX}job:{job_id}", "owner")  # as if it were forgotten while its delivery is claimed
        assert sender(server.port).run() == 1
    assert server.heard == [] and waiting(raw) == 0


def test_a_result_that_cannot_be_read_is_tried_again_later(
    store: JobStore, blobs: BlobStore, sender: Make, raw: redis.Redis
) -> None:
    with serving(answer(200)) as server:
        job_id = ended(store, blobs, server.port)
        blobs.discard(store.get(job_id).result_ref or "")
        assert sender(server.port, webhook_pause_seconds=60.0).run() == 1
    assert server.heard == [] and waiting(raw) == 1


def test_what_is_due_when_the_turn_is_over_rings_for_the_next(
    store: JobStore, blobs: BlobStore, sender: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.queue.webhooks.TURN_SECONDS", 0.0)
    rings: list[bool] = []
    ended(store, blobs, 9)
    assert sender(9, ring=lambda: rings.append(True)).run() == 0
    assert rings == [True]


def _answers(store: JobStore) -> bool:
    try:
        store.ping()
    except StoreUnavailable:
        return False
    return True
