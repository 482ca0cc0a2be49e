"""What became of one picture: its answer, or why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.answer.answer import Answer
from shared.answer.explanation import Explanation
from shared.jobs import ImageRecord, JobError, JobStatus

Box = tuple[float, float, float, float]
NO_ANSWER = {JobStatus.CANCELLED: "It was cancelled.", JobStatus.EXPIRED: "It waited too long."}


def unanswered(status: JobStatus) -> JobError:
    """Why there is no answer, where nothing went wrong."""
    return JobError(status.value, NO_ANSWER.get(status, f"The job was {status.value}."))


@dataclass(frozen=True)
class Outcome:
    """One image of many. `answer` and `maps`, its raw maps by name, are there where it succeeded. `label` is the class
    that somebody says it shows, `box` where in the image (x0 y0 x1 y1 in pixels)."""

    path: str
    status: JobStatus
    image: ImageRecord | None = None
    error: JobError | None = None
    answer: Answer | None = None
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    label: str | None = None
    box: Box | None = None
    job: str | None = None

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        return self.answer.explanations if self.answer else ()
