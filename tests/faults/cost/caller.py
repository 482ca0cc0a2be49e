"""Another caller, with a key of its own, who wants little: what it feels, alone and while somebody attacks."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import httpx
import numpy as np
from PIL import Image

from shared.jobs import TERMINAL
from tests.conftest import encoded, wait_for
from tests.faults.cost.attacker import JOBS

MODEL = "nbdt-cifar10"
FLOOR_SECONDS = 0.1  # an answer that comes so soon is felt by nobody, and a multiple of a millisecond is noise
PAUSE_SECONDS = 0.05


@dataclass
class Felt:
    """Seconds of each request, by its kind; and the requests that were refused, or had no answer."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def quantile(self, kind: str, share: float) -> float:
        return float(np.quantile(self.seconds[kind], share))

    @property
    def kinds(self) -> Sequence[str]:
        return list(self.seconds)

    def slowdown(self, idle: Felt) -> float:
        """The p95 as a multiple of the idle one, of the kind where that is most; both count as `FLOOR_SECONDS` at
        least."""
        return max((self._slowdown(kind, idle) for kind in self.kinds), default=1.0)

    def slowest(self, idle: Felt) -> str:
        """That kind."""
        return max(self.kinds, key=lambda kind: self._slowdown(kind, idle), default="")

    def _slowdown(self, kind: str, idle: Felt) -> float:
        now, then = self.quantile(kind, 0.95), idle.quantile(kind, 0.95)
        return max(now, FLOOR_SECONDS) / max(then, FLOOR_SECONDS)


class Caller:
    """Asks from a process of its own: what the attacker does in this one is none of what it feels."""

    def __init__(self, address: str, key: str, *, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_call, args=(address, key, seed, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def close(self) -> None:
        self._ours.close()
        self._process.join()

    def felt(self, *, rounds: int) -> Felt:
        """What it feels alone."""
        self._ours.send(rounds)
        found: Felt = self._ours.recv()
        return found

    @contextmanager
    def meanwhile(self) -> Iterator[Felt]:
        """What it feels while the block runs: each kind once at least."""
        found = Felt()
        self._ours.send(None)
        try:
            yield found
        finally:
            self._ours.send(None)
            felt: Felt = self._ours.recv()
            found.seconds, found.refused = felt.seconds, felt.refused


def _call(address: str, key: str, seed: int, pipe: Connection) -> None:
    """Make as many rounds as the pipe says, or, for None, until it says so again; and tell what they felt like."""
    asking = Asking(address, key, rng=random.Random(seed))
    with suppress(EOFError):
        while True:
            rounds = pipe.recv()
            found = Felt()
            asking.round(found)
            while len(found.seconds["health"]) < rounds if rounds else not pipe.poll():
                asking.round(found)
            if rounds is None:
                pipe.recv()
            pipe.send(found)


class Asking:
    """Repeats four requests: is it up, how is my job, draw its map, and explain a small picture."""

    def __init__(self, address: str, key: str, *, rng: random.Random) -> None:
        self._random = rng
        # No connection is kept: one that the server closes between two requests would look like a refusal.
        headers = {"X-API-Key": key, "Connection": "close"}
        self._client = httpx.Client(base_url=address, headers=headers, timeout=60)
        self._job = self._submit()
        wait_for(self._has_ended(self._job), seconds=60)

    def round(self, found: Felt) -> None:
        """Each of them once."""
        for kind, ask in self._requests().items():
            began = time.monotonic()
            try:
                ask()
            except (httpx.HTTPError, AssertionError) as error:
                found.refused.append(f"{kind}: {error}")
            found.seconds.setdefault(kind, []).append(time.monotonic() - began)
            time.sleep(PAUSE_SECONDS)

    def _requests(self) -> Mapping[str, Callable[[], object]]:
        return {"health": self._health, "job": self._look, "drawing": self._draw, "answer": self._explain}

    def _health(self) -> None:
        self._client.get("/healthz").raise_for_status()

    def _look(self) -> None:
        self._client.get(f"{JOBS}/{self._job}").raise_for_status()

    def _draw(self) -> None:
        alpha = round(self._random.uniform(0.1, 1), 9)  # one that nobody has asked for
        name = f"{MODEL}.cam.overlay.png"
        answer = self._client.get(f"{JOBS}/{self._job}/artifacts/{name}", params={"width": 64, "alpha": alpha})
        answer.raise_for_status()

    def _explain(self) -> None:
        wait_for(self._has_ended(self._submit()), seconds=60)

    def _submit(self) -> str:
        picture = encoded(Image.frombytes("RGB", (32, 32), self._random.randbytes(32 * 32 * 3)))
        answer = self._client.post(JOBS, data={"models": MODEL}, files={"image": ("a.png", picture)})
        answer.raise_for_status()
        return str(answer.json()["id"])

    def _has_ended(self, job_id: str) -> Callable[[], bool]:
        def ended() -> bool:
            answer = self._client.get(f"{JOBS}/{job_id}")
            answer.raise_for_status()
            return answer.json()["status"] in TERMINAL

        return ended
