"""Reports on many pictures: rows, suspicion, evidence, and what the page holds."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cards.card import Registry
from shared.jobs import ImageRecord, JobError, JobStatus
from shared.report.charts import write_charts
from shared.report.evidence import ClassMaps, share_outside
from shared.report.outcome import Box, Outcome, unanswered
from shared.report.page import Report, content_security_policy, render, summary_of
from shared.report.rows import Known, Row, known_models, to_row
from shared.report.tables import csv_lines
from tests.shared.answers import answer_of

MODEL = "nbdt-cifar10"


def outcome(
    path: str = "cats/1.png",
    *,
    predicted: int = 3,
    steps: tuple[tuple[str, str, float], ...] = (("n00015388", "animal", 0.9),),
    agrees: bool = True,
    exact: bool = True,
    confidence: float = 0.8,
    label: str | None = None,
    box: Box | None = None,
    codes: tuple[str, ...] = (),
    judged: dict[str, Any] | None = None,
) -> Outcome:
    """An answer of the tree model as the worker writes it, as far as a report looks at it. `judged` are its sure answer
    and its verdict; without them it is as an earlier version stored it."""
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    certificate = {"exact": exact, "residual": 1e-7, "tolerance": 1e-5}
    raw = np.zeros((4, 4), np.float32)
    raw[0, 0], raw[3, 3] = 3, 1
    proof = {"faithfulness": {"deletion": 0.4, "text": "So so."}, "stability": None, "agreement": None}
    entry: dict[str, Any] = {
        "method": "cam",
        "target": {"name": names[predicted]},
        "contrast": None,
        "range": [0, 3],
        **proof,
    }
    entry |= {
        "exactness": certificate,
        "artifacts": {"raw": f"/api/v1/jobs/x/artifacts/{MODEL}.cam.npy"},
    }
    path_steps = [{"node": node, "name": name, "probability": p, "map": None} for node, name, p in steps]
    document: dict[str, Any] = {
        "explanations": [
            {
                "model": MODEL,
                "prediction": {
                    "index": predicted,
                    "name": names[predicted],
                    "probability": 0.9,
                    "confidence": confidence,
                    "logit": 5.0,
                },
                "maps": [entry],
                "decision_path": {
                    "prediction": {"name": names[predicted]},
                    "agrees_with_network": agrees,
                    "weakest": int(np.argmin([p for *_, p in steps])),
                    "steps": path_steps,
                },
                "input": {"box": [0, 0, 40, 40]},
                **(judged or {}),
            }
        ],
        "warnings": [{"model": MODEL, "code": code} for code in codes],
    }
    image = ImageRecord("a" * 64, 40, 40, "PNG", path)
    maps = {f"{MODEL}.cam": raw}
    return Outcome(path, JobStatus.SUCCEEDED, image, None, answer_of(document), maps, label, box)


@pytest.fixture(scope="module")
def models(registry: Registry) -> dict[str, Known]:
    return known_models(registry, (MODEL,))


def part(row: Row, column: str) -> Any:
    return row[f"{MODEL}:{column}"]


def test_a_row_holds_prediction_path_certificate_and_proof(models: dict[str, Known]) -> None:
    row = to_row(outcome(label="Cat"), models)
    assert (row["path"], row["status"], row["label"]) == ("cats/1.png", "succeeded", "Cat")
    assert (part(row, "prediction"), part(row, "correct")) == ("cat", True)
    assert part(row, "path") == "animal (90.00%)"
    assert (part(row, "cam:exact"), part(row, "cam:residual")) == (True, 1e-7)
    assert part(row, "cam:faithfulness_deletion") == 0.4


def judged(node: str = "n02075296", *, level: str = "care", is_root: bool = False) -> dict[str, Any]:
    sure = {"node": node, "name": "carnivore", "probability": 0.91, "index": None, "class_count": 2, "is_root": is_root}
    return {
        "sure": sure | {"at": 0.76},
        "verdict": {"level": level, "reasons": ["sure_group", "narrow"], "text": "So."},
    }


def test_a_row_holds_the_sure_answer_and_the_verdict(models: dict[str, Known]) -> None:
    row = to_row(outcome(label="dog", judged=judged()), models)
    assert (part(row, "sure"), part(row, "sure_node"), part(row, "sure_index")) == ("carnivore", "n02075296", None)
    assert (part(row, "sure_probability"), part(row, "sure_class_count")) == (0.91, 2)
    assert (part(row, "verdict"), part(row, "verdict_reasons")) == ("care", "sure_group narrow")
    assert (part(row, "correct"), part(row, "sure_correct")) == (
        False,
        True,
    )  # a dog, called cat: a carnivore all the same
    assert part(to_row(outcome(label="ship", judged=judged()), models), "sure_correct") is False
    assert part(to_row(outcome(judged=judged()), models), "sure_correct") is None


def test_a_row_of_an_earlier_version_has_the_same_columns_without_values(models: dict[str, Known]) -> None:
    now, then = to_row(outcome(judged=judged()), models), to_row(outcome(), models)
    assert list(now) == list(then)
    assert {part(then, column) for column in ("sure", "sure_node", "sure_correct", "verdict", "verdict_reasons")} == {
        None
    }


def test_a_row_says_how_the_models_answers_relate(models: dict[str, Known]) -> None:
    one = outcome()
    pair = {"models": ["big", MODEL], "relation": "kind", "code": "kind_broad", "text": "A cat is a cat."}
    assert one.answer is not None
    told = replace(one, answer=answer_of({**one.answer.to_dict(), "agreement": [pair]}))
    assert to_row(told, models)["agreement"] == f"big, {MODEL}: kind"
    assert to_row(one, models)["agreement"] is None


@pytest.mark.parametrize("level", ["guess", "foreign"])
def test_a_verdict_that_warns_makes_a_picture_suspicious(models: dict[str, Known], level: str) -> None:
    plain, warned = (to_row(outcome(judged=judged(level=one)), models) for one in ("care", level))
    assert part(warned, "reasons") == level
    assert warned["suspicion"] > plain["suspicion"]


def test_the_page_shows_the_sure_answer_only_where_it_says_more_than_the_class(models: dict[str, Known]) -> None:
    rows = [to_row(outcome(judged=one), models) for one in (judged(), judged(is_root=True), None)]
    page = render(Report("Cats", [MODEL], rows, ClassMaps(), [[""]] * 3))
    (model,) = json.loads(re.findall(r'id="data">(.*?)</script>', page)[0])["models"]
    assert model["sure"] == ["carnivore 91.0%", None, None]
    assert model["verdict"] == ["care", "care", None]


def test_a_failed_picture_has_a_row_with_its_error_and_no_suspicion(models: dict[str, Known]) -> None:
    failed = Outcome("a.png", JobStatus.FAILED, error=JobError("invalid_image", "It is none."))
    row = to_row(failed, models)
    assert (row["status"], row["error_code"], row["error_message"]) == ("failed", "invalid_image", "It is none.")
    assert row["suspicion"] is None


def test_suspicion_grows_with_every_reason(models: dict[str, Known]) -> None:
    plain = to_row(outcome(label="cat"), models)
    cases = {
        "wrong": outcome(label="dog"),
        "inexact": outcome(exact=False),
        "disagrees": outcome(agrees=False),
        "weak_decision": outcome(steps=(("n00015388", "animal", 0.5),), codes=("weak_decision",)),
        "low_confidence": outcome(confidence=0.2, codes=("low_confidence",)),
    }
    for reason, one in cases.items():
        row = to_row(one, models)
        assert part(row, "reasons") == reason
        assert row["suspicion"] > plain["suspicion"]
    order = ["inexact", "wrong", "disagrees", "low_confidence"]
    scores = [to_row(cases[reason], models)["suspicion"] for reason in order]
    assert scores == sorted(scores, reverse=True)


def test_a_label_that_the_model_does_not_know_makes_nothing_wrong(models: dict[str, Known]) -> None:
    assert part(to_row(outcome(label="teapot"), models), "correct") is None


def test_a_path_leaves_where_it_parts_from_that_to_the_true_class(models: dict[str, Known], registry: Registry) -> None:
    tree = registry.get(MODEL).hierarchy
    assert tree is not None
    right = tree.path_to(3)
    steps = tuple((node, f"name of {node}", 0.9) for node in right)
    assert part(to_row(outcome(steps=steps, label="cat"), models), "leaves_at") is None
    astray = (*steps[:1], ("elsewhere", "elsewhere", 0.9))
    row = to_row(outcome(steps=astray, predicted=5, label="cat"), models)
    assert (part(row, "leaves_at"), part(row, "leaves_to")) == (f"name of {right[0]}", "elsewhere")


def test_evidence_outside_a_box_is_counted_by_area() -> None:
    raw = np.array([[2, 0], [0, -5]], np.float32)
    assert share_outside(raw, (0, 0, 10, 10), seen=(0, 0, 20, 20)) == 0
    assert share_outside(raw, (0, 0, 5, 10), seen=(0, 0, 20, 20)) == pytest.approx(0.5)
    assert share_outside(raw, (10, 10, 20, 20), seen=(0, 0, 20, 20)) == 1
    assert share_outside(-np.abs(raw), (0, 0, 5, 5), seen=(0, 0, 20, 20)) is None


@given(x=st.floats(0, 20), y=st.floats(0, 20), seed=st.integers(0, 99))
def test_inside_and_outside_of_two_halves_add_up(x: float, y: float, seed: int) -> None:
    raw = np.random.default_rng(seed).normal(size=(5, 7)).astype(np.float32)
    left = share_outside(raw, (0, 0, x, 20), seen=(0, 0, 20, 20))
    right = share_outside(raw, (x, 0, 20, 20), seen=(0, 0, 20, 20))
    assert left is not None and right is not None
    assert left + right == pytest.approx(1)
    whole = share_outside(raw, (0, y, 20, 20), seen=(0, 0, 20, 20))
    assert whole is not None and -1e-9 <= whole <= 1 + 1e-9


def test_mean_maps_are_those_of_all_parts_together() -> None:
    first, second, both = ClassMaps(), ClassMaps(), ClassMaps()
    first.add(outcome())
    for _ in range(2):
        second.add(outcome())
    both.merge(first)
    both.merge(ClassMaps.from_list(json.loads(json.dumps(second.to_list()))))
    assert both.counts == {(MODEL, "cat"): 3}
    assert both.mean((MODEL, "cat"))[0, 0] == pytest.approx(3)


def test_a_csv_file_reads_back(models: dict[str, Known]) -> None:
    rows = [to_row(outcome(), models), to_row(Outcome("b,\n.png", JobStatus.FAILED), models)]
    read = list(csv.DictReader(io.StringIO("".join(csv_lines(rows)))))
    assert [row["path"] for row in read] == ["cats/1.png", "b,\n.png"]
    assert float(read[0][f"{MODEL}:probability"]) == 0.9


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@x.png", "\t=1.png", "\r=1.png"])
def test_no_name_of_a_file_is_a_formula_in_a_spreadsheet(name: str, models: dict[str, Known]) -> None:
    (row,) = csv.DictReader(
        io.StringIO("".join(csv_lines([to_row(Outcome(name, JobStatus.FAILED), models)])), newline="")
    )
    assert row["path"] == f"'{name}"


# -- the page ------------------------------------------------------------------------------------------------------


def report_on(rows: list[Row], maps: ClassMaps | None = None) -> Report:
    thumbs = [[f"report/thumbs/{i}.jpg"] for i in range(len(rows))]
    return Report("holiday", [MODEL], rows, maps or ClassMaps(), thumbs)


class Scripts(HTMLParser):
    """The contents of a page's scripts and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.scripts, self.loads = False, [], []  # type: ignore[var-annotated]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts.append(data)
            self.inside = False


def test_names_from_outside_cannot_leave_their_place_in_the_page(models: dict[str, Known]) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{script}{data}"
    row = to_row(outcome(evil, label=evil), models)
    page = render(Report(evil, [MODEL], [row], ClassMaps(), [["x.jpg"]]))
    parser = Scripts()
    parser.feed(page)
    assert len(parser.scripts) == 2 and parser.loads == []
    assert json.loads(parser.scripts[0])["paths"] == [evil]


def test_the_page_speaks_japanese_where_that_is_asked_for(models: dict[str, Known]) -> None:
    broken = Outcome("b.png", JobStatus.FAILED, error=JobError("timeout", "Explaining took too long."))
    cancelled = Outcome("c.png", JobStatus.CANCELLED, error=unanswered(JobStatus.CANCELLED))
    rows = [to_row(one, models) for one in (outcome(), broken, cancelled)]
    page = render(replace(report_on(rows), language="ja"))
    assert '<html lang="ja">' in page and "holiday: 画像 3 枚の説明" in page and "疑わしい順" in page
    parser = Scripts()
    parser.feed(page)
    data = json.loads(parser.scripts[0])
    assert data["words"]["weak decision"] == "弱い判断"
    assert data["errors"] == [
        ["timeout", "説明にかかる時間が、このサービスの上限を超えました。"],
        ["cancelled", "取り消されました。"],
    ]


def test_the_page_loads_nothing_from_elsewhere_and_says_so(models: dict[str, Known]) -> None:
    page = render(report_on([to_row(outcome(), models)]))
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "default-src &#x27;none&#x27;" in page
    assert "unsafe" not in content_security_policy() and "http" not in content_security_policy()


def test_the_page_and_its_figures_say_where_classes_leave(models: dict[str, Known], tmp_path: Path) -> None:
    rows = [to_row(outcome(label="cat"), models), to_row(outcome(label="dog", predicted=3), models)]
    maps = ClassMaps()
    maps.add(outcome())
    report = report_on(rows, maps)
    summary = summary_of(report, MODEL)
    assert [one["label"] for one in summary["confusion"]] == ["cat", "dog"]
    assert sum(summary["decisions"]) == 2
    written = write_charts(report, tmp_path)
    assert {path.suffix for path in written} == {".svg", ".png"}
    assert {path.name.split(".")[-2] for path in written} >= {"decisions", "means"}


def test_boxes_give_a_histogram_of_evidence_outside(models: dict[str, Known]) -> None:
    rows = [to_row(outcome(box=(0, 0, 10, 10)), models)]
    outside = summary_of(report_on(rows), MODEL)["outside"]
    assert (outside["pictures"], outside["mean"]) == (1, 0.25)
