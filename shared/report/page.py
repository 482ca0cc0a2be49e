"""A report as one page that needs no other host: style, script and charts are in it, pictures lie beside it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.cards.class_names import short_name
from shared.drawing.maps import Style, heatmap, png_bytes
from shared.drawing.phrases import percent
from shared.language import ENGLISH, Catalogue, catalogue
from shared.report.evidence import ClassMaps
from shared.report.rows import Row

_STATIC = Path(__file__).with_name("static")
_MEAN_WIDTH = 96
_BINS = 20
_WEAKEST_SHOWN = 40
TITLE = "{title}: {count} pictures explained"
_PLACE = re.compile(r"\{\{ (?P<said>.+?) \}\}|\{(?P<value>\w+)\}")  # a sentence of the page, or what is put into it


@dataclass(frozen=True)
class Report:
    """What a page shows. `thumbs` are the addresses of each row's thumbnails, one for each model."""

    title: str
    models: Sequence[str]
    rows: Sequence[Row]
    maps: ClassMaps
    thumbs: Sequence[Sequence[str]]
    language: str = ENGLISH


def render(report: Report) -> str:
    """The page."""
    words = catalogue(report.language)
    style, script = _read("report.css"), _read("report.js")
    title = words.reports.get(TITLE, TITLE).format(title=report.title, count=len(report.rows))
    values = {
        "language": report.language,
        "policy": html.escape(content_security_policy()),
        "title": html.escape(title),
        "style": style,
        "data": json.dumps(_data(report, words), separators=(",", ":")).replace("<", "\\u003c"),
        "script": script,
    }

    def fill(place: re.Match[str]) -> str:
        said = place["said"]
        return values[place["value"]] if said is None else words.reports.get(said, said)

    return _PLACE.sub(fill, _read("report.html"))


def content_security_policy() -> str:
    """What the page may load: itself and the pictures beside it."""
    style, script = (_digest(_read(name)) for name in ("report.css", "report.js"))
    return (
        f"default-src 'none'; img-src 'self' file: data:; style-src '{style}'; script-src '{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _read(name: str) -> str:
    return (_STATIC / name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(report: Report, words: Catalogue) -> dict[str, Any]:
    errors = dict.fromkeys((row["error_code"], row["error_message"]) for row in report.rows if _failed(row))
    number = {error: place for place, error in enumerate(errors, 1)}
    return {
        "paths": [row["path"] for row in report.rows],
        "labels": [row["label"] for row in report.rows],
        "failed": [number[row["error_code"], row["error_message"]] if _failed(row) else 0 for row in report.rows],
        "errors": [[code or "unknown", _why(code or "", message or "", words)] for code, message in errors],
        "thumbs": [list(one) for one in report.thumbs],
        "models": [_model(report, name) for name in report.models],
        "words": dict(words.reports),
    }


def _why(code: str, message: str, words: Catalogue) -> str:
    """Why a picture has no answer."""
    return words.reports.get(message) or words.translate_code(code, message)


def _failed(row: Row) -> bool:
    return bool(row["status"] != "succeeded")


def _model(report: Report, name: str) -> dict[str, Any]:
    """One model's columns, a place for each picture, and what its answers say together."""
    rows = [_part(row, name) for row in report.rows]
    answered = [(row, part) for row, part in zip(report.rows, rows, strict=True) if part]
    classes = sorted({part["prediction"] for _, part in answered})
    reasons = list(dict.fromkeys(part["reasons"] for _, part in answered))
    place = {one: index for index, one in enumerate(classes)}
    number = {one: index for index, one in enumerate(reasons)}
    suspicion = [part["suspicion"] if part else -1.0 for part in rows]  # what has no answer comes last
    return {
        "name": name,
        "classes": [short_name(one) for one in classes],
        "prediction": [place[part["prediction"]] if part else -1 for part in rows],
        "confidence": [round(_confidence(part), 4) if part else 0 for part in rows],
        "path": [part["path"] if part else None for part in rows],
        "sure": [_sure_name(part) for part in rows],
        "verdict": [part["verdict"] if part else None for part in rows],
        "reasons": [one.split() for one in reasons],
        "reason": [number[part["reasons"]] if part else -1 for part in rows],
        "order": sorted(range(len(rows)), key=lambda i: (-suspicion[i], i)),
        "means": _means(report.maps, name),
        **summary_of(report, name),
    }


def summary_of(report: Report, model: str) -> dict[str, Any]:
    """What a model's answers say together: `confusion` by label, histograms (in twentieths) of the probabilities of
    `decisions` and of the evidence `outside` boxes, and which decisions are the `weakest`."""
    answered = [(row, part) for row in report.rows if (part := _part(row, model))]
    parts = [part for _, part in answered]
    return {
        "confusion": _confusion(answered),
        "decisions": _decisions(parts),
        "weakest": _weakest(parts),
        "outside": _outside(parts),
    }


def _part(row: Row, model: str) -> Row:
    """The columns of one model, without its name; empty where it has no answer."""
    prefix = f"{model}:"
    return {column[len(prefix) :]: value for column, value in row.items() if column.startswith(prefix)}


def _confidence(part: Row) -> float:
    return float(part["probability"] if part["confidence"] is None else part["confidence"])


def _sure_name(part: Row) -> str | None:
    """The sure answer of a picture, where it is more than one class and less than all."""
    if not part or part["sure"] is None or part["sure_index"] is not None or part["sure_is_root"]:
        return None
    return f"{part['sure']} {percent(part['sure_probability'])}"


def _confusion(answered: Sequence[tuple[Row, Row]]) -> list[dict[str, Any]]:
    """For each label that the model knows: how often it is right, and where the path leaves."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row, part in answered:
        if part["correct"] is not None:
            by_label[row["label"]].append(part)
    return [
        {
            "label": short_name(label),
            "count": len(parts),
            "right": sum(part["correct"] for part in parts),
            "stays": _stays(parts),
            "leaves": [
                [short_name(at), short_name(to), count]
                for (at, to), count in Counter(
                    (part["leaves_at"], part["leaves_to"]) for part in parts if part["leaves_at"]
                ).most_common(6)
            ],
        }
        for label, parts in sorted(by_label.items())
    ]


def _stays(parts: Sequence[Row]) -> int | None:
    """How many paths end at the true class; None without a tree."""
    return sum(part["leaves_at"] is None for part in parts) if any(part["path"] for part in parts) else None


def _decisions(parts: Sequence[Row]) -> list[int] | None:
    values = [p for part in parts for p in part["decision_probabilities"] or ()]
    return _histogram(values) if values else None


def _histogram(values: Sequence[float]) -> list[int]:
    counts, _ = np.histogram(values, _BINS, (0, 1))
    return [int(count) for count in counts]


def _weakest(parts: Sequence[Row]) -> list[list[Any]]:
    """Which decisions are the weakest of their paths: [name, how often, mean probability], the most frequent first."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        if part["weakest"] is not None:
            by_name[part["weakest"]].append(part["weakest_probability"])
    ranked = sorted(by_name.items(), key=lambda one: (-len(one[1]), one[0]))
    return [
        [short_name(name), len(found), round(sum(found) / len(found), 4)] for name, found in ranked[:_WEAKEST_SHOWN]
    ]


def _outside(parts: Sequence[Row]) -> dict[str, Any] | None:
    """Of the first map of each picture that has a box."""
    columns = [next((name for name in part if name.endswith(":outside_box")), None) for part in parts]
    found = [part[name] for part, name in zip(parts, columns, strict=True) if name and part[name] is not None]
    if not found:
        return None
    return {"counts": _histogram(found), "mean": round(float(np.mean(found)), 4), "pictures": len(found)}


def _means(maps: ClassMaps, model: str) -> list[dict[str, Any]]:
    found = []
    for name in sorted(name for name in maps.sums if name[0] == model):
        picture = png_bytes(heatmap(maps.mean(name).astype(np.float32), style=Style(width=_MEAN_WIDTH)))
        address = "data:image/png;base64," + base64.b64encode(picture).decode()
        found.append({"class": short_name(name[1]), "count": maps.counts[name], "picture": address})
    return found
