"""The whole service as strangers meet it: keys required, a guarded Redis over TLS, and logs that tell no secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from shared.broker import DRAIN_QUEUE, make_celery
from shared.jobs import TERMINAL
from shared.settings import REPOSITORY, Settings
from tests.conftest import encoded, wait_for
from tests.flow.conftest import Service, free_port, running
from tests.flow.test_service import JOBS
from tests.guarded_redis import PASSWORD, GuardedRedis, guarded_redis
from tests.shared.servers import Heard, answer, serving

WEBHOOK_KEY = os.urandom(32)
WEBHOOK_SECRET = f"whsec_{base64.b64encode(WEBHOOK_KEY).decode()}"


@dataclass
class Guarded:
    """A running service that requires keys."""

    service: Service
    redis: GuardedRedis
    home: Path
    webhook_port: int  # of this machine, the only one that webhooks may go to

    def command(self, *words: str) -> str:
        environment = {**os.environ, "REDIS_URL": self.redis.tls_url, "PATHLIGHT_HOME": str(self.home)}
        command = [sys.executable, "-m", "cli", *words]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def succeeds(self, key: str, data: bytes, **fields: str) -> bool:
        """Whether a picture that is sent with this key is explained."""
        headers = {"X-API-Key": key}
        sent = self.service.client.post(JOBS, headers=headers, data=fields, files={"image": ("a.png", data)})
        assert sent.status_code == 202, sent.text
        address = sent.json()["links"]["self"]
        wait_for(lambda: self.service.client.get(address, headers=headers).json()["status"] in TERMINAL, seconds=60)
        return bool(self.service.client.get(address, headers=headers).json()["status"] == "succeeded")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with guarded_redis(folder) as server:
        home = folder / "home"
        port = free_port()
        with running(
            home,
            folder / "log",
            REDIS_URL=server.tls_url,
            PATHLIGHT_KEYS="required",
            PATHLIGHT_LOG_FORMAT="json",
            PATHLIGHT_WEBHOOK_SECRET=WEBHOOK_SECRET,
            PATHLIGHT_WEBHOOK_PAUSE_SECONDS="0.5",
            PATHLIGHT_OUTBOUND_LOOPBACK="1",
            PATHLIGHT_OUTBOUND_PORTS=str(port),
        ) as service:
            yield Guarded(service, server, home, port)


def test_a_message_of_pickles_is_refused_and_the_worker_lives(guarded: Guarded, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "opened"),)

    key = guarded.command("keys", "create", "pickles").split()[-1]
    assert guarded.succeeds(key, encoded(Image.new("RGB", (32, 32), "olive")))  # the models are loaded
    worker = guarded.service.pid_of("worker-")
    app = make_celery(Settings(home=guarded.home, redis_url=guarded.redis.tls_url))
    with app.connection_for_write() as connection:
        hostile = pickle.dumps(((Hostile(),), {}, {}))
        connection.Producer().publish(
            hostile,
            routing_key=DRAIN_QUEUE,
            exchange="",
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers={"task": "pathlight.drain", "id": "1"},
        )
    wait_for(lambda: "Refusing to deserialize" in guarded.service.log.read_text(), seconds=30)
    assert guarded.succeeds(key, encoded(Image.new("RGB", (32, 32), "teal")))
    assert guarded.service.pid_of("worker-") == worker
    assert not (tmp_path / "opened").exists()


def test_the_service_works_for_those_with_a_key_and_its_logs_tell_no_secret(guarded: Guarded) -> None:
    client = guarded.service.client
    key = guarded.command("keys", "create", "laptop").split()[-1]
    picture = encoded(Image.new("RGB", (32, 32), "orange"))
    assert client.post(JOBS, files={"image": ("a.png", picture)}).status_code == 401
    assert client.post(JOBS, headers={"X-API-Key": f"{key[:-3]}..."}, files={"image": picture}).status_code == 401
    assert guarded.succeeds(key, picture)

    with httpx.Client(base_url=client.base_url) as browser:
        token = re.search(r'name="token" value="([^"]+)"', browser.get("/sign-in").text)
        assert token is not None
        signed = browser.post("/sign-in", data={"token": token[1], "key": key})
        assert signed.status_code == 303
        session = browser.cookies["pathlight_session"]
        assert "Sign out" in browser.get("/").text
        assert not re.search(r"\d", signed.headers["Server"])

    guarded.redis.relay.cut()
    away = client.get(f"{JOBS}/x", headers={"X-API-Key": key})
    assert away.status_code == 503 and away.headers["Retry-After"]
    wait_for(lambda: "ConnectionError" in guarded.service.log.read_text(), seconds=30)
    guarded.redis.relay.mend()
    assert guarded.succeeds(key, encoded(Image.new("RGB", (32, 32), "navy")))
    guarded.command("keys", "revoke", "laptop")
    assert client.get(f"{JOBS}/x", headers={"X-API-Key": key}).status_code == 401

    said = guarded.service.log.read_text() + away.text + command_lines(guarded.service)
    for secret in (key[16:], session, PASSWORD, WEBHOOK_SECRET, guarded.redis.url.split(":")[2].partition("@")[0]):
        assert secret not in said


def test_a_request_is_followed_through_both_sides_and_its_job_is_counted(guarded: Guarded) -> None:
    key = guarded.command("keys", "create", "watch", "--scope", "admin").split()[-1]
    client, headers = guarded.service.client, {"X-API-Key": key, "X-Request-Id": "one-request"}
    picture = {"image": ("a.png", encoded(Image.new("RGB", (32, 32), "maroon")))}
    job = client.post(JOBS, headers=headers, files=picture).json()
    address = job["links"]["self"]
    wait_for(lambda: client.get(address, headers=headers).json()["status"] in TERMINAL, seconds=60)

    def lines() -> list[dict[str, object]]:
        """Of the services; `pathlight run` itself speaks to whoever started it."""
        return [json.loads(line) for line in guarded.service.log.read_text().splitlines() if line.startswith("{")]

    def logged() -> set[object]:
        return {line["logger"] for line in lines() if line.get("request_id") == "one-request"}

    wait_for(lambda: {"web.api.acceptance", "worker.queue.drain"} <= logged(), seconds=10)
    assert {line.get("job_id") for line in lines() if line["logger"] == "worker.queue.drain"} >= {job["id"]}
    others = [line for line in guarded.service.log.read_text().splitlines() if line[:1] not in ("{", "")]
    assert not [line for line in others if "Traceback" in line or "WARNING" in line], others

    told = client.get("/metrics", headers=headers).text
    samples = {
        (name, *sorted(labels.items())): value
        for family in text_string_to_metric_families(told)
        for name, labels, value, *_ in family.samples
    }
    ended = ("pathlight_jobs_ended_total", ("code", ""), ("lane", "interactive"), ("status", "succeeded"))
    assert samples[ended] >= 1 and samples[("pathlight_jobs_unaccounted",)] == 0
    assert samples[("pathlight_processes", ("role", "worker"))] == 1
    assert samples[("pathlight_keeper_last_pass_seconds",)] < 60


def test_a_webhook_is_told_though_worker_sender_and_redis_were_struck(guarded: Guarded) -> None:
    service, opened = guarded.service, threading.Event()

    def reply(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        answer(204 if opened.is_set() else 503)(handler, heard)

    key = guarded.command("keys", "create", "webhooks").split()[-1]
    with serving(reply, port=guarded.webhook_port) as receiver:
        address = f"http://127.0.0.1:{receiver.port}/hook?token=t0ps3cret"
        assert guarded.succeeds(key, encoded(Image.new("RGB", (32, 32), "crimson")), webhook=address)
        wait_for(lambda: len(receiver.heard) > 0, seconds=30)
        guarded.redis.relay.cut()
        for name in ("worker-", "sender-"):
            service.kill_group(name)
        opened.set()
        refused = len(receiver.heard)
        guarded.redis.relay.mend()
        wait_for(lambda: len(receiver.heard) > refused, seconds=60)
    told = receiver.heard[-1]
    job = json.loads(told.body)
    assert job["status"] == "succeeded" and {heard.headers["webhook-id"] for heard in receiver.heard} == {job["id"]}
    assert job == service.client.get(job["links"]["self"], headers={"X-API-Key": key}).json()
    signed = f"{job['id']}.{told.headers['webhook-timestamp']}.".encode() + told.body
    signature = base64.b64encode(hmac.new(WEBHOOK_KEY, signed, hashlib.sha256).digest()).decode()
    assert told.headers["webhook-signature"] == f"v1,{signature}"
    wait_for(lambda: f"the webhook of job {job['id']} was delivered" in service.log.read_text(), seconds=30)
    said = service.log.read_text() + command_lines(service)
    assert "t0ps3cret" not in said and WEBHOOK_SECRET not in said


def command_lines(service: Service) -> str:
    """What any user of the machine sees of the service's processes."""
    pids = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
