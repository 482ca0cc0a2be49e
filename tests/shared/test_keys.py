"""API keys and sessions over a real Redis: only hashes are kept, and what is revoked has ended."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

import pytest

from shared.errors import InvalidOption, UnknownKey
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.keys import TOKEN, KeyRing, Scope
from tests.conftest import wait_for
from tests.shared.submissions import raw_client

BOTH = (Scope.SUBMIT, Scope.READ)


@pytest.fixture
def ring(store: JobStore) -> KeyRing:
    return store.keys


def everything_in_redis(settings: Settings) -> str:
    raw = raw_client(settings)
    return repr([(name, raw.hgetall(name) if raw.type(name) == "hash" else raw.get(name)) for name in raw.keys("*")])


def test_a_token_opens_its_key_and_no_other_token_does(ring: KeyRing) -> None:
    laptop, token = ring.create("laptop", BOTH)
    _, other = ring.create("shop", [Scope.SUBMIT])
    assert TOKEN.fullmatch(token)
    assert ring.find(token) == laptop
    last = "A" if token[-1] != "A" else "B"
    mixed = token[:16] + other[16:]
    for wrong in (
        "",
        "x",
        token[:-1] + last,
        token[:-1],
        token + "A",
        mixed,
        token.upper(),
        "pl_000000000000" + token[15:],
    ):
        assert ring.find(wrong) is None, wrong
    assert [key.name for key in ring.all()] == ["laptop", "shop"]


def test_redis_holds_hashes_only(ring: KeyRing, settings: Settings) -> None:
    key, token = ring.create("laptop", BOTH)
    session = ring.open_session(key)
    kept = everything_in_redis(settings)
    assert token[16:] not in kept and session not in kept
    for secret in (token, session):
        assert hashlib.sha256(secret.encode()).hexdigest() in kept


def test_a_key_may_what_its_scopes_say_and_admin_may_everything(ring: KeyRing) -> None:
    for scopes in ((Scope.SUBMIT,), (Scope.READ,), BOTH, (Scope.ADMIN,)):
        found = ring.find(ring.create(f"k-{len(ring.all())}", scopes)[1])
        assert found is not None and found.scopes == set(scopes)
        for scope in Scope:
            assert found.may(scope) == (scope in scopes or Scope.ADMIN in scopes)


@pytest.mark.parametrize("name", ["", " ", "-x", "a b", "x" * 65, "<b>", "a\nb", "naïve"])
def test_a_bad_name_and_a_key_without_scopes_are_refused(name: str, ring: KeyRing) -> None:
    with pytest.raises(InvalidOption, match="name"):
        ring.create(name, BOTH)
    with pytest.raises(InvalidOption, match="submit, read, admin"):
        ring.create("fine", [])
    assert ring.all() == []


def test_of_many_who_want_a_name_at_once_one_gets_it(ring: KeyRing) -> None:
    made: list[str] = []

    def create() -> None:
        try:
            made.append(ring.create("same", BOTH)[1])
        except InvalidOption as error:
            assert "revoke that one first" in str(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(ring.all()) == 1


def test_making_a_key_twice_in_one_call_makes_it_once(ring: KeyRing) -> None:
    record = {"name": "n", "scopes": ["read"], "digest": "0" * 64}
    first, again = (ring._scripts.call("create_key", id="0" * 12, name="n", record=record) for _ in range(2))
    assert first == again and len(ring.all()) == 1


@pytest.mark.parametrize("by_id", [False, True])
def test_a_revoked_key_and_its_sessions_have_ended_and_its_name_is_free(by_id: bool, ring: KeyRing) -> None:
    key, token = ring.create("laptop", BOTH)
    other, _ = ring.create("other", BOTH)
    session, spared = ring.open_session(key), ring.open_session(other)
    assert ring.of_session(session) == key
    ring.revoke(key.id if by_id else key.name)
    assert ring.find(token) is None
    assert ring.of_session(session) is None
    assert ring.of_session(spared) == other
    with pytest.raises(UnknownKey, match="pathlight keys list"):
        ring.revoke("laptop")
    again, _ = ring.create("laptop", BOTH)
    assert again.id != key.id
    assert ring.of_session(session) is None


def test_a_session_ends_when_it_is_closed_or_too_old(ring: KeyRing, store: JobStore, settings: Settings) -> None:
    key, token = ring.create("laptop", BOTH)
    closed, kept = ring.open_session(key), ring.open_session(key)
    ring.close_session(closed)
    assert ring.of_session(closed) is None
    assert ring.of_session(kept) == key
    assert ring.of_session(token) is None and ring.of_session("") is None
    short = JobStore.connect(replace(settings, session_seconds=0.05)).keys.open_session(key)
    wait_for(lambda: ring.of_session(short) is None, seconds=5)
    assert ring.of_session(kept) == key
