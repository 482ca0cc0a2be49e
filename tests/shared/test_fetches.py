"""Fetches in the store: one a model at a time, under a lease, and told for an hour."""

from __future__ import annotations

import pytest

from shared.settings import Settings
from shared.store.fetches import LEASE_SECONDS, WAIT_SECONDS, Fetch, FetchState
from shared.store.job_store import PREFIX, JobStore
from tests.shared.submissions import raw_client

HALF = Fetch(FetchState.RUNNING, 50, 100)


def age(settings: Settings, name: str, seconds: float) -> None:
    """As if the fetch was heard so much earlier."""
    client = raw_client(settings)
    heard = int(client.hget(f"{PREFIX}fetch:{name}", "heard") or 0)
    client.hset(f"{PREFIX}fetch:{name}", "heard", heard - round(1000 * seconds))


def test_a_fetch_waits_runs_and_ends_and_each_is_told(store: JobStore) -> None:
    fetches = store.fetches
    assert fetches.look(["m", "n"]) == {} and fetches.look([]) == {}
    assert fetches.begin("m")
    assert fetches.look(["m", "n"]) == {"m": Fetch(FetchState.WAITING)}
    assert fetches.claim(claim_id="a") == "m"
    assert fetches.report("m", HALF, claim_id="a")
    assert fetches.look(["m"]) == {"m": HALF}
    for end in (Fetch(FetchState.DONE, 100, 100), Fetch(FetchState.DONE, 100, 100)):
        assert fetches.report("m", end, claim_id="a"), "a call that is sent again applies as before"
    assert fetches.look(["m"])["m"].to_dict() == {"state": "done", "done": 100, "total": 100, "error": None}
    assert fetches.claim(claim_id="b") is None


def test_whoever_asks_again_joins_and_after_its_end_begins_anew(store: JobStore) -> None:
    fetches = store.fetches
    assert fetches.begin("m") and not fetches.begin("m")
    assert fetches.claim(claim_id="a") == "m" == fetches.claim(claim_id="a"), "the same call, sent again"
    assert not fetches.begin("m") and fetches.claim(claim_id="b") is None
    failed = Fetch(FetchState.FAILED, 7, None, "the host cannot be reached")
    assert fetches.report("m", failed, claim_id="a")
    assert fetches.look(["m"]) == {"m": failed}
    assert fetches.begin("m") and fetches.look(["m"]) == {"m": Fetch(FetchState.WAITING)}
    assert not fetches.report("m", HALF, claim_id="a"), "its process was given up"
    assert fetches.claim(claim_id="c") == "m"


def test_two_models_are_fetched_by_two_processes(store: JobStore) -> None:
    for name in ("m", "n"):
        store.fetches.begin(name)
    assert {store.fetches.claim(claim_id=claim) for claim in ("a", "b")} == {"m", "n"}


@pytest.mark.parametrize(
    ("claimed", "seconds", "sentence"),
    [(False, WAIT_SECONDS, "nobody took it up"), (True, LEASE_SECONDS, "the process that fetched it ended")],
)
def test_a_fetch_whose_process_was_silent_for_long_has_failed_and_can_be_asked_for_again(
    store: JobStore, settings: Settings, claimed: bool, seconds: float, sentence: str
) -> None:
    fetches = store.fetches
    fetches.begin("m")
    if claimed:
        fetches.claim(claim_id="a")
        fetches.report("m", HALF, claim_id="a")
    age(settings, "m", seconds - 5)
    assert fetches.look(["m"])["m"].error is None and not fetches.begin("m")
    age(settings, "m", 6)
    lapsed = fetches.look(["m"])["m"]
    assert lapsed.state is FetchState.FAILED and sentence in (lapsed.error or "")
    assert fetches.begin("m")
    assert not fetches.report("m", HALF, claim_id="a")


def test_what_became_of_a_fetch_is_forgotten_in_time(store: JobStore, settings: Settings) -> None:
    store.fetches.begin("m")
    assert 0 < raw_client(settings).pttl(f"{PREFIX}fetch:m") <= 3600_000
    raw_client(settings).delete(f"{PREFIX}fetch:m")
    assert store.fetches.claim(claim_id="a") is None
    assert not raw_client(settings).exists(f"{PREFIX}fetches")
