"""`pathlight pools`: which workers are here, what they take, and what waits for them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from shared.broker import drain_queue
from shared.store.pools import Pool, Staff, Waiting


def print_pools(staff: Staff, console: Console) -> None:
    """A row for each pool of workers; below them the waiting jobs that no worker here takes."""
    table = Table(box=None, pad_edge=False)
    for heading in ("pool", "queue", "workers", "takes", "waiting", "oldest"):
        table.add_column(heading)
    for pool in sorted(staff.pools, key=lambda one: one.name):
        waits = staff.waiting_for(pool)
        queue, workers = drain_queue(pool.name), str(staff.pools[pool])
        table.add_row(pool.name or "(no name)", queue, workers, _takes(pool), *_sums(waits))
    console.print(table if staff.pools else "no worker is here")
    for one in staff.unserved:
        console.print(
            f"{one.count} {one.lane} jobs wait for a worker that serves {', '.join(one.models)}; none is here",
            soft_wrap=True,
        )


def _takes(pool: Pool) -> str:
    return f"{', '.join(pool.models) or 'every model'}, {' and '.join(pool.lanes) or 'both lanes'}"


def _sums(waits: Sequence[Waiting]) -> tuple[str, str]:
    oldest = max((one.oldest_ms for one in waits), default=0)
    return str(sum(one.count for one in waits)), f"{oldest / 1000:.1f} s"
