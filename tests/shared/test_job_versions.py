"""Versions of models in the job store: a job bears those of its acceptance, and they are named until its end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from shared.jobs import Claim, ImageRecord, JobError, JobOptions, JobStatus
from shared.settings import Settings
from shared.store.batches import Member
from shared.store.job_store import PREFIX, End, JobStore
from tests.shared.submissions import RESULT, lose_lease, pass_deadline, raw_client, submission

OLD, NEW = {"m": "old", "n": "one"}, {"m": "new", "n": "one"}
FAULT = JobError("internal", "A fault.")
PAIRS = {"old": set(OLD.items()), "new": set(NEW.items())}


def submit(store: JobStore, versions: dict[str, str] = OLD, *, answer: str = "") -> str:
    return store.submit(replace(submission(models=("m", "n"), answer=answer), versions=versions))


def take(store: JobStore) -> Claim:
    (claim,) = store.claim(1, claim_id=secrets.token_hex(8))
    return claim


def members(*answers: str) -> Sequence[Member]:
    return [Member(ImageRecord("a" * 64, 8, 6, "PNG", "a.png"), answer) for answer in answers]


def test_a_claim_bears_the_versions_also_when_the_job_is_claimed_again(store: JobStore, settings: Settings) -> None:
    job_id = submit(store)
    assert store.versions_named() == PAIRS["old"]
    first = take(store)
    assert (first.versions, first.options.to_dict().keys()) == (OLD, JobOptions(("m",)).to_dict().keys())
    lose_lease(raw_client(settings), job_id)
    store.reap()
    again = take(store)
    assert again.versions == OLD and store.versions_named() == PAIRS["old"]
    store.release(again)
    assert take(store).versions == OLD and store.versions_named() == PAIRS["old"]


def test_a_job_of_an_earlier_pathlight_names_none(store: JobStore) -> None:
    submit(store, {})
    assert take(store).versions == {} and store.versions_named() == set()


def expire(store: JobStore, settings: Settings, job_id: str) -> None:
    pass_deadline(raw_client(settings), job_id)
    store.reap()


ENDS: dict[str, Callable[[JobStore, Settings, str], object]] = {
    "succeeded": lambda store, _, job_id: store.succeed(take(store), RESULT, compute_ms=1),
    "failed": lambda store, _, job_id: store.fail(take(store), FAULT),
    "cancelled while it waits": lambda store, _, job_id: store.cancel(job_id),
    "cancelled while it runs": lambda store, _, job_id: store.stop(take(store), JobStatus.CANCELLED),
    "expired": expire,
}


@pytest.mark.parametrize("end", ENDS)
def test_versions_are_named_until_the_last_job_that_bears_them_has_ended(
    store: JobStore, settings: Settings, end: str
) -> None:
    job_id, other = submit(store), submit(store, NEW)
    assert store.versions_named() == PAIRS["old"] | PAIRS["new"]
    ENDS[end](store, settings, job_id)
    assert store.get(job_id).status.is_terminal and store.versions_named() == PAIRS["new"]
    store.cancel(other)
    assert store.versions_named() == set() and not raw_client(settings).exists(f"{PREFIX}versions")


def test_a_known_answer_names_none_and_another_versions_answer_is_known_to_nobody(store: JobStore) -> None:
    submit(store, answer="question")
    store.finish([End(take(store), JobStatus.SUCCEEDED, result_ref=RESULT, as_asked=False)])
    asked = submit(store, answer="question")
    assert store.get(asked).status is JobStatus.QUEUED, "that answer was another version's"
    store.succeed(take(store), RESULT, compute_ms=1)
    known = store.get(submit(store, answer="question"))
    assert known.cached and known.status is JobStatus.SUCCEEDED and store.versions_named() == set()


def test_members_that_are_enlisted_later_bear_the_versions_of_their_batch(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.batches.CHUNK", 2)
    store.batches.submit(members("", "", "same", "same", ""), JobOptions(("m", "n")), versions=OLD)
    claims = store.claim(9, claim_id="a")
    assert [claim.versions for claim in claims] == [OLD] * 4, "the fifth follows another"
    assert store.versions_named() == PAIRS["old"]
    for claim in claims:
        store.succeed(claim, RESULT, compute_ms=1)
    assert store.versions_named() == set(), "followers have ended too"


def test_a_retry_is_answered_by_the_versions_of_its_moment_and_by_no_answer_of_others(store: JobStore) -> None:
    batch_id = store.batches.submit(members("question"), JobOptions(("m", "n")), versions=OLD)
    store.fail(take(store), FAULT)
    submit(store, answer="question")
    store.succeed(take(store), RESULT, compute_ms=1)
    assert store.batches.retry(batch_id, versions=NEW) == 1
    claim = take(store)
    assert claim.versions == NEW and store.versions_named() == PAIRS["new"], "the known answer is another version's"
    store.fail(claim, FAULT)
    assert store.versions_named() == set()
    store.batches.retry(batch_id, versions=NEW)
    assert take(store).versions == NEW
