"""However many requests one caller sends, and however slowly, others are answered."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flask import g
from werkzeug.test import TestResponse

from shared.jobs import Job
from shared.store.job_store import JobStore
from shared.store.keys import ApiKey, KeyRing
from tests.web.test_access import JOBS, House, form_token, picture
from tests.web.test_limits import MakeHouse, make_house, too_many
from web.http import access, slots, turns

__all__ = ["make_house"]
THREADS = 16
HELD = 14  # all but an eighth of them

Ask = Callable[..., TestResponse]


class Slow(io.BytesIO):
    """The body of a request, of which nothing comes before somebody says so."""

    def __init__(self, come: threading.Event, begun: threading.Semaphore) -> None:
        super().__init__(b"x" * 10)
        self._come = come
        self._begun = begun

    def read(self, size: int | None = -1) -> bytes:
        self._begun.release()
        assert self._come.wait(30)
        return super().read(size)


@contextmanager
def sending(ask: Ask, count: int, *, path: str = JOBS, form: str = "application/json") -> Iterator[list[Future[int]]]:
    """So many requests of a caller, whose bodies come when the block ends."""
    come, begun = threading.Event(), threading.Semaphore(0)

    def send() -> int:
        headers = {"Content-Length": "10", "Content-Type": form}
        with ask("POST", path, input_stream=Slow(come, begun), headers=headers) as answer:
            return answer.status_code

    with ThreadPoolExecutor(count) as pool:
        try:
            answers = [pool.submit(send) for _ in range(count)]
            for _ in answers:
                assert begun.acquire(timeout=30)
            yield answers
        finally:
            come.set()


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    return make_house(web_threads=THREADS, event_streams=4, sign_ins_per_minute=1000)


def test_slow_senders_hold_few_threads_and_nobody_else_up(house: House) -> None:
    mine, theirs = house.caller(), house.caller()
    with sending(mine, HELD - 1) as answers:
        assert mine("GET", f"{JOBS}/x").status_code == 404  # those that wait for their bytes are not in its way
    assert [answer.result() for answer in answers] == [400] * len(answers)
    with sending(mine, HELD) as answers:
        assert too_many(mine("GET", f"{JOBS}/x")) > 0
        assert theirs("POST", JOBS, **picture()).status_code == 202
        assert house.app.test_client().get("/healthz").status_code == 200
    assert [answer.result() for answer in answers] == [400] * len(answers)
    assert mine("POST", JOBS, **picture()).status_code == 202


def test_a_few_requests_of_a_caller_are_worked_on_at_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "COMPANY_SECONDS", 0.0)
    mine, theirs = house.caller(), house.caller()
    job = mine("POST", JOBS, **picture()).get_json()["id"]
    inside, go_on = threading.Semaphore(0), threading.Event()
    get, count, most = JobStore.get, [0], [0]

    def slow(store: JobStore, job_id: str, **named: Any) -> Job:
        count[0] += 1
        most[0] = max(most[0], count[0])
        inside.release()
        assert go_on.wait(30)
        count[0] -= 1
        return get(store, job_id, **named)

    with ThreadPoolExecutor(THREADS) as pool, monkeypatch.context() as patch:
        patch.setattr(JobStore, "get", slow)
        answers = [pool.submit(mine, "GET", f"{JOBS}/{job}") for _ in range(12)]
        for _ in range(slots.WORKED_ON):
            assert inside.acquire(timeout=30)
        assert theirs("GET", "/api/v1/models").status_code == 200
        assert not inside.acquire(timeout=0.3)
        go_on.set()
        assert [answer.result().status_code for answer in answers] == [200] * 12
    assert most[0] == slots.WORKED_ON


def test_the_requests_of_a_known_caller_wait_before_their_key_is_looked_at(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred at once would otherwise be looked at together, and keep everybody else waiting."""
    monkeypatch.setattr(turns, "COMPANY_SECONDS", 0.0)
    mine, theirs = house.caller(), house.caller()
    for ask in (mine, theirs):
        ask("GET", "/api/v1/models").close()
    find, inside, go_on = KeyRing.find, threading.Semaphore(0), threading.Event()

    def slow(keys: KeyRing, token: str) -> ApiKey | None:
        inside.release()
        assert go_on.wait(30)
        return find(keys, token)

    with ThreadPoolExecutor(THREADS) as pool, monkeypatch.context() as patch:
        patch.setattr(KeyRing, "find", slow)
        answers = [pool.submit(mine, "GET", "/api/v1/models") for _ in range(12)]
        for _ in range(slots.WORKED_ON):
            assert inside.acquire(timeout=30)
        assert not inside.acquire(timeout=0.3)
        answers.append(pool.submit(theirs, "GET", "/api/v1/models"))
        assert inside.acquire(timeout=30)
        go_on.set()
        assert {answer.result().status_code for answer in answers} == {200}


def test_a_key_that_nobody_has_counts_to_its_address(house: House) -> None:
    known = slots.Acquainted()
    with house.app.test_request_context("/", headers={"X-API-Key": "pl_made_up"}):
        assert known.sharer() == access.sharer() and known.sharer().startswith("address:")
        known.meet()  # it was not let in
        assert known.sharer().startswith("address:")
    key = house.key()
    with house.app.test_request_context("/api/v1/models", headers={"X-API-Key": key}):
        assert known.sharer().startswith("address:")
        house.app.preprocess_request()
        known.meet()
        assert known.sharer() == access.sharer() == g.caller.owner


@pytest.mark.parametrize("others", [True, False], ids=["beside others", "alone"])
def test_beside_others_a_crowd_of_requests_rests_between_them(others: bool) -> None:
    turns_of = turns.Turns("requests", at_once=8, of_one=8, working_of_one=4, beside_others=1, busy=slots._busy)
    pace, spans = slots.Pace(turns_of), []
    for caller in ("mine", "theirs") if others else ("mine",):
        with turns_of.taken(caller):
            """It has come."""

    def work() -> None:
        slot = slots.Slot(turns_of, pace, "mine")
        slot.take()
        began = time.monotonic()
        time.sleep(0.02)
        spans.append((began, time.monotonic()))
        slot.give_back()

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(work) for _ in range(4)]:
            one.result()
    spans.sort()
    rests = [after[0] - before[1] for before, after in zip(spans, spans[1:], strict=False)]
    assert (min(rests[:-1]) > 0.03) if others else (max(rests) < 0), "the last one is no crowd"


def test_who_sends_one_request_after_the_other_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    turns_of = turns.Turns("requests", at_once=8, of_one=8, working_of_one=4, beside_others=1, busy=slots._busy)
    pace = slots.Pace(turns_of)
    monkeypatch.setattr(slots, "RESTS", 1e6)
    began = time.monotonic()
    for caller in ("mine", "theirs") * 5:
        slot = slots.Slot(turns_of, pace, caller)
        slot.take()
        slot.give_back()
    assert time.monotonic() - began < 0.1


def test_an_answer_counts_until_it_is_read(house: House) -> None:
    mine, theirs = house.caller(), house.caller()
    mine("GET", "/api/v1/models").close()  # until it is known it counts to its address
    answers = [mine("GET", "/api/v1/models") for _ in range(HELD)]
    assert too_many(mine("GET", "/api/v1/models")) > 0
    assert theirs("GET", "/api/v1/models").status_code == 200
    answers[0].close()  # and not because nobody holds it any more
    assert mine("GET", "/api/v1/models").status_code == 200


def test_each_answer_counts_once_whatever_it_is(house: House) -> None:
    mine = house.caller()
    token = form_token(house.app.test_client().get("/sign-in"))
    for method, path in (
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/swagger/"),
        ("HEAD", "/api/v1/models"),
        ("GET", f"{JOBS}/x"),
        ("PUT", JOBS),
        ("GET", "/nothing"),
    ):
        for _ in range(2 * THREADS):
            with mine(method, path) as answer:
                assert answer.status_code != 429, path
    for _ in range(2 * THREADS):
        with house.app.test_client().post("/sign-in", data={"token": token, "key": "x"}) as answer:
            assert answer.status_code in (401, 403)


def test_a_body_that_comes_too_slowly_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PATIENCE_SECONDS", 0.2)
    mine = house.caller()

    class Trickling(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.05)
            return super().read(1)

    headers = {"Content-Length": "1000", "Content-Type": "application/json"}
    began = time.monotonic()
    answer = mine("POST", JOBS, input_stream=Trickling(b"x" * 1000), headers=headers)
    assert answer.status_code == 408 and answer.get_json()["status"] == 408
    assert time.monotonic() - began < 2


def test_a_wait_within_a_wait_takes_one_slot(house: House) -> None:
    with house.app.test_request_context("/api/v1/models", headers={"X-API-Key": house.key()}):
        house.app.preprocess_request()
        with slots.released():
            with slots.released():
                assert not g.slot._is_held
            assert not g.slot._is_held
        assert g.slot._is_held


def test_who_signs_in_slowly_from_one_address_leaves_others_room(house: House) -> None:
    client = house.app.test_client()

    def ask(method: str, path: str, **given: Any) -> TestResponse:
        return client.open(path, method=method, **given)

    with sending(ask, HELD, path="/sign-in", form="application/x-www-form-urlencoded"):
        assert client.post("/sign-in", data={}).status_code == 429
        assert client.post("/sign-in", data={}, environ_overrides={"REMOTE_ADDR": "192.0.2.9"}).status_code != 429
