"""Why a job failed, in words that its caller may read."""

from __future__ import annotations

from billiard.exceptions import SoftTimeLimitExceeded

from shared.errors import InvalidImage, PathlightError
from shared.jobs import JobError


def failure_of(error: BaseException) -> JobError:
    """The code and the one safe sentence of a job that failed alone."""
    if isinstance(error, PathlightError):
        return JobError(_code_of(error), str(error))
    if isinstance(error, SoftTimeLimitExceeded):
        return JobError("timeout", "The explanation took longer than this service allows.")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return JobError("out_of_memory", "The explanation needed more memory than this worker has.")
    return JobError("internal", "The explanation failed for a reason of our own; the log of the worker has it.")


def _code_of(error: PathlightError) -> str:
    """The contract knows one code for every picture that cannot be explained, and few for the rest."""
    if isinstance(error, InvalidImage):
        return InvalidImage.code
    return error.code if error.code in ("model_unavailable", "storage") else PathlightError.code
