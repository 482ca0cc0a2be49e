"""What a bulk run has done so far: one file for each finished part, written whole or not at all.

A run that is ended in whatever way goes on from these. A picture is done where a part holds its key.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import InvalidOption
from shared.files import replacing
from shared.jobs import JobOptions
from shared.locks import locked
from shared.report.evidence import ClassMaps
from shared.report.rows import Row


@dataclass
class JournalPart:
    """The rows of some pictures by key, and the sums of their maps."""

    rows: dict[str, Row] = field(default_factory=dict)
    maps: ClassMaps = field(default_factory=ClassMaps)


@dataclass(frozen=True)
class Journal:
    """The finished parts of one run in its folder. `nonce` sets this run's requests apart from any other's."""

    folder: Path
    nonce: str

    @classmethod
    def open(cls, out: Path, options: JobOptions, *, artifacts: str) -> Journal:
        """Begin a run or go on with it. Raises InvalidOption where the folder holds a run with other options."""
        folder = out / "parts"
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "run.json"
        asked: dict[str, Any] = {"options": options.to_dict(), "artifacts": artifacts}
        if place.exists():
            known = json.loads(place.read_text("utf-8"))
            if {name: known.get(name) for name in asked} != asked:
                raise InvalidOption(f"{out} holds a run with other options; choose another folder, or remove it")
            return cls(folder, known["nonce"])
        nonce = secrets.token_hex(8)
        _write(place, {**asked, "nonce": nonce})
        return cls(folder, nonce)

    def with_new_nonce(self) -> Journal:
        """The same run, to ask anew for what was cancelled."""
        place = self.folder / "run.json"
        nonce = secrets.token_hex(8)
        _write(place, {**json.loads(place.read_text("utf-8")), "nonce": nonce})
        return Journal(self.folder, nonce)

    def add(self, part: JournalPart) -> None:
        """Keep a finished part."""
        name = hashlib.sha256("".join(part.rows).encode()).hexdigest()[:16]
        _write(self.folder / f"{name}.json", {"rows": part.rows, "maps": part.maps.to_list()})

    def read(self) -> Iterator[JournalPart]:
        """The parts that are finished."""
        for path in sorted(self.folder.glob("*.json")):
            if path.name != "run.json":
                data = json.loads(path.read_text("utf-8"))
                yield JournalPart(data["rows"], ClassMaps.from_list(data["maps"]))

    def forget(self, keys: Sequence[str]) -> None:
        """Leave parts that hold one of these to be done again."""
        wanted = set(keys)
        for path in self.folder.glob("*.json"):
            if path.name != "run.json" and wanted & set(json.loads(path.read_text("utf-8"))["rows"]):
                path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder. Raises AlreadyRunning where another run holds it."""
        with locked(
            self.folder / "lock", taken=f"another bulk run writes to {self.folder.parent}; wait for it or end it"
        ):
            yield


def _write(path: Path, data: Mapping[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(data), "utf-8")
