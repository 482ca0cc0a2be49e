"""The rig: one real service with keys, a hostile key for each attack, and another caller beside it."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx

from cli.run import web_command
from shared.errors import PathlightError
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from shared.store.keys import Scope
from tests.conftest import wait_for
from tests.faults.cost import pictures
from tests.faults.cost.attacker import Attacker, MeasuredAnswer
from tests.faults.cost.attacks import TOO_MANY, Attack
from tests.faults.cost.caller import MODEL, Caller, Felt
from tests.faults.cost.meter import Peak, Tree, Watch, watching
from tests.faults.cost.peers import drip
from tests.faults.cost.planted import APPLICATION, PLANTED
from tests.flow.conftest import free_port, running
from tests.shared.servers import serving

SECONDS = 3.0  # of processor time for one request, in the web server, and for one picture in a worker
STARTING_SECONDS = 1.0  # of that for a decoder that is started anew
BYTES = 600_000_000  # of a decoder, of a worker's process and of the web server itself, beyond what it had before
SLOWER = 3.0  # the other caller's p95, as a multiple of the one alone
MEANWHILE_SECONDS = 8.0  # that an attack goes on beside the other caller
ALONE_ROUNDS = 20
ORDINARY_JOBS = 5
WEBHOOK_SECRET = "whsec_Y29zdCByaWcgY29zdCByaWcgY29zdCByaWcgY29zdA=="


@dataclass(frozen=True)
class Ordinary:
    """What an ordinary small picture costs, in processor seconds."""

    web: float = 0.0
    worker: float = 0.0


@dataclass(frozen=True)
class Row:
    """What an attack came to. `web_seconds` is the most of one request; `worker_seconds` is that of one accepted job.
    Bytes are the most at one moment: of one decoder in all, of the others beyond what they had. `slower` is None where
    nobody else was there."""

    attack: Attack
    answers: Sequence[MeasuredAnswer]
    worker_seconds: float
    web_bytes: int
    decoder_bytes: int
    worker_bytes: int
    ordinary: Ordinary = Ordinary()
    slower: float | None = None
    slowest: str = ""  # the kind of request that was slower
    refused: Sequence[str] = ()  # of the other caller
    broken: str = ""  # why the attack itself did not come to its end

    @classmethod
    def of(
        cls, attack: Attack, answers: Sequence[MeasuredAnswer], each: float, web: Peak, worker: Peak, usual: Ordinary
    ) -> Row:
        """`each` is what an accepted job has cost the workers."""
        return cls(attack, tuple(answers), each, web.shallow, web.deepest_had, worker.deepest_gained, usual)

    def beside(self, answers: Sequence[MeasuredAnswer], felt: Felt, alone: Felt) -> Row:
        """The same with what another caller felt, while there were these answers."""
        statuses = {one.status for one in answers} - self.statuses.keys()
        more = [MeasuredAnswer(status, 0) for status in statuses]
        answers = (*self.answers, *more)
        slower, slowest = felt.slowdown(alone), felt.slowest(alone)
        return replace(self, answers=answers, slower=slower, slowest=slowest, refused=tuple(felt.refused))

    @property
    def web_seconds(self) -> float:
        return max((one.web_seconds for one in self.answers), default=0.0)

    @property
    def sent(self) -> int:
        return max((one.sent for one in self.answers), default=0)

    @property
    def statuses(self) -> dict[int, int]:
        found = sorted({one.status for one in self.answers})
        return {status: sum(one.status == status for one in self.answers) for status in found}

    @property
    def faults(self) -> list[str]:
        """Why the attack goes over the budget, in words."""
        undocumented = self.statuses.keys() - self.attack.statuses - {TOO_MANY}
        web = SECONDS + STARTING_SECONDS + self.ordinary.web
        worker = max(SECONDS, self.attack.computing) + self.ordinary.worker
        measured = (
            ("web server", self.web_seconds, web, "s"),
            ("worker", self.worker_seconds, worker, "s"),
            ("web server", self.web_bytes / 1e6, BYTES / 1e6, "MB"),
            ("decoder", self.decoder_bytes / 1e6, BYTES / 1e6, "MB"),
            ("worker", self.worker_bytes / 1e6, BYTES / 1e6, "MB"),
            (f"another caller's {self.slowest}".rstrip(), self.slower or 0.0, SLOWER, "times as slow"),
        )
        return [
            *(f"the answer {status}" for status in sorted(undocumented)),
            *([] if self.answers else ["no request was made"]),
            *(f"{who}: {value:.1f} {unit}" for who, value, most, unit in measured if value > most),
            *([f"another caller was refused: {self.refused[0]}"] if self.refused else []),
            *([f"broken off: {self.broken}"] if self.broken else []),
        ]


def _settings(home: Path, peer: int) -> Settings:
    """The usual ones, with keys, with the small model that ships, and with addresses of this machine."""
    return Settings(
        home=home,
        keys="required",
        classifier=MODEL,
        tree_model=MODEL,
        image_url=True,
        webhook_secret=WEBHOOK_SECRET,
        outbound_loopback=True,
        outbound_ports=str(peer),
        outbound_seconds=3.0,
    )


def _on_a_machine_of_its_own() -> None:
    """Of a thread and those that it starts: what the attacker computes takes no time from the service."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)


def _again_and_again(strike: Callable[[], None], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        strike()


def _answers(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{address}/healthz").status_code == 200
    return False


class Rig:
    """A running service. `beside`: another caller feels each attack."""

    def __init__(self, folder: Path, *, seed: int = 0, beside: bool = False) -> None:
        self._folder = folder
        self._seed = seed
        self._with_another = beside
        self._stack = ExitStack()

    def __enter__(self) -> Rig:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self._peer = free_port()
        self._stack.enter_context(serving(drip, port=self._peer))
        settings = self._settings = _settings(self._folder / "home", self._peer)
        usual = Settings(home=settings.home).to_environment()
        environment = {name: text for name, text in settings.to_environment().items() if usual.get(name) != text}
        service = self._stack.enter_context(running(settings.home, self._folder / "log", **environment))
        self._store = JobStore.connect(settings)
        self._address = str(service.client.base_url)
        self._web = Tree(service.pid_of("gunicorn"))
        self._worker = Tree(service.pid_of("worker-"))
        self.ordinary = self._ordinary()
        self._caller, self._alone = self._other()

    @contextmanager
    def without_guards(self, faults: Sequence[str]) -> Iterator[Rig]:
        """The same service by another web server, without the guards that `planted.FAULTS` takes out."""
        settings = replace(self._settings, port=free_port())
        command = [*web_command(settings)[:-1], APPLICATION]
        environment = {**os.environ, **settings.to_environment(), PLANTED: ";".join(faults)}
        with (self._folder / "log-without-guards").open("ab") as log:
            server = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        unguarded = copy(self)
        unguarded._address, unguarded._web = f"http://127.0.0.1:{settings.port}", Tree(server.pid)
        unguarded._caller = None
        try:
            wait_for(partial(_answers, unguarded._address), seconds=60)
            yield unguarded
        finally:
            server.terminate()
            server.wait(30)

    # -- one attack --------------------------------------------------------------------------------------------------

    def run(self, attack: Attack, *, share: float = 1.0) -> Row:
        """Attack with a share of what it would send: once alone, which says what it costs; then, where there is another
        caller, again and again beside that one."""
        attacker = self._attacker(attack.name, share)
        try:
            made = attack.prepare(attacker)
            self._rest(attacker)
            row = self._alone_row(attack, attacker, partial(attack.strike, attacker, made))
            return self._beside(row, attacker, partial(attack.strike, attacker, made)) if self._caller else row
        except AssertionError as error:  # what it waited for did not come
            return Row(attack, tuple(attacker.answers), 0.0, 0, 0, 0, self.ordinary, broken=str(error))
        finally:
            self._forget(attacker)

    def _alone_row(self, attack: Attack, attacker: Attacker, strike: Callable[[], None]) -> Row:
        attacker.answers.clear()
        accepted = attacker.accepted
        web, worker = Watch(self._web, shallow=2), Watch(self._worker, shallow=1)
        with watching([web, worker]):
            before = self._worker.seconds()
            strike()
            self._rest(attacker)
            spent = self._worker.seconds() - before
        each = spent / max(1, attacker.accepted - accepted)
        return Row.of(attack, attacker.answers, each, web.peak, worker.peak, self.ordinary)

    def _beside(self, row: Row, attacker: Attacker, strike: Callable[[], None]) -> Row:
        assert self._caller is not None and self._alone is not None
        afar = ThreadPoolExecutor(1, initializer=_on_a_machine_of_its_own)
        with self._caller.meanwhile() as felt, afar as pool:
            pool.submit(_again_and_again, strike, MEANWHILE_SECONDS).result()
        return row.beside(attacker.answers, felt, self._alone)

    # -- before and after --------------------------------------------------------------------------------------------

    def _attacker(self, name: str, share: float = 1.0) -> Attacker:
        rng = random.Random(f"{self._seed} {name}")
        return Attacker(self._address, self._key(), self._web, rng=rng, share=share, outbound_port=self._peer)

    def _key(self) -> str:
        return self._store.keys.create(secrets.token_hex(8), [Scope.SUBMIT, Scope.READ])[1]

    def _ordinary(self) -> Ordinary:
        attacker = self._attacker("ordinary")
        attacker.ended(attacker.submit(pictures.small(attacker.random)))  # the model is loaded
        web, worker = self._web.seconds(), self._worker.seconds()
        for _ in range(ORDINARY_JOBS):
            attacker.ended(attacker.submit(pictures.small(attacker.random)))
        spent = self._web.seconds() - web, self._worker.seconds() - worker
        self._forget(attacker)
        return Ordinary(spent[0] / ORDINARY_JOBS, spent[1] / ORDINARY_JOBS)

    def _other(self) -> tuple[Caller | None, Felt | None]:
        if not self._with_another:
            return None, None
        caller = Caller(self._address, self._key(), seed=self._seed)
        self._stack.callback(caller.close)
        return caller, caller.felt(rounds=ALONE_ROUNDS)

    def _rest(self, attacker: Attacker) -> None:
        """Let the attacker's jobs end, for as long as that may take."""
        with suppress(AssertionError):
            wait_for(self._is_idle, seconds=attacker.patience, pause=0.05)

    def _is_idle(self) -> bool:
        counts = self._store.counts()
        return counts.get("queued", 0) == counts.get("running", 0) == 0

    def _forget(self, attacker: Attacker) -> None:
        """Nothing of an attack is left for the next one to meet."""
        attacker.client.close()
        for change, names in ((self._store.batches.cancel, attacker.batches), (self._store.cancel, attacker.jobs)):
            for name in names:
                with suppress(PathlightError):  # it has ended
                    change(name)
        wait_for(self._is_idle, seconds=120, pause=0.05)
        for name in (*attacker.batches, *attacker.jobs):
            with suppress(PathlightError):  # it has been deleted
                self._store.forget(name)
