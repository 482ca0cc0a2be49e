"""The block `reliability` of a card, for tests."""

from __future__ import annotations

from typing import Any

CALIBRATION: dict[str, Any] = {
    "data": "pets, 100 pictures",
    "seed": 0,
    "fitted_on": 50,
    "measured_on": 50,
    "temperature": 1.25,
    "ece_raw": 0.08,
    "ece_calibrated": 0.03,
    "ece_bound": 0.04,
    "confidence_threshold": 0.45,
    "share_below": 0.2,
    "accuracy_below": 0.4,
    "familiarity": {
        "kind": "energy",
        "threshold": 3.5,
        "false_alarm": 0.05,
        "false_alarm_measured": 0.06,
        "detection": {"noise": {"auroc": 0.99, "detected": 0.9}},
        "detection_of_other_kind": {"noise": {"auroc": 0.98, "detected": 0.8}},
    },
    "tree": {
        "mode": "soft",
        "temperatures": {"root": 0.9},
        "nodes": 4,
        "nodes_within_bound": 4,
        "nodes_within_bound_raw": 1,
        "weak_accuracy": 0.75,
        "weak_below": {"soft": 0.7, "hard": 0.7, "marginal": 0.72},
    },
}
