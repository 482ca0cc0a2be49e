"""Pages that a rig writes into: only between its own marks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.figures import Figure
from bench.page import MEASUREMENTS, block, fill, page
from shared.settings import REPOSITORY

CONTEXT = {"cores": 2, "cpu": "a processor", "commit": "abc", "seed": 0, "versions": {"python": "3.11"}}


def test_a_writer_fills_its_own_place_and_leaves_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    places = [f"<!-- written by make {name}: from here -->\n\nold\n\n<!-- to here -->\n" for name in ("one", "two")]
    page.write_text("before\n" + "between\n".join(places) + "after\n", "utf-8")
    text = block([Figure("speed", 2.0, "x", meaning="It means this.")], CONTEXT, notes=["A note."])
    for _ in range(2):
        fill(page, writer="make two", text=text)
    first, second = page.read_text("utf-8").split("between\n")
    assert first == "before\n" + places[0]
    assert (
        second.count("| speed | 2 x |") == 1 and "- *speed*: It means this.\n\nA note.\n\nMeasured on 2 cores" in second
    )
    assert "old" not in second and second.endswith("<!-- to here -->\nafter\n")


def test_a_page_says_why_a_target_is_missed_and_nothing_of_one_that_is_met() -> None:
    slow = Figure("speed", 1.0, target=">= 2").explained("The wheels alone allow 1.")
    fast = Figure("speed downhill", 3.0, target=">= 2").explained("It is steep.")
    text = page({"Speeds": [slow, fast]}, CONTEXT)
    assert "- *speed*: The wheels alone allow 1." in text
    assert "It is steep." not in text
    assert Figure.from_dict(slow.to_dict()) == slow


def test_a_page_without_targets_says_nothing_of_them() -> None:
    assert "targets" not in page({"Speeds": [Figure("speed", 1.0)]}, CONTEXT)
    text = page({"Speeds": [Figure("speed", 1.0, target=">= 2")]}, CONTEXT)
    assert text.startswith("Of 1 targets, 0 are met. Missed: speed.\n\n")


def test_a_page_without_a_place_is_not_touched(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", "utf-8")
    with pytest.raises(ValueError, match="has no place for what make one writes"):
        fill(page, writer="make one", text="text")
    assert page.read_text("utf-8") == "nothing"


@pytest.mark.parametrize(
    "name", ["measurements/bulk.md", "measurements/quality.md", "measurements/performance.md", "reliability.md"]
)
def test_whoever_writes_into_a_page_of_ours_is_a_make_target(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M))
    writers = re.findall(
        r"<!-- written by make ([\w-]+): from here -->", (REPOSITORY / "docs" / name).read_text("utf-8")
    )
    assert writers and set(writers) <= targets


def test_a_page_with_its_figures_may_go_elsewhere(tmp_path: Path) -> None:
    page, copy = tmp_path / "page.md", tmp_path / "copy.md"
    page.write_text("before\n<!-- written by make one: from here -->\n<!-- to here -->\n", "utf-8")
    was = page.read_text("utf-8")
    fill(page, writer="make one", text="text", out=copy)
    assert page.read_text("utf-8") == was
    assert "text" in copy.read_text("utf-8") and copy.read_text("utf-8").startswith("before\n")


@pytest.mark.parametrize("path", sorted(MEASUREMENTS.glob("*.md")), ids=lambda path: path.name)
def test_before_its_figures_a_page_says_in_some_lines_what_to_take_from_them(path: Path) -> None:
    by_hand, mark, _ = path.read_text("utf-8").partition("<!-- written by ")
    assert mark and len(by_hand.splitlines()) >= 10
