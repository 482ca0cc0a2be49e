"""What became of one picture: its answer, or why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.jobs import JobError, JobStatus

Box = tuple[float, float, float, float]
NO_ANSWER = {JobStatus.CANCELLED: "It was cancelled.", JobStatus.EXPIRED: "It waited too long."}


def unanswered(status: JobStatus) -> JobError:
    """Why there is no answer, where nothing went wrong."""
    return JobError(status.value, NO_ANSWER.get(status, f"The job was {status.value}."))


@dataclass(frozen=True)
class Outcome:
    """One picture of many. `document` is the contract's result, `maps` its raw maps by name, both empty where it
    failed. `label` is the class that somebody says it shows, `box` where in the picture (x0 y0 x1 y1 in pixels)."""

    path: str
    status: JobStatus
    image: Mapping[str, Any] = field(default_factory=dict)
    error: JobError | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    label: str | None = None
    box: Box | None = None
    job: str | None = None

    @property
    def explanations(self) -> list[Mapping[str, Any]]:
        return list(self.document.get("explanations", ()))

    def raw(self, entry: Mapping[str, Any]) -> NDArray[np.float32]:
        """The raw map of an entry, whose artifact may be named by an address."""
        return self.maps[PurePosixPath(entry["artifacts"]["raw"]).name.removesuffix(".npy")]
