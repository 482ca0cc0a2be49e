"""What the scripts of the store say of themselves, checked on their text."""

from __future__ import annotations

import re

import pytest

from shared.jobs import JobStatus
from shared.settings import REPOSITORY
from shared.store.batches import BatchStatus

PATHS = {path.stem: path for path in sorted((REPOSITORY / "shared" / "store" / "scripts").glob("*.lua"))}
ALL = "\n".join(path.read_text("utf-8") for path in PATHS.values())
ADMITTED = set(re.findall(r"\bnew\.(\w+)", PATHS["prelude"].read_text("utf-8")))  # read by `admit`

ENDED_IN = re.compile(r"\bconclude\([\w.\[\]]+, '(\w+)'")
MOVED = re.compile(r"\bmove\([\w.]+, (?:'(\w+)'|[\w\[\]]+), (?:'(\w+)'|\w+)\)")
STATUS_IS = re.compile(r"(?:\bstatus|\bget\([^()]+, 'status'\)) [=~]= '(\w+)'")
READ = re.compile(r"local (\w+) = redis\.call\('HMGET', (?:(\w+)\([^()]*\)|\w+), ([^()]*)\)")
FIELD_IS = re.compile(r"(\w+)\[(\d+)\] [=~]= '(\w+)'")


@pytest.mark.parametrize("name", sorted(PATHS.keys() - {"prelude"}))
def test_the_head_of_a_script_names_what_it_is_given(name: str) -> None:
    text = PATHS[name].read_text("utf-8")
    head = re.match(r"(?:--.*\n)+", text)
    assert head is not None and "Returns" in head[0]
    told = re.findall(r"^--   (\w+): ", head[0], flags=re.MULTILINE)
    read = set(re.findall(r"\bgiven\.(\w+)", text))
    assert read <= set(told) <= read | (ADMITTED if "admit(given)" in text else set())
    assert len(told) == len(set(told)) and "ARGV" not in text


def compared_fields(text: str) -> dict[str, set[str]]:
    """The states that a script compares the status of a `job` or of a `batch` with, by these words."""
    found: dict[str, set[str]] = {"job": set(), "batch": set()}
    for match in FIELD_IS.finditer(text):
        variable, place, word = match.groups()
        reads = [read for read in READ.finditer(text, 0, match.start()) if read[1] == variable]
        kind, fields = (reads[-1][2], re.findall(r"'(\w+)'", reads[-1][3])) if reads else (None, [])
        if kind in found and fields[int(place) - 1] == "status":
            found[kind].add(word)
    return found


def test_the_states_in_the_scripts_are_those_of_jobs_and_none_is_missing() -> None:
    moves = {state for pair in MOVED.findall(ALL) for state in pair if state}
    compared = [compared_fields(path.read_text("utf-8")) for path in PATHS.values()]
    states = {
        *ENDED_IN.findall(ALL),
        *STATUS_IS.findall(ALL),
        *moves,
        *(one for each in compared for one in each["job"]),
    }
    assert states == set(JobStatus)
    assert set().union(*(each["batch"] for each in compared)) <= set(BatchStatus)
