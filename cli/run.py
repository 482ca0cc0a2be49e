"""`pathlight run`: the whole service on one machine, from one command, until Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import click
import httpx

from cli import embedded
from cli.processes import Child, stop_all
from shared import distribution, locks
from shared.broker import DELIVER_QUEUE, FETCH_QUEUE, KEEP_QUEUE, drain_queue
from shared.errors import InvalidSetting, PathlightError, StoreUnavailable
from shared.settings import LOOPBACK, REPOSITORY, Settings
from shared.store.job_store import JobStore

READY_SECONDS = 120.0
BACKLOG = 2048  # connections that wait to be taken, as gunicorn has it
SOFT_SHUTDOWN_SECONDS = 3.0
STOP_SECONDS = 7.0  # for the worker and the web server; Redis, which they need to the end, takes no time


class StopRequested(Exception):
    """Ctrl-C, or a request to end."""


def run(settings: Settings) -> None:
    """Start Redis (unless REDIS_URL names one), a worker and the web server; end them all on Ctrl-C. Raises
    MissingPackage where one of them could not start."""
    distribution.need("web", "worker")
    with locked(settings), interruptible(), listening(settings) as listener:
        settings = replace(settings, port=listener.getsockname()[1])
        children: list[Child] = []
        try:
            _start(settings, children, listener)
            click.echo(f"Pathlight is ready: {_address(settings)}  (Ctrl-C ends it)")
            _say_who_may(settings)
            _watch(children)
        except StopRequested:
            click.echo("stopping…", err=True)
        finally:
            listener.close()
            redis = [child for child in children if child.name == "redis"]
            stop_all([child for child in children if child not in redis], seconds=STOP_SECONDS)
            stop_all(redis, seconds=2)


def _say_who_may(settings: Settings) -> None:
    """Where others can reach the server, say what that takes."""
    if settings.host not in LOOPBACK:
        click.echo("it serves others in clear text: put a proxy that ends TLS before it (docs/security.md)", err=True)
    if settings.keys_required and not JobStore.connect(settings).keys.all():
        click.echo("API keys are required, and there is none yet; make one with: pathlight keys create NAME", err=True)


def _address(settings: Settings) -> str:
    """Where this very machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold the state directory. Raises AlreadyRunning where another instance holds it."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    taken = f"another Pathlight runs on {settings.home}; stop it, or choose another directory with PATHLIGHT_HOME"
    with locks.locked(settings.home / "lock", taken=taken):
        yield


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The port, held as long as the service runs: what answers there is this service, also while its web server is
    started again. Port 0 takes a free one. Raises InvalidSetting where it cannot be had."""
    family, kind, protocol, address = _endpoint(settings)
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InvalidSetting(
                    f"PORT={settings.port} is taken by another program; stop that one, or choose another port"
                ) from error
            raise InvalidSetting(
                f"PATHLIGHT_HOST={settings.host!r} and PORT={settings.port} cannot be listened on: {error.strerror}"
            ) from error
        yield listener


def _endpoint(settings: Settings) -> tuple[int, int, int, tuple[Any, ...]]:
    """Family, kind, protocol and address of a socket that listens there; of IPv4 where the name stands for both."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InvalidSetting(f"PATHLIGHT_HOST={settings.host!r} is no address of this machine") from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, kind, protocol, address


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise StopRequested once; later ones are ignored, so that nothing disturbs the end."""

    def stop(number: int, frame: FrameType | None) -> None:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)
        raise StopRequested

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _start(settings: Settings, children: list[Child], listener: socket.socket) -> None:
    settings = replace(settings, soft_shutdown_seconds=SOFT_SHUTDOWN_SECONDS)
    environment = {**os.environ, **settings.to_environment(), "PYTHONPATH": str(REPOSITORY)}
    if settings.embedded:
        _launch(Child("redis", embedded.prepare(settings), environment), children)
    wait_for_redis(settings)
    of_celery = {**environment, "REMAP_SIGTERM": "SIGQUIT"}
    _launch(Child("worker", worker_command(settings), of_celery), children)
    _launch(Child("fetcher", fetcher_command(), of_celery), children)
    if settings.webhook_secret:
        _launch(Child("sender", sender_command(), of_celery), children)
    descriptor = listener.fileno()
    web = Child("web", web_command(settings, bind=f"fd://{descriptor}"), environment, [descriptor])
    _launch(web, children)
    _wait_until_ready(settings, web)


def _launch(child: Child, children: list[Child]) -> None:
    children.append(child)
    child.start()


def worker_command(settings: Settings) -> list[str]:
    """Celery with the keeper's clock inside; compose runs the keeper as a service of its own."""
    queues = f"{drain_queue(settings.pool)},{KEEP_QUEUE}"
    clock = ["--beat", "--schedule", str(settings.home / "beat")]
    return [*_celery("worker", queues=queues, concurrency=settings.concurrency), *clock]


def sender_command() -> list[str]:
    """Celery with the queue of webhooks alone: a receiver that keeps it waiting holds up no job. While one process
    waits for its last receivers, the other goes on with what is due."""
    return _celery("sender", queues=DELIVER_QUEUE, concurrency=2)


def fetcher_command() -> list[str]:
    """Celery with the queue of fetches alone: a download of minutes holds up no job. The child ends with each run, and
    gives back the memory that checking the weights took."""
    return [*_celery("fetcher", queues=FETCH_QUEUE, concurrency=1), "--max-tasks-per-child", "1"]


def _celery(name: str, *, queues: str, concurrency: int) -> list[str]:
    return [
        *(sys.executable, "-m", "celery", "--quiet", "--app", "worker.app", "worker"),
        *("--queues", queues, "--concurrency", str(concurrency)),
        *("--without-gossip", "--without-mingle", "--hostname", f"{name}-{os.getpid()}@%h"),
    ]


def web_command(settings: Settings, *, bind: str = "") -> list[str]:
    """gunicorn, which listens where the settings say, or on the open socket that `bind` names as fd://NUMBER."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return [
        *(sys.executable, "-m", "gunicorn", "--bind", bind or f"{host}:{settings.port}", "--forwarded-allow-ips="),
        *("--worker-class", "web.http.server.Server", "--workers", "1", "--threads", str(settings.web_threads)),
        *("--timeout", "30", "--graceful-timeout", "3", "--log-level", "warning"),
        *("--logger-class", "web.http.server_log.ServerLog", "--no-control-socket", "web.app:from_environment()"),
    ]


def wait_for_redis(settings: Settings) -> None:
    """Wait until Redis answers. Raises StoreUnavailable where it does not within 30 s."""
    store = JobStore.connect(settings)
    until = time.monotonic() + 30
    while True:
        try:
            return store.ping()
        except StoreUnavailable as error:
            if time.monotonic() > until:
                why = f"; {embedded.log_file(settings)} says why" if settings.embedded else ""
                raise StoreUnavailable(f"{error}{why}") from error
            time.sleep(0.05)


def _wait_until_ready(settings: Settings, web: Child) -> None:
    until = time.monotonic() + READY_SECONDS
    reason = "the web server does not answer"
    while time.monotonic() < until:
        if not web.alive:
            raise PathlightError("the web server ended at once; the lines above say why")
        try:
            answer = httpx.get(f"{_address(settings)}/readyz", timeout=5, headers=_host(settings))
            if answer.status_code == 200:
                return
            reason = answer.json()["detail"]
        except (httpx.HTTPError, ValueError, KeyError):
            pass
        time.sleep(0.1)
    raise PathlightError(f"Pathlight was not ready after {READY_SECONDS:.0f} s: {reason}")


def _host(settings: Settings) -> dict[str, str]:
    """The name by which the server lets itself be asked."""
    return {"Host": settings.hosts[0].removeprefix(".")} if settings.hosts else {}


def _watch(children: list[Child]) -> None:
    while True:
        time.sleep(0.5)
        for child in children:
            if child.restart_if_dead():
                click.echo(f"{child.name} had ended and was started again", err=True)
