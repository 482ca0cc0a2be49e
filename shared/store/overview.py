"""What operators are told of the job store: its state at one moment, and what was added up since it began.

The scripts of the store add up what happens (`tally` and `observe` in scripts/prelude.lua), so that the figures
are those of all processes together, and outlive each. A figure's name is a noun and its labels, joined by colons.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.jobs import JobStatus, Lane

_SUM = "sum"


@dataclass
class Distribution:
    """How often values came: `counts[k]` of them above 2^(k-1) and up to 2^k, with k = 0 for all up to 1."""

    counts: dict[int, int] = field(default_factory=dict)
    total: int = 0  # the sum of all values


@dataclass(frozen=True)
class Overview:
    """The store at one moment. Times are of Redis's clock."""

    now_ms: int
    counts: Mapping[str, int]
    tally: Mapping[str, int]
    waiting: Mapping[Lane, int]
    oldest_ms: Mapping[Lane, int]  # how long the first in each lane has waited; 0 where none does
    workers: int  # heard lately
    keepers: int  # heard lately, that do nothing but keep house
    senders: int  # heard lately, of webhooks
    fetchers: int  # heard lately, of models
    webhooks: int  # still to be sent
    webhooks_overdue_ms: int  # how long the first of them should have been sent
    blobs: int  # files that a job names
    memory_used: int  # bytes
    memory_limit: int  # bytes; 0: none
    append_only: bool  # every write goes to a file, and the last one did

    @classmethod
    def from_json(cls, text: str) -> Overview:
        """Reads what overview.lua returns."""
        data = json.loads(text)
        return cls(
            now_ms=int(data["now"]),
            counts={name: int(count) for name, count in data["counts"].items()},
            tally={name: int(count) for name, count in data["tally"].items()},
            waiting={lane: int(data["lanes"][lane]["waiting"]) for lane in Lane},
            oldest_ms={lane: int(data["lanes"][lane]["oldest_ms"]) for lane in Lane},
            workers=int(data["workers"]),
            keepers=int(data["keepers"]),
            senders=int(data["senders"]),
            fetchers=int(data["fetchers"]),
            webhooks=int(data["webhooks"]),
            webhooks_overdue_ms=int(data["webhooks_overdue_ms"]),
            blobs=int(data["blobs"]),
            memory_used=int(data["memory_used"]),
            memory_limit=int(data["memory_limit"]),
            append_only=bool(data["append_only"]),
        )

    @property
    def unaccounted(self) -> int:
        """Accepted jobs that are in no state and were not forgotten: any at all breaks the promise."""
        known = sum(self.counts.get(name, 0) for name in (*JobStatus, "collected"))
        return self.counts.get("accepted", 0) - known

    @property
    def reaped_ms(self) -> int | None:
        """When the keeper last looked for lost leases."""
        return self.tally.get("reaped")

    def totals(self, noun: str) -> dict[tuple[str, ...], int]:
        """How often each kind of `noun` happened, by its labels."""
        named = (name.split(":") for name in self.tally)
        return {tuple(labels): self.tally[":".join((first, *labels))] for first, *labels in named if first == noun}

    def distributions(self, noun: str) -> dict[tuple[str, ...], Distribution]:
        """The distributions of `noun`, by their labels."""
        found: dict[tuple[str, ...], Distribution] = defaultdict(Distribution)
        for (*labels, place), amount in self.totals(noun).items():
            one = found[tuple(labels)]
            if place == _SUM:
                one.total = amount
            else:
                one.counts[int(place)] = amount
        return dict(found)


def observed(name: str, value: float) -> dict[str, int]:
    """What one value adds to the distribution `name`, as the scripts' `observe` does."""
    fraction, exponent = math.frexp(max(value, 1.0))
    return {f"{name}:{exponent - (fraction == 0.5)}": 1, f"{name}:{_SUM}": max(0, round(value))}
