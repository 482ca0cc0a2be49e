"""Fetches that a page asked for, from a server on the loopback: progress, ends, and processes that die."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest
import torch

from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.fetches import Fetch, FetchState
from shared.store.job_store import JobStore
from tests.conftest import wait_for
from tests.shared.cards import write_card
from tests.shared.slow_server import SlowServer
from tests.shared.test_fetches import age
from tests.worker.test_upstream import saved
from worker.queue.fetcher import REPORT_SECONDS, Fetcher

CONTENT = saved({"weight": torch.zeros(100_000)})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    with SlowServer(CONTENT) as running:
        yield running


@pytest.fixture
def fetch(store: JobStore, settings: Settings) -> Callable[[], threading.Thread]:
    """Starts the fetch of the model `far` as the task does, in a thread."""
    store.fetches.begin("far")

    def start() -> threading.Thread:
        thread = threading.Thread(target=Fetcher(store.fetches, settings).run)
        thread.start()
        return thread

    return start


def declare(settings: Settings, url: str, *, digest: str = sha256(CONTENT).hexdigest()) -> None:
    write_card(settings.registry, name="far", weights={"file": "w.pth", "sha256": digest, "url": url})


def last_fetch(store: JobStore) -> Fetch:
    return store.fetches.look(["far"])["far"]


def test_a_fetch_says_how_far_it_is_and_the_model_is_ready_at_its_end(
    server: SlowServer, fetch: Callable[[], threading.Thread], store: JobStore, settings: Settings
) -> None:
    declare(settings, server.url)
    server.hold_at(len(CONTENT) // 2)
    thread = fetch()
    wait_for(lambda: last_fetch(store).done > 0, seconds=30)
    assert last_fetch(store).state is FetchState.RUNNING and last_fetch(store).total == len(CONTENT)
    assert last_fetch(store).done <= len(CONTENT) // 2
    assert Registry.load(settings).get("far").missing is not None
    server.let_go()
    thread.join(30)
    assert last_fetch(store) == Fetch(FetchState.DONE, len(CONTENT), len(CONTENT))
    assert Registry.load(settings).ready("far").weights_path.read_bytes() == CONTENT
    assert not list(settings.cache.glob(".fetch-*"))


def test_a_host_that_cannot_be_reached_is_said_in_one_sentence(
    fetch: Callable[[], threading.Thread], store: JobStore, settings: Settings
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    declare(settings, f"http://127.0.0.1:{port}/w.pth")
    fetch().join(30)
    failed = last_fetch(store)
    assert failed.state is FetchState.FAILED
    assert (failed.error or "").startswith("127.0.0.1 cannot be reached: Connection refused; download http://127.0.0.1")
    assert "pathlight models fetch far" in (failed.error or "") and "\n" not in (failed.error or "")


def test_another_file_than_was_meant_is_refused_and_the_model_stays_as_it_was(
    server: SlowServer, fetch: Callable[[], threading.Thread], store: JobStore, settings: Settings
) -> None:
    declare(settings, server.url, digest="0" * 64)
    fetch().join(30)
    assert last_fetch(store).state is FetchState.FAILED and "nothing was kept" in (last_fetch(store).error or "")
    assert Registry.load(settings).get("far").missing is not None


def test_a_model_that_went_meanwhile_is_said_to_be_none(fetch: Callable[[], threading.Thread], store: JobStore) -> None:
    fetch().join(30)
    assert last_fetch(store).state is FetchState.FAILED and "'far' is not a model" in (last_fetch(store).error or "")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [(RuntimeError("secret"), "for a reason of our own"), (SystemExit(), "was stopped; try again")],
    ids=["fault", "stop"],
)
def test_a_fault_and_a_stop_are_told_without_their_details(
    fetch: Callable[[], threading.Thread],
    store: JobStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
    sentence: str,
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise fault

    declare(settings, "http://127.0.0.1:1/w.pth")
    monkeypatch.setattr("worker.engine.upstream.fetch", broken)
    fetch().join(30)
    assert last_fetch(store).state is FetchState.FAILED and sentence in (last_fetch(store).error or "")
    assert "secret" not in (last_fetch(store).error or "")


def test_a_fetch_that_was_given_up_ends_where_another_has_begun(
    server: SlowServer, fetch: Callable[[], threading.Thread], store: JobStore, settings: Settings
) -> None:
    declare(settings, server.url)
    server.hold_at(len(CONTENT) // 2)
    thread = fetch()
    wait_for(lambda: last_fetch(store).done > 0, seconds=30)
    age(settings, "far", 3600)
    assert store.fetches.begin("far")
    assert store.fetches.claim(claim_id="another") == "far"
    time.sleep(3 * REPORT_SECONDS)  # one of the reports hears of it
    server.let_go()
    thread.join(30)
    assert last_fetch(store).state is FetchState.RUNNING, "the other one goes on"
    assert Registry.load(settings).get("far").missing is not None
