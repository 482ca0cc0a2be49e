"""The decision path as an SVG tree: the path lit, the siblings of each step, what nearly won, and the maps beside it.

`tree_picture` is a pure function from a decision path to text; `draw_tree` brings the small pictures to
it. The SVG's title and description say in words what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.answer.classes import NodeProbability
from shared.answer.explanation import Explanation
from shared.answer.maps import DecisionMap
from shared.answer.path import DecisionPath, RunnerUp
from shared.cards.class_names import short_name
from shared.drawing.maps import Style, entry_overlay, png_bytes
from shared.drawing.phrases import number as in_digits
from shared.drawing.phrases import percent
from shared.drawing.scales import FloatMap
from shared.drawing.svg import EDGE, GLOW, GROUND, INK, LIT, SOFT, Sheet, wrapped
from shared.images.decode import Photo

WIDTH = 700
MOST_SIBLINGS = 5  # drawn at one step; where there are more, the last place tells of the rest

MARGIN = 20
SPINE = 34  # where the path runs down
STEP = (58, 306)  # from where to where the text of a step reaches
FORK = 332  # where the branches that were not taken turn down
SIBLING = 356
THUMBNAIL = 104
THUMBNAIL_PIXELS = 160  # drawn, for dense screens
GAP = 14  # between what hangs below one step and the fork of the next

_MODES = {
    "soft": "soft rules: every branch is weighed by the mean score of the classes below it",
    "hard": "hard rules: the best branch is taken at every step",
    "marginal": "marginal rules: the network’s own probabilities, summed over the classes below each branch",
}


def draw_tree(explanation: Explanation, maps: Mapping[str, FloatMap], photo: Photo, *, style: Style) -> str:
    """The SVG of an explanation's decision path. `maps` are those of its result, `photo` is what was explained.

    Of the style, `alpha` and `scale` count: the scale that all small pictures share, by default each one's own.
    """
    path = explanation.decision_path
    assert path is not None, "a tree was asked of an answer without one"
    seen = photo.pixels.crop(photo.scaled_box(explanation.input.box))
    seen.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    seen = seen.convert("L").convert("RGB")  # on grey, red and blue can only be the map's
    whole, small = (0, 0, *seen.size), Style(alpha=style.alpha, scale=style.scale)
    thumbnails = {
        number: png_bytes(entry_overlay(step.map, maps, seen, whole, style=small))
        for number, step in enumerate(path.steps)
        if step.map is not None
    }
    note = "each is scaled to its own largest value"
    if style.scale is not None:
        note = f"all share one scale, from {in_digits(-style.scale)} to {in_digits(style.scale)} ({DecisionMap.unit})"
    return tree_picture(path, model=explanation.model, thumbnails=thumbnails, scale_note=note)


def tree_picture(path: DecisionPath, *, model: str, thumbnails: Mapping[int, bytes], scale_note: str) -> str:
    """The SVG of a decision path, 700 wide and as high as it must be.

    `thumbnails` are PNG files of the steps' maps, by the step's number from 0; `scale_note` says which scale they have.
    """
    sheet = Sheet.blank(WIDTH, title=_title(path), description=describe(path))
    dot, bottom = _head(sheet, path, model)
    for number in range(len(path.steps)):
        dot, bottom = _step(sheet, path, number, dot, bottom, thumbnails)
    return sheet.finished(_foot(sheet, path, bottom, scale_note if thumbnails else None))


def describe(path: DecisionPath) -> str:
    """The whole path in words, for readers who do not see the picture."""
    steps = path.steps
    sentences = [f"From any class to {short_name(path.prediction.name)} in {_counted(len(steps), 'step')}."]
    for number, step in enumerate(steps):
        weakest = ", the weakest" if _is_marked(path, number) else ""
        branches = _branches(path, number)
        others = ", ".join(f"{branch.name} {percent(branch.probability)}" for branch in branches)
        rather = f" rather than {others}" if branches else ", the only branch"
        sentences.append(f"Step {number + 1}{weakest}: {short_name(step.name)} {percent(step.probability)}{rather}.")
        sentences.extend(f"{branch.name} was the runner-up{branch.led}." for branch in branches if branch.runner_up)
    return " ".join([*sentences, _verdict(path)])


@dataclass(frozen=True)
class _Branch:
    """A branch that was not taken, or the rest of them."""

    name: str
    probability: float
    runner_up: bool = False
    leads_to: str | None = None  # of the runner-up, where that is more than its own name

    @property
    def led(self) -> str:
        return f"; it would have led to {self.leads_to}" if self.leads_to else ""


def _branches(path: DecisionPath, number: int) -> list[_Branch]:
    """The siblings of a step, likeliest first; the runner-up is always among those that are named."""
    runner_up = path.runner_up if path.runner_up and path.runner_up.at == number else None
    rival = runner_up.node if runner_up else None
    siblings = sorted(path.steps[number].siblings, key=lambda s: (s.node != rival, -s.probability))
    shown = siblings if len(siblings) <= MOST_SIBLINGS else siblings[: MOST_SIBLINGS - 1]
    rest = siblings[len(shown) :]
    branches = [_branch(sibling, runner_up if sibling.node == rival else None) for sibling in shown]
    branches.sort(key=lambda branch: -branch.probability)
    return branches + ([_Branch(f"and {len(rest)} more", sum(s.probability for s in rest))] if rest else [])


def _branch(sibling: NodeProbability, runner_up: RunnerUp | None) -> _Branch:
    name = short_name(sibling.name)
    if runner_up is None:
        return _Branch(name, sibling.probability)
    goal = short_name(runner_up.leads_to)
    return _Branch(name, sibling.probability, runner_up=True, leads_to=goal if goal != name else None)


def _head(sheet: Sheet, path: DecisionPath, model: str) -> tuple[int, int]:
    """What the tree is of, and its root; the height of the root's dot, and of what hangs below."""
    width = WIDTH - 2 * MARGIN
    y = sheet.text(MARGIN, 36, wrapped(_title(path), width, size=18, bold=True), size=18, bold=True)
    rules = f"{model}, {_MODES.get(path.mode, path.mode)}"
    y = sheet.text(MARGIN, y, wrapped(rules, width, size=13), size=13, colour=SOFT) + 6
    sheet.dot(SPINE, y, 6, fill=GROUND, stroke=LIT, width=4)
    sheet.text(STEP[0], y + 5, ["any class"], size=14, colour=SOFT)
    return y, y + 8


def _step(
    sheet: Sheet, path: DecisionPath, number: int, above: int, top: int, thumbnails: Mapping[int, bytes]
) -> tuple[int, int]:
    """One decision, between the dot `above` and the next; the height of its dot, and of what hangs below."""
    fork = top + GAP
    dot = fork + 22
    sheet.edge(f"M{SPINE} {above}V{dot}", colour=LIT, width=5)
    bottoms = [_taken(sheet, path, number, dot)]
    right = WIDTH - MARGIN - (THUMBNAIL + 20 if thumbnails else 0)
    y = dot
    for branch in _branches(path, number):
        y = _not_taken(sheet, branch, fork, y, right)
        bottoms.append(y)
    if number in thumbnails:
        sheet.picture(WIDTH - MARGIN - THUMBNAIL, fork + 6, THUMBNAIL, png=thumbnails[number])
        bottoms.append(fork + 6 + THUMBNAIL)
    return dot, max(bottoms)


def _taken(sheet: Sheet, path: DecisionPath, number: int, dot: int) -> int:
    """The branch that was taken, with its dot on the path."""
    step = path.steps[number]
    x, end = STEP
    weakest, leaf = _is_marked(path, number), number == len(path.steps) - 1
    if weakest:
        sheet.dot(SPINE, dot, 12, fill=GROUND, stroke=GLOW, width=2)
    sheet.dot(SPINE, dot, 6, fill=LIT if leaf else GROUND, stroke=LIT, width=4)
    lines = wrapped(short_name(step.name), end - x - 62, size=15, bold=True)
    y = sheet.text(x, dot + 5, lines, size=15, bold=True)
    sheet.figure(end, dot + 5, percent(step.probability), size=15, bold=True)
    sheet.bar(x, y - 11, end - x, share=step.probability)
    if weakest:
        return sheet.text(x, y + 12, ["weakest step"], size=12, colour=GLOW, bold=True)
    if not step.siblings:
        return sheet.text(x, y + 12, ["the only branch"], size=12, colour=SOFT)
    return y + 6


def _not_taken(sheet: Sheet, branch: _Branch, fork: int, dot: int, right: int) -> int:
    """A branch that was not taken, from the path at height `fork` to its dot; the height of the next one's."""
    colour = GLOW if branch.runner_up else EDGE
    way = f"M{SPINE + 2} {fork}H{FORK - 8}Q{FORK} {fork} {FORK} {fork + 8}V{dot}H{SIBLING - 10}"
    sheet.edge(way, colour=colour, width=2 if branch.runner_up else 1.5)
    sheet.dot(SIBLING - 10, dot, 4, fill=GROUND, stroke=colour, width=2)
    ink = GLOW if branch.runner_up else INK
    lines = wrapped(branch.name, right - SIBLING - 54, size=13)
    y = sheet.text(SIBLING, dot + 4, lines, size=13, colour=ink)
    sheet.figure(right, dot + 4, percent(branch.probability), size=13, colour=ink)
    if branch.runner_up:
        note = f"would have led to {branch.leads_to}" if branch.leads_to else "the runner-up"
        y = sheet.text(SIBLING, y - 1, wrapped(note, right - SIBLING, size=12), size=12, colour=GLOW)
    return y + 4


def _foot(sheet: Sheet, path: DecisionPath, bottom: int, scale_note: str | None) -> int:
    """The verdict and how to read the small pictures; the height of it all."""
    width = WIDTH - 2 * MARGIN
    y = sheet.text(MARGIN, bottom + 30, wrapped(_verdict(path), width, size=14), size=14)
    if scale_note:
        legend = (
            "Each small picture is the map of its decision: red speaks for the branch taken, "
            f"blue for its strongest rival; {scale_note}."
        )
        y = sheet.text(MARGIN, y + 2, wrapped(legend, width, size=12), size=12, colour=SOFT)
    return y + 2


def _title(path: DecisionPath) -> str:
    return f"Decision path to {short_name(path.prediction.name)}"


def _verdict(path: DecisionPath) -> str:
    all_of_it = f"All steps together: {percent(path.steps[-1].path_probability)}."
    name = short_name(path.prediction.name)
    if path.agrees_with_network:
        return f"{all_of_it} Tree and network agree on {name}."
    return f"{all_of_it} The tree says {name}; the network says something else."


def _is_marked(path: DecisionPath, number: int) -> bool:
    return path.is_weak(number) and len(path.steps) > 1


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
