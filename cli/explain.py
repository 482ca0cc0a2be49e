"""`pathlight explain`: one picture, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from shared import options as job_options
from shared.answer.answer import Answer
from shared.answer.explanation import Explanation, Prediction, SureAnswer
from shared.answer.maps import MapEntry
from shared.cards.card import Registry
from shared.cards.class_names import short_name
from shared.cards.methods import METHODS
from shared.drawing.maps import Style, entry_heatmap, entry_overlay, png_bytes
from shared.errors import FetchFailed, ImageTooLarge, InvalidImage
from shared.images.decode import Limits, Photo
from shared.images.masking import read_explained
from shared.jobs import JobOptions
from shared.results import Result, npy_bytes
from shared.settings import Settings

DOCUMENT = "explanation.json"
WRITTEN = (  # all that may be written into a folder
    *(DOCUMENT, "heatmap.png", "overlay.png"),
    *(f"{method}{ending}" for method in METHODS for ending in (".npy", ".heatmap.png", ".overlay.png")),
)


def explain_source(
    source: str,
    options: JobOptions,
    settings: Settings,
    *,
    mask: Path | None = None,
    progress: Callable[[str, int, int], None],
) -> tuple[Photo, Result]:
    """Read a file or http(s) address, explain it, and return the picture with the result. Where a mask is given, the
    picture is the one without what the mask hides. Without a method, each model has the best that it can do."""
    from worker.engine.model_cache import ModelCache
    from worker.explain.answers import answer
    from worker.explain.query import Query

    registry = Registry.load(settings)
    methods = options.methods or job_options.best_methods(registry.get(name).methods for name in options.models)
    options = replace(options, methods=methods)
    job_options.check(options)
    for name in options.models:
        registry.ready(name)
    job_options.plan(options, registry)
    data = download(source, settings) if urlsplit(source).scheme in ("http", "https") else read_file(Path(source))
    limits = Limits.of(settings)
    photo = read_explained(data, None if mask is None else read_file(mask), limits, fill=options.fill)
    model_cache = ModelCache(registry, precision=settings.precision)
    return photo, answer(model_cache, [Query(photo, options)], progress=progress)[0]


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises InvalidImage where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"{path} cannot be read: {error.strerror}") from error


def download(url: str, settings: Settings) -> bytes:
    """The bytes behind an address, at most as many as a picture may have."""
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=30) as response:
            response.raise_for_status()
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > settings.image_bytes:
                    raise ImageTooLarge(f"{url} has more than {settings.image_bytes} bytes")
            return data
    except httpx.HTTPError as error:
        raise FetchFailed(f"{url} cannot be fetched: {error}") from error


def print_answer(answer: Answer, console: Console) -> None:
    """What each model says, what they say of each other, and then what a reader has to know before believing it."""
    _print_explanations(answer.explanations, console)
    for pair in answer.agreement:
        console.print(f"\nTogether: {pair.text}", markup=False, soft_wrap=True)
    for warning in answer.warnings:
        console.print(f"\nnote on {warning.model}: {warning.text}", markup=False, soft_wrap=True)


def _print_explanations(explanations: Sequence[Explanation], console: Console) -> None:
    """The tutorial's lines, and the five best classes, of each model."""
    for number, explanation in enumerate(explanations):
        if number:
            console.print()
        console.print(f"[bold]{explanation.model}[/bold]")
        lines = (*prediction_lines(explanation), *sure_lines(explanation), confidence_line(explanation.prediction))
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)
        for ranked in explanation.prediction.top:
            console.print(f"  {ranked.probability:7.2%}  {short_name(ranked.name)}", markup=False)
        for entry in explanation.maps:
            console.print(f"Map: {map_line(entry)}", markup=False, soft_wrap=True)
            for proof in (entry.faithfulness, entry.stability, entry.agreement):
                if proof:
                    console.print(f"  {proof.text}", markup=False, soft_wrap=True)


def prediction_lines(explanation: Explanation) -> list[str]:
    """`Prediction: cat // Decisions: animal (99.34%), …` where the tree decides; where it only retells what the
    network said (marginal mode), its decisions stand on a line of their own."""
    path = explanation.decision_path
    network = f"Prediction: {short_name(explanation.prediction.name)}"
    if path is None:
        return [network]
    decisions = "Decisions: " + ", ".join(f"{short_name(s.name)} ({s.probability:.2%})" for s in path.steps)
    if path.mode == "marginal":
        return [network, decisions]
    return [f"Prediction: {short_name(path.prediction.name)} // {decisions}"]


def sure_lines(explanation: Explanation) -> list[str]:
    """The sure answer and the verdict; nothing of a result that an earlier version stored."""
    sure, verdict = explanation.sure, explanation.verdict
    lines = [f"Sure answer: {sure_answer(sure, explanation.prediction)}"] if sure else []
    return [*lines, f"Verdict: {verdict.level}. {verdict.text}"] if verdict else lines


def sure_answer(sure: SureAnswer, prediction: Prediction) -> str:
    """`domestic cat (91.66%), most likely tiger cat`. Of the root, that the model vouches for nothing."""
    name = short_name(prediction.name)
    if sure.is_root:
        return f"none: no group of classes holds {sure.at:.0%}; most likely {name}"
    found = f"{short_name(sure.name)} ({sure.probability:.2%})"
    return found if sure.index is not None else f"{found}, most likely {name}"


def confidence_line(prediction: Prediction) -> str:
    """How sure the model is, and what the figures of the classes below are; warnings tell of the calibrated one."""
    if prediction.confidence is None:
        return "The raw softmax, not calibrated:"
    return f"{prediction.confidence:.2%} confident, calibrated; the raw softmax:"


def map_line(entry: MapEntry) -> str:
    """Which class the map is of, and whether it adds up to the network's score."""
    against = f" rather than {short_name(entry.contrast.name)}" if entry.contrast else ""
    rows, columns = entry.grid
    question = f"{short_name(entry.target.name)}{against} by {entry.method}"
    return f"{question}, {rows} x {columns} cells, {_guarantee(entry)}"


def _guarantee(entry: MapEntry) -> str:
    """What the method claims of the map, and whether it was found to hold."""
    check = entry.exactness
    if check is None:
        return entry.claim
    holds = entry.claim if check.exact else f"NOT {entry.claim}"
    return f"{holds} (residual {check.residual:.1e}, tolerance {check.tolerance:.0e})"


def write_result(result: Result, photo: Photo, out: Path) -> int:
    """Write the pictures, the raw maps and the document of each model, in the place of what an earlier answer left
    there; how many files."""
    written = 0
    clear(out)
    for number, explanation in enumerate(result.answer.explanations):
        folder = out if number == 0 else out / explanation.model
        folder.mkdir(parents=True, exist_ok=True)
        files = {DOCUMENT: json.dumps(_document(result.answer, explanation), indent=2).encode()}
        for place, entry in enumerate(explanation.maps):
            files |= _map_files(result, photo, explanation, entry, first=place == 0)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        written += len(files)
    return written


def clear(out: Path) -> None:
    """Take out what an earlier answer wrote there, and nothing else: its maps beside new pictures would mislead."""
    for document in (out / DOCUMENT, *out.glob(f"*/{DOCUMENT}")):
        if not document.is_file():
            continue
        for name in WRITTEN:
            (document.parent / name).unlink(missing_ok=True)
        if document.parent != out and not any(document.parent.iterdir()):
            document.parent.rmdir()


def _document(answer: Answer, explanation: Explanation) -> dict[str, Any]:
    """One model's explanation, with all that the terminal says of it, and what it takes to do it again."""
    model = explanation.model
    return {
        **explanation.to_dict(),
        "agreement": [pair.to_dict() for pair in answer.agreement if model in pair.models],
        "warnings": [warning.to_dict() for warning in answer.warnings_of(model)],
        "provenance": answer.provenance.to_dict(),
    }


def _map_files(
    result: Result, photo: Photo, explanation: Explanation, entry: MapEntry, *, first: bool
) -> dict[str, bytes]:
    """The raw map, named by its method, and its pictures; those of further methods bear the method's name too."""
    style, box = Style(), photo.scaled_box(explanation.input.box)
    prefix = "" if first else f"{entry.method}."
    return {
        f"{entry.method}.npy": npy_bytes(entry.raw(result.maps)),
        f"{prefix}heatmap.png": png_bytes(entry_heatmap(entry, result.maps, style=style)),
        f"{prefix}overlay.png": png_bytes(entry_overlay(entry, result.maps, photo.pixels, box, style=style)),
    }
