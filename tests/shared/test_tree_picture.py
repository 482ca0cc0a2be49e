"""The tree picture: all of the path in its text, well-formed for any name, and nothing that a page must fear."""

from __future__ import annotations

import base64
import io
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.answer.path import DecisionPath
from shared.drawing.maps import Style
from shared.drawing.phrases import percent
from shared.drawing.tree_picture import MOST_SIBLINGS, WIDTH, describe, draw_tree, tree_picture
from shared.images.decode import Photo
from tests.shared.answers import explanation_of, path_of

SVG = "{http://www.w3.org/2000/svg}"
DOT = b"\x89PNG\r\n\x1a\n, say"
HOSTILE = [
    "<script>alert(1)</script>",
    "\"& ' --> ]]> <!--",
    "tab\x00\x08\x1b\ufffe\ud800",
    "&lt;b&gt; &#38;",
    "",
    " ",
    "W" * 300,
    "長い名前" * 30,
]


def node(name: str, probability: float) -> dict[str, Any]:
    return {"node": f"n-{name}", "name": name, "probability": probability}


def step(name: str, probability: float, *siblings: tuple[str, float]) -> dict[str, Any]:
    others = [node(*sibling) for sibling in siblings]
    return {**node(name, probability), "path_probability": 0.8046, "entropy": 0.1, "siblings": others, "map": None}


def path(*steps: dict[str, Any], **changes: Any) -> DecisionPath:
    steps = steps or (step("animal", 0.9934, ("vehicle", 0.0066)), step("tabby", 0.81, ("dog", 0.17), ("fox", 0.02)))
    base = {"mode": "soft", "prediction": {"index": 0, "name": steps[-1]["name"]}, "agrees_with_network": True}
    more = {"weakest": len(steps) - 1, "weak_below": 1.0, "runner_up": None, "steps": list(steps)}
    return path_of({**base, **more, **changes})


def runner_up(at: int, name: str, leads_to: str, probability: float = 0.17) -> dict[str, Any]:
    return {"at": at, **node(name, probability), "leads_to": leads_to}


def drawn(path: DecisionPath, *, thumbnails: dict[int, bytes] | None = None, model: str = "pets") -> Element:
    return fromstring(tree_picture(path, model=model, thumbnails=thumbnails or {}, scale_note="each on its own scale"))


def words(svg: Element) -> str:
    """The visible text, in one line."""
    return " ".join(" ".join(text for part in svg.iter(f"{SVG}text") for text in part.itertext()).split())


def test_every_step_sibling_and_percentage_is_in_the_text() -> None:
    seen = words(drawn(path()))
    for text in ("any class", "animal 99.3%", "vehicle 0.7%", "tabby 81.0%", "dog 17.0%", "fox 2.0%"):
        assert text in seen
    assert "Decision path to tabby pets, soft rules:" in seen
    assert "All steps together: 80.5%. Tree and network agree on tabby." in seen


def test_title_and_description_tell_the_path_to_who_does_not_see_it() -> None:
    given = path(runner_up=runner_up(1, "dog", "Great Dane"))
    svg = drawn(given)
    ids = svg.attrib["aria-labelledby"].split()
    assert svg.attrib["role"] == "img"
    assert [svg.find(f"*[@id='{name}']").text for name in ids] == ["Decision path to tabby", describe(given)]  # type: ignore[union-attr]
    assert describe(given) == (
        "From any class to tabby in 2 steps. Step 1: animal 99.3% rather than vehicle 0.7%. "
        "Step 2, the weakest: tabby 81.0% rather than dog 17.0%, fox 2.0%. "
        "dog was the runner-up; it would have led to Great Dane. "
        "All steps together: 80.5%. Tree and network agree on tabby."
    )


def test_a_weakest_step_that_is_not_weak_is_not_marked() -> None:
    assert "weakest" not in describe(path(weak_below=0.8)) + words(drawn(path(weak_below=0.8)))
    assert "Step 2, the weakest: tabby" in describe(path(weak_below=0.82))


def test_the_weakest_step_is_marked_where_there_are_several() -> None:
    assert words(drawn(path(weakest=0))).count("weakest step") == 1
    assert "animal 99.3% weakest step" in words(drawn(path(weakest=0)))
    assert "tabby 81.0% weakest step" in words(drawn(path(weakest=1)))
    assert "weakest" not in words(drawn(path(step("tabby", 0.6, ("dog", 0.4)))))


def test_the_runner_up_tells_where_it_would_have_led() -> None:
    elsewhere = words(drawn(path(runner_up=runner_up(1, "dog", "Great Dane"))))
    assert "dog 17.0% would have led to Great Dane fox 2.0%" in elsewhere
    itself = words(drawn(path(runner_up=runner_up(1, "dog", "dog"))))
    assert "dog 17.0% the runner-up fox 2.0%" in itself


def test_a_disagreement_is_said() -> None:
    assert "The tree says tabby; the network says something else." in words(drawn(path(agrees_with_network=False)))


def test_an_only_branch_says_so() -> None:
    assert "entity 100.0% the only branch" in words(drawn(path(step("entity", 1.0), step("tabby", 0.9, ("dog", 0.1)))))


def test_of_many_siblings_the_likeliest_are_named_and_the_rest_summed_up() -> None:
    siblings = [(f"kind {n}", 0.001 * (n + 1)) for n in range(15)]
    seen = words(drawn(path(step("tabby", 0.88, *siblings))))
    assert "kind 14 1.5% kind 13 1.4% kind 12 1.3% kind 11 1.2% and 11 more 6.6%" in seen
    assert "kind 10" not in seen
    fits = words(drawn(path(step("tabby", 0.88, *siblings[:MOST_SIBLINGS]))))
    assert "kind 0 0.1%" in fits and "more" not in fits


def test_the_runner_up_is_named_however_many_are_likelier() -> None:
    siblings = [(f"kind {n}", 0.01 * (n + 1)) for n in range(9)]
    seen = words(drawn(path(step("tabby", 0.5, *siblings), runner_up=runner_up(0, "kind 0", "sphinx"))))
    assert "kind 0 1.0% would have led to sphinx and 5 more" in seen


def test_the_lit_path_runs_from_the_root_through_every_step() -> None:
    svg = drawn(path(*(step(f"level {n}", 0.9, ("other", 0.1)) for n in range(12))))
    dots = [int(dot.attrib["cy"]) for dot in svg.iter(f"{SVG}circle") if dot.attrib["r"] == "6"]
    lit = [edge.attrib["d"] for edge in svg.iter(f"{SVG}path") if edge.attrib["stroke-width"] == "5"]
    assert len(dots) == 13 and dots == sorted(dots)
    assert lit == [f"M34 {above}V{below}" for above, below in zip(dots, dots[1:], strict=False)]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_text_and_nothing_else(name: str) -> None:
    hostile = path(
        step(name, 0.7, (name, 0.3)),
        mode=name,
        runner_up=runner_up(0, name, name),
        prediction={"index": 0, "name": name},
    )
    svg = drawn(hostile, model=name, thumbnails={0: DOT})
    allowed = {"svg", "title", "desc", "rect", "g", "path", "circle", "text", "tspan", "image"}
    assert {part.tag.removeprefix(SVG) for part in svg.iter()} <= allowed
    assert not {key for part in svg.iter() for key in part.attrib if key.startswith("on") or key == "style"}
    assert all(part.attrib.get("href", "data:image/png").startswith("data:image/png") for part in svg.iter())


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_the_picture_can_be_encoded_and_parsed_whatever_is_called_how(first: str, second: str) -> None:
    given = path(step(first, 0.7, (second, 0.3)), runner_up=runner_up(0, second, first))
    text = tree_picture(given, model=first, thumbnails={}, scale_note="")
    assert words(fromstring(text.encode())).count(percent(0.7)) >= 1


def test_nothing_lies_below_the_edge_or_on_top_of_another_step() -> None:
    long = "a name of many words that no column holds in one line, and more"
    svg = drawn(path(*(step(long, 0.9, *((long, 0.01) for _ in range(4))) for _ in range(12))))
    height = int(svg.attrib["height"])
    assert svg.attrib["viewBox"] == f"0 0 {WIDTH} {height}"
    lines = [int(part.attrib["y"]) for part in svg.iter(f"{SVG}tspan")]
    assert max(lines) < height - 8
    forks = {
        int(edge.attrib["d"].split("H")[0].split()[1]) for edge in svg.iter(f"{SVG}path") if "H" in edge.attrib["d"]
    }
    assert len(forks) == 12
    assert all(y < fork - 3 or y > fork + 12 for y in lines for fork in forks)


def test_each_decision_that_has_a_map_has_its_small_picture_on_a_scale_that_is_stated() -> None:
    raw = np.zeros((7, 7), np.float32)
    raw[1, 5], raw[5, 1] = 4.0, -4.0
    given = path().to_dict()
    given["steps"][1]["map"] = {"artifacts": {"raw": "pets.step-2.npy"}}
    explanation = explanation_of({"model": "pets", "decision_path": given, "input": {"box": [20, 0, 100, 80]}})
    photo = Photo.whole(Image.new("RGB", (120, 80), (200, 60, 60)))

    def small(scale: float | None) -> tuple[list[int], str]:
        """How red the hottest, the coldest and an empty place are, and the text of the tree."""
        svg = fromstring(draw_tree(explanation, {"pets.step-2": raw}, photo, style=Style(scale=scale)))
        (image,) = svg.iter(f"{SVG}image")
        thumbnail = Image.open(io.BytesIO(base64.b64decode(image.attrib["href"].partition(",")[2])))
        assert thumbnail.size == (80, 80)
        colours = np.asarray(thumbnail).astype(int)
        return [int(colours[y, x, 0] - colours[y, x, 2]) for y, x in ((17, 62), (62, 17), (40, 40))], words(svg)

    (hot, cold, nothing), text = small(None)
    assert hot > 40 and cold < -40 and nothing == 0
    assert "each is scaled to its own largest value" in text
    (paler, _, nothing), text = small(16.0)
    assert 0 < paler < hot - 20 and nothing == 0
    assert "all share one scale, from −16.0 to 16.0 (logit)" in text
