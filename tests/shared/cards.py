"""Model cards for tests that need names and classes, but no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.cards.card import InputSpec, ModelCard, WeightsSpec

CARD: dict[str, Any] = {
    "name": "pets",
    "title": "Pets",
    "architecture": "resnet18",
    "class_count": 3,
    "classes": ["tabby, tabby cat", "dog", "Great Dane"],
    "wnids": ["n1", "n2", "n3"],
    "input": {"resize": 256, "crop": 224, "size": 224, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    "layer": "layer4",
    "weights": {"file": "weights.safetensors", "sha256": "0" * 64},
    "tree_supervised": True,
    "facts": {"licence": "MIT"},
}


def card(name: str, *classes: str) -> ModelCard:
    return ModelCard(
        name=name,
        title=name,
        architecture="resnet18",
        class_count=len(classes),
        classes=classes,
        wnids=(),
        input=InputSpec(8, 8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        layer="layer4",
        weights=WeightsSpec("w", ""),
        tree_supervised=False,
        folder=Path("/nonexistent"),
        weights_path=Path("/nonexistent/w"),
    )


def write_card(folder: Path, **changes: Any) -> Path:
    """A card in `folder`/NAME; a value of None takes the key away."""
    data = {key: value for key, value in (CARD | changes).items() if value is not None}
    path = folder / str(data.get("name", "nameless")) / "card.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), "utf-8")
    return path
