"""`pathlight submit`: pictures to a running service; one that is refused does not hold up the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.explain import print_answer
from pathlight_client import Pathlight, Refused
from shared.answer.answer import Answer
from shared.jobs import JobStatus

Picture = Path | str
"""A file to send, or an address that the service fetches."""


def submit_pictures(
    pathlight: Pathlight, pictures: Sequence[Picture], *, wait: bool, console: Console, **options: Any
) -> bool:
    """Submit each, and say what became of it. True where all were accepted and, if waited for, answered. Raises
    Unreachable where the service does not answer."""
    accepted = []
    for picture in pictures:
        try:
            job = _submit(pathlight, picture, options)
        except (Refused, OSError) as error:
            console.print(f"{picture}  refused: {_reason(error)}", markup=False, soft_wrap=True)
            continue
        accepted.append((picture, job["id"]))
        page = f"{pathlight.address}{job['links']['page']}"
        console.print(f"{picture}  {job['id']}  {job['status']}  {page}", markup=False, soft_wrap=True)
    answered = [_wait(pathlight, picture, job_id, console) for picture, job_id in accepted] if wait else []
    return len(accepted) == len(pictures) and all(answered)


def print_job(job: dict[str, Any], console: Console) -> None:
    """Where a job stands, with its error, its place in the queue or its answer."""
    console.print(f"{job['id']}  {job['status']}")
    if job["error"]:
        console.print(f"  {job['error']['code']}: {job['error']['message']}", markup=False, soft_wrap=True)
    if job["queue"]:
        console.print(f"  position {job['queue']['position']}, about {job['queue']['eta_seconds']:.1f} s")
    if job["result"]:
        print_answer(Answer.from_dict(job["result"]), console)


def _submit(pathlight: Pathlight, picture: Picture, options: dict[str, Any]) -> dict[str, Any]:
    if isinstance(picture, Path):
        return pathlight.submit(picture, **options)
    return pathlight.submit(image_url=picture, **options)


def _wait(pathlight: Pathlight, picture: Picture, job_id: str, console: Console) -> bool:
    console.print(f"\n{picture}", markup=False, soft_wrap=True)
    try:
        job = pathlight.wait(job_id)
    except Refused as error:
        console.print(f"{job_id}  {_reason(error)}", markup=False, soft_wrap=True)
        return False
    print_job(job, console)
    return bool(job["status"] == JobStatus.SUCCEEDED)


def _reason(error: Refused | OSError) -> str:
    return str(error) if isinstance(error, Refused) else f"it cannot be read: {error.strerror}"
