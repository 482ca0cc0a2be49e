"""Whether a history kept the promise: invariants A to G, as pure functions over its events.

A  every accepted job has ended, and the store's books add up: nothing is lost.
B  one visible end per job, which never changes once read; one job per Idempotency-Key; only the newest claim ends it.
C  no more attempts than allowed, and no more than faults explain.
D  the answer is the one that a run without faults gives, or the failure that was asked for.
E  the API answers no server error but the documented 503, and answers at all.
F  queues, leases, message book-keeping and temporary files end empty.
G  every injected fault really happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from shared.jobs import TERMINAL, JobStatus
from tests.faults.history import Claimed, Event, Finished, Polled, Rested, Struck, Submitted, of_kind

LOST = "worker_lost"
BUSY_CODES = frozenset({"queue_full", "store_unavailable", "storage", "too_busy"})
READS = 3
WIPED = "all data lost"  # a fault after which earlier jobs are unknown, as the promise says
DOWN_SECONDS = 15.0  # for so long after a fault of the web server a request may go without an answer


@dataclass(frozen=True)
class Violation:
    """A broken invariant, what it makes of a job in one word, and what shows it."""

    invariant: str
    what: str
    text: str


@dataclass(frozen=True)
class Rules:
    """What the service was configured to keep, and how often each ended job was to be read."""

    max_attempts: int = 3
    reads: int = READS


def violations(events: Sequence[Event], rules: Rules) -> list[Violation]:
    """All that is wrong with a history. Empty: the promise was kept."""
    wiped = max((strike.at for strike in of_kind(events, Struck) if strike.fault == WIPED), default=0.0)
    events = [event for event in events if event.at >= wiped]
    checks = [
        ("A", "lost", _lost(events)),
        ("B", "changed", _changed(events, rules)),
        ("B", "doubled", _doubled(events)),
        ("B", "doubled", _fences(events)),
        ("C", "repeated", _attempts(events, rules)),
        ("D", "wrong", _answers(events, rules)),
        ("E", "unanswered", _http(events)),
        ("F", "left over", _left(events)),
        ("G", "unproven", _unproven(events)),
    ]
    return [Violation(invariant, what, text) for invariant, what, texts in checks for text in texts]


def recovery_seconds(events: Sequence[Event]) -> list[float]:
    """For every job that a killed process was running: from the kill until another took it or it had ended."""
    claims, finishes = of_kind(events, Claimed), of_kind(events, Finished)
    ends = {poll.job: poll.finished for poll in of_kind(events, Polled) if poll.status in TERMINAL}
    found = []
    for strike in of_kind(events, Struck):
        if not strike.pid:
            continue
        ended = {(one.job, one.fence) for one in finishes if one.pid == strike.pid and one.applied}
        for claim in claims:
            if claim.pid != strike.pid or claim.at > strike.at or (claim.job, claim.fence) in ended:
                continue
            again = [one.at for one in claims if one.job == claim.job and one.fence > claim.fence]
            until = min([*again, ends[claim.job]] if claim.job in ends else again, default=None)
            if until is not None and until > strike.at:
                found.append(until - strike.at)
    return found


def accepted(events: Iterable[Event]) -> dict[str, Submitted]:
    """The jobs that clients were told are accepted, by id."""
    return {event.job: event for event in of_kind(events, Submitted) if event.http == 202}


def lost_to_faults(events: Sequence[Event], rules: Rules) -> list[str]:
    """Sound jobs that ended `worker_lost`, as the contract says, because faults met every attempt."""
    jobs = accepted(events)
    last = _last_polls(events)
    return [job for job, sent in jobs.items() if LOST not in sent.ends and _met_every_time(last.get(job), rules)]


def _last_polls(events: Iterable[Event]) -> dict[str, Polled]:
    return {event.job: event for event in of_kind(events, Polled)}


def _lost(events: Sequence[Event]) -> Iterator[str]:
    last = _last_polls(events)
    jobs = accepted(events)
    for job, sent in jobs.items():
        if job not in last:
            yield f"row {sent.row}: job {job} was accepted and never asked about"
        elif last[job].http != 200 or last[job].status not in TERMINAL:
            yield f"row {sent.row}: job {job} was accepted and is {last[job].status or last[job].http} at the end"
    for rest in of_kind(events, Rested):
        counts = rest.counts
        found = sum(counts.get(name, 0) for name in (*JobStatus, "collected"))
        if counts.get("accepted", 0) != found:
            yield f"the store accepted {counts.get('accepted', 0)} jobs and knows {found}: {dict(counts)}"
    rests = of_kind(events, Rested)
    if rests:
        yield from _books(rests[-1], events, set(jobs))


def _books(rest: Rested, events: Sequence[Event], known: set[str]) -> Iterator[str]:
    """The store has the jobs that clients know, and no others but those of requests without a clear answer."""
    stored = rest.counts.get("accepted", 0)
    told = {sent.key for sent in of_kind(events, Submitted) if sent.http == 202 and sent.key}
    unclear = [sent for sent in of_kind(events, Submitted) if sent.http in (0, 503) and sent.key not in told]
    if not len(known) <= stored <= len(known) + len(unclear):
        yield f"the store accepted {stored} jobs; clients know {len(known)} and are unsure of {len(unclear)}"


def _changed(events: Sequence[Event], rules: Rules) -> Iterator[str]:
    polls: dict[str, list[Polled]] = defaultdict(list)
    for poll in of_kind(events, Polled):
        if poll.http == 200:
            polls[poll.job].append(poll)
    for job, answers in polls.items():
        first = next((i for i, poll in enumerate(answers) if poll.status in TERMINAL), None)
        if first is None:
            continue
        later = answers[first:]
        if len({(poll.status, poll.fingerprint) for poll in later}) > 1:
            yield f"job {job} changed after it was read: {[(poll.status, poll.attempts) for poll in later]}"
        if len(later) < rules.reads:
            yield f"job {job} was read {len(later)} times after its end, not {rules.reads}"


def _doubled(events: Sequence[Event]) -> Iterator[str]:
    ids: dict[str, set[str]] = defaultdict(set)
    for sent in of_kind(events, Submitted):
        if sent.key and sent.http == 202:
            ids[sent.key].add(sent.job)
    yield from (f"the key {key} has {len(jobs)} jobs" for key, jobs in ids.items() if len(jobs) > 1)


def _fences(events: Sequence[Event]) -> Iterator[str]:
    newest: dict[str, int] = {}
    ended: dict[str, int] = {}
    for event in events:
        if isinstance(event, Claimed):
            newest[event.job] = max(event.fence, newest.get(event.job, 0))
        elif isinstance(event, Finished) and event.applied:
            if event.fence < newest.get(event.job, 0):
                yield f"job {event.job} was ended with fence {event.fence} after it was claimed with a newer one"
            if ended.setdefault(event.job, event.fence) != event.fence:
                yield f"job {event.job} was ended twice, with fences {ended[event.job]} and {event.fence}"


def _attempts(events: Sequence[Event], rules: Rules) -> Iterator[str]:
    strikes = [strike.at for strike in of_kind(events, Struck) if strike.costs]
    jobs = accepted(events)
    for job, poll in _last_polls(events).items():
        if job not in jobs:
            continue
        if poll.attempts > rules.max_attempts:
            yield f"job {job} had {poll.attempts} attempts of {rules.max_attempts}"
        explained = sum(jobs[job].at - jobs[job].seconds <= at <= poll.finished for at in strikes)
        if poll.status in TERMINAL and poll.attempts > 1 + explained:
            yield f"job {job} took {poll.attempts} attempts, with {explained} faults while it lived"


def _answers(events: Sequence[Event], rules: Rules) -> Iterator[str]:
    last = _last_polls(events)
    for job, sent in accepted(events).items():
        poll = last.get(job)
        if poll is None or poll.status not in TERMINAL:
            continue  # invariant A says so
        end = poll.error if poll.status == JobStatus.FAILED else poll.status
        if end not in sent.ends and not _met_every_time(poll, rules):
            yield f"row {sent.row}: job {job} ended {end}, not {' or '.join(sent.ends)}"
        if poll.status == JobStatus.SUCCEEDED and poll.digest != sent.digest:
            yield f"row {sent.row}: job {job} has another picture's answer"


def _met_every_time(poll: Polled | None, rules: Rules) -> bool:
    return poll is not None and poll.error == LOST and poll.attempts == rules.max_attempts


def _http(events: Sequence[Event]) -> Iterator[str]:
    down = [strike.at for strike in of_kind(events, Struck) if strike.fault.startswith("web")]
    for event in events:
        if not isinstance(event, Submitted | Polled):
            continue
        if event.http == 0 and not any(0 <= event.at - at <= DOWN_SECONDS for at in down):
            yield f"a request was not answered at {event.at:.3f}: {event}"
        if event.http >= 500 and event.http != 503:
            yield f"the API answered {event.http}: {event}"
        if isinstance(event, Submitted) and event.http == 503 and event.code not in BUSY_CODES:
            yield f"a 503 without a documented code: {event.code!r}"


def _unproven(events: Sequence[Event]) -> Iterator[str]:
    for strike in of_kind(events, Struck):
        if not strike.proof:
            yield f"row {strike.row}: no proof that it happened: {strike.fault}"


def _left(events: Sequence[Event]) -> Iterator[str]:
    for rest in of_kind(events, Rested):
        yield from (f"{count} left in {name}" for name, count in rest.left.items() if count)
