"""`/metrics`: what an operator's Prometheus reads. Every figure is of the whole service, whichever process is asked."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from shared.broker import drain_queue
from shared.errors import StorageFailed, StoreUnavailable
from shared.jobs import ERROR_CODES, TERMINAL, JobStatus, Lane
from shared.settings import Settings
from shared.store.overview import Distribution, Overview
from shared.store.pools import Pool, Staff, Waiting
from web.api.description import REFUSALS
from web.api.services import Services, services

_PER_SECOND = 1000  # the store adds up milliseconds
_LONGEST = 22  # a bucket of 2^22 ms, some 70 minutes; of answers to requests 2^16 ms, about a minute
_LONGEST_ANSWER = 16
_LARGEST_BATCH = 8  # 2^8 jobs
# Ends that a series should begin at zero, so that the first of them shows as an increase.
_ENDS = [(status.value, "") for status in TERMINAL if status is not JobStatus.FAILED]
_ENDS += [(JobStatus.FAILED.value, code) for code in ERROR_CODES]

Labels = TypeVar("Labels", bound=tuple[str, ...])

api = APIBlueprint("metrics", __name__, abp_tags=[Tag(name="health")], abp_responses=REFUSALS)


@api.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses={"200": {"description": "In Prometheus's text format", "content": {"text/plain": {}}}},
)
def read() -> Response:
    response = Response(generate_latest(Metrics(services())), content_type=CONTENT_TYPE_LATEST)
    response.headers["Cache-Control"] = "no-store"
    return response


class Metrics:
    """Collects all metrics anew whenever it is asked."""

    def __init__(self, given: Services) -> None:
        self._services = given

    def collect(self) -> Iterator[Metric]:
        """Every metric at this moment. Where Redis does not answer: that it does not, the models and the disk."""
        yield self._models()
        yield from self._disk()
        store, began = self._services.store, time.time()
        try:
            self._services.traffic.flush()
            overview, staff = store.overview(), store.pools.staff()
        except StoreUnavailable:
            yield _gauge("redis_up", "Whether Redis answers", 0)
            return
        skew = overview.now_ms / 1000 - (began + time.time()) / 2
        yield _gauge("redis_up", "Whether Redis answers", 1)
        yield _gauge("redis_clock_ahead_seconds", "How far Redis's clock is ahead of this web server's", skew)
        yield from _redis(overview)
        yield from _queue(overview, self._services.settings)
        yield from _pools(staff)
        yield from _jobs(overview)
        yield from _workers(overview)
        yield from _requests(overview)

    def _models(self) -> Metric:
        family = GaugeMetricFamily(
            "pathlight_model_ready", "Whether a model's files are there", labels=["model", "default"]
        )
        for card in self._services.registry().cards.values():
            default = "yes" if card.name in self._services.settings.default_models else "no"
            family.add_metric([card.name, default], card.missing is None)
        return family

    def _disk(self) -> Iterator[Metric]:
        text = "Room on the disk of pictures and results"
        try:
            yield _gauge("disk_free_bytes", text, self._services.blobs.free_bytes())
        except (OSError, StorageFailed):
            yield _gauge("disk_free_bytes", text, 0)
        reserve = self._services.settings.disk_reserve_bytes
        yield _gauge("disk_reserve_bytes", "Room below which nothing new is accepted", reserve)


def _redis(overview: Overview) -> Iterator[Metric]:
    yield _gauge("redis_memory_used_bytes", "Memory that Redis uses", overview.memory_used)
    yield _gauge("redis_memory_limit_bytes", "Memory that Redis may use; 0: no limit", overview.memory_limit)
    yield _gauge(
        "redis_append_only", "Whether every write goes to an append-only file, and the last did", overview.append_only
    )
    yield _gauge("blobs", "Pictures and results that some job names", overview.blobs)


def _queue(overview: Overview, settings: Settings) -> Iterator[Metric]:
    waiting = {(lane,): overview.waiting[lane] for lane in Lane}
    yield _gauges("queue_jobs", "Jobs that wait for a worker", ["lane"], waiting)
    oldest = {(lane,): overview.oldest_ms[lane] / _PER_SECOND for lane in Lane}
    yield _gauges("queue_oldest_seconds", "How long the first in the lane has waited; 0: none waits", ["lane"], oldest)
    limit = {(Lane.INTERACTIVE,): settings.queue_limit}
    yield _gauges("queue_limit_jobs", "Waiting jobs beyond which submits are refused", ["lane"], limit)


def _pools(staff: Staff) -> Iterator[Metric]:
    by_queue: dict[str, list[Pool]] = defaultdict(list)  # workers of one name differ while they are replaced
    for pool in staff.pools:
        by_queue[drain_queue(pool.name)].append(pool)
    workers = {(queue,): sum(staff.pools[pool] for pool in pools) for queue, pools in by_queue.items()}
    yield _gauges("pool_workers", "Workers heard lately, by their pool's queue", ["queue"], workers)
    waiting = {
        (queue, lane): [one for one in staff.waiting_for(*pools) if one.lane is lane]
        for queue, pools in by_queue.items()
        for lane in Lane
    }
    labels, text = ["queue", "lane"], "that a pool takes; others may take them too"
    yield _gauges("pool_jobs", f"Waiting jobs {text}", labels, _counted(waiting))
    yield _gauges("pool_oldest_seconds", f"How long the first job has waited of those {text}", labels, _oldest(waiting))
    unserved = {(lane,): [one for one in staff.unserved if one.lane is lane] for lane in Lane}
    yield _gauges("unserved_jobs", "Waiting jobs that no worker takes", ["lane"], _counted(unserved))
    yield _gauges(
        "unserved_oldest_seconds", "How long the first job that no worker takes has waited", ["lane"], _oldest(unserved)
    )


def _counted(waiting: Mapping[Labels, Sequence[Waiting]]) -> dict[Labels, float]:
    return {labels: sum(one.count for one in found) for labels, found in waiting.items()}


def _oldest(waiting: Mapping[Labels, Sequence[Waiting]]) -> dict[Labels, float]:
    return {labels: max((one.oldest_ms for one in found), default=0) / _PER_SECOND for labels, found in waiting.items()}


def _jobs(overview: Overview) -> Iterator[Metric]:
    states = {(status,): overview.counts.get(status, 0) for status in JobStatus}
    yield _gauges("jobs", "Jobs that the store knows, by state", ["status"], states)
    yield _counter("jobs_accepted", "Jobs that were answered with 202", overview.counts.get("accepted", 0))
    yield _counter("jobs_collected", "Ended jobs that were forgotten in time", overview.counts.get("collected", 0))
    yield _gauge(
        "jobs_unaccounted",
        "Accepted jobs in no state and not forgotten: anything but 0 is a fault",
        overview.unaccounted,
    )
    ends = {(lane.value, *end): 0 for lane in Lane for end in _ENDS} | overview.totals("ended")
    yield _counters("jobs_ended", "Ends of jobs; code says why one failed", ["lane", "status", "code"], ends)
    cached = {(lane.value,): 0 for lane in Lane} | overview.totals("cached")
    yield _counters("cache_hits", "Jobs whose answer was known already", ["lane"], cached)
    claims = {(lane.value, "1"): 0 for lane in Lane} | overview.totals("claimed")
    yield _counters(
        "claims", "Times that a worker took a job; attempt 2 and 3 follow trouble", ["lane", "attempt"], claims
    )
    released = {("shutdown",): 0, ("trouble",): 0} | overview.totals("released")
    yield _counters(
        "jobs_released", "Running jobs given back: a worker shut down, or their batch broke", ["reason"], released
    )
    lost = overview.totals("leases_lost").get((), 0)
    yield _counter("leases_lost", "Running jobs whose worker was not heard for a whole lease", lost)
    waits, stays, runs = (overview.distributions(noun) for noun in ("wait", "stay", "compute"))
    yield _histogram("job_wait_seconds", "From acceptance to a worker", ["lane"], waits)
    yield _histogram("job_stay_seconds", "From acceptance to the end", ["lane"], stays)
    yield _histogram("job_compute_seconds", "Of the batch of each succeeded job", [], runs)
    stages = overview.distributions("stage")
    yield _histogram("batch_stage_seconds", "Of each batch: decode, explain, store", ["stage"], stages)
    sizes = overview.distributions("batch")
    yield _histogram("batch_jobs", "Jobs that ran together", ["lane"], sizes, per=1, largest=_LARGEST_BATCH)


def _workers(overview: Overview) -> Iterator[Metric]:
    roles = {
        "worker": overview.workers,
        "keeper": overview.keepers,
        "sender": overview.senders,
        "fetcher": overview.fetchers,
    }
    heard = {(role,): count for role, count in roles.items()}
    yield _gauges("processes", "Celery processes heard lately; a worker may keep house as well", ["role"], heard)
    yield _gauge("webhooks", "Ended jobs that an address is still to be told of", overview.webhooks)
    late = overview.webhooks_overdue_ms / _PER_SECOND
    yield _gauge("webhooks_overdue_seconds", "How long the first webhook should have been sent", late)
    since = math.inf if overview.reaped_ms is None else max(0, overview.now_ms - overview.reaped_ms) / _PER_SECOND
    yield _gauge("keeper_last_pass_seconds", "Since the keeper last looked for lost leases; +Inf: never yet", since)


def _requests(overview: Overview) -> Iterator[Metric]:
    labels = ["route", "method", "status"]
    yield _counters("http_requests", "Requests that were answered", labels, overview.totals("http"))
    yield _histogram(
        "http_request_seconds",
        "From a request to its answer; of an event stream, to its first byte",
        ["route"],
        overview.distributions("answer"),
        largest=_LONGEST_ANSWER,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pathlight_{name}", text, value=float(value))


def _gauges(name: str, text: str, labels: list[str], values: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(f"pathlight_{name}", text, labels=labels)
    for labelled, value in values.items():
        family.add_metric(labelled, value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"pathlight_{name}", text, value=value)


def _counters(name: str, text: str, labels: list[str], values: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(f"pathlight_{name}", text, labels=labels)
    for labelled, value in values.items():
        family.add_metric(labelled, value)
    return family


def _histogram(
    name: str,
    text: str,
    labels: list[str],
    found: Mapping[tuple[str, ...], Distribution],
    *,
    per: int = _PER_SECOND,
    largest: int = _LONGEST,
) -> Metric:
    """Buckets up to 2^`largest`, divided by `per`."""
    family = HistogramMetricFamily(f"pathlight_{name}", text, labels=labels)
    for labelled, distribution in found.items():
        so_far, buckets = 0, []
        for place in range(largest + 1):
            so_far += distribution.counts.get(place, 0)
            buckets.append((str(2**place / per), float(so_far)))
        buckets.append(("+Inf", float(sum(distribution.counts.values()))))
        family.add_metric(labelled, buckets, sum_value=distribution.total / per)
    return family
