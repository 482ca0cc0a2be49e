"""The alert rules name what /metrics really tells, and every alert is explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from shared.store.overview import observed
from tests.shared.submissions import submission
from tests.shared.test_pools import here
from tests.web.test_access import make_app

DOCUMENT = yaml.safe_load((REPOSITORY / "deploy" / "alerts.yml").read_text("utf-8"))
RULES: list[dict[str, Any]] = [rule for group in DOCUMENT["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]
PAGE = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
# Of PromQL, what the rules use.
FUNCTIONS = {"sum", "rate", "increase", "resets", "abs", "histogram_quantile", "predict_linear"}
WORDS = {"and", "by", "on"}
DURATION = re.compile(r"\d+[smhd]")
Labels = dict[str, set[str]]


@pytest.fixture
def series(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> dict[str, Labels]:
    """Every series of a service that has worked, by name, with the values of its labels."""
    client: FlaskClient = make_app(settings, store, blobs, registry).test_client()
    here(store, settings, "worker@here")
    store.submit(submission())
    (claim,) = store.claim(1, claim_id="a")
    store.succeed(claim, "b" * 64, compute_ms=1.0)
    store.add(observed("stage:decode", 3.0), operation="a")  # as a worker does
    for method, path in (("GET", "/api/v1/jobs/x"), ("POST", "/api/v1/jobs"), ("GET", "/metrics")):
        client.open(path, method=method)
    found: dict[str, Labels] = {"up": {"job": {"pathlight"}}}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for name, labels, *_ in family.samples:
            values = found.setdefault(name, {})
            for label, value in labels.items():
                values.setdefault(label, set()).add(value)
    return found


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """The series that an expression reads, each with the labels that it asks for."""
    bare = re.sub(r"\b(by|on) \([\w, ]+\)", "", expression)
    pairs = re.findall(r"([a-zA-Z_]\w*)(?:\{([^}]*)\})?", re.sub(r"\[\w+\]", "", bare))
    return [
        (name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in pairs if name not in FUNCTIONS | WORDS
    ]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_is_whole(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Pathlight[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert all(DURATION.fullmatch(found) for found in [rule.get("for", "0s"), *re.findall(r"\[(\w+)\]", rule["expr"])])
    for opened, closed in ("()", "[]", "{}"):
        assert rule["expr"].count(opened) == rule["expr"].count(closed)
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert label in rule["expr"] or label in ("instance", "lane", "model"), label


def test_every_rule_reads_only_what_is_told(series: dict[str, Labels]) -> None:
    for rule in RULES:
        read = selectors(rule["expr"])
        assert read, rule["alert"]
        for name, labels in read:
            assert name in series, f"{rule['alert']}: {name}"
            for label, value in labels.items():
                known = series[name].get(label, set())
                assert value in known or (label == "status" and value.isdecimal() and known), (rule["alert"], label)
        for labels_of in re.findall(r"\bby \(([\w, ]+)\)", rule["expr"]):
            for label in labels_of.split(", "):
                assert any(label in series[name] for name, _ in read), (rule["alert"], label)


def test_a_name_that_is_not_told_would_be_found(series: dict[str, Labels]) -> None:
    read = selectors('sum by (lane) (rate(pathlight_gone_total{lane="x"}[5m])) > 0 and on (lane) pathlight_jobs')
    assert read == [("pathlight_gone_total", {"lane": "x"}), ("pathlight_jobs", {})]
    assert "pathlight_gone_total" not in series


def test_names_are_given_once_and_every_alert_is_explained() -> None:
    explained = re.findall(r"^\| `(Pathlight\w+)` \|", PAGE, flags=re.MULTILINE)
    assert explained == NAMES and len(set(NAMES)) == len(NAMES)


def test_every_metric_stands_on_the_page_and_no_other(series: dict[str, Labels]) -> None:
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series if name != "up"}
    listed = set(re.findall(r"^\| `(pathlight_\w+)`", PAGE, flags=re.MULTILINE))
    assert listed == {name for name in base if not name.endswith("_created")}


def test_redis_counts_as_full_where_submits_are_refused() -> None:
    prelude = (REPOSITORY / "shared" / "store" / "scripts" / "prelude.lua").read_text("utf-8")
    share = re.search(r"JOB_SHARE = (0\.\d+)", prelude)
    rule = next(rule for rule in RULES if rule["alert"] == "PathlightRedisFull")
    assert share is not None and f"> {share[1]} * " in rule["expr"]
