"""Explaining whole pictures, as most tests have them at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from shared.images.decode import Photo
from worker.engine.models import Model
from worker.explain.explanations import Explained
from worker.explain.explanations import explain as explain_photos
from worker.explain.forward import Question
from worker.explain.progress import OnProgress, ignore


def explain(
    model: Model, pictures: Sequence[Image.Image], questions: Sequence[Question], *, progress: OnProgress = ignore
) -> list[Explained]:
    return explain_photos(model, [Photo.whole(picture) for picture in pictures], questions, progress=progress)


def document(explained: Explained) -> dict[str, Any]:
    """What is stored of an explanation, and its warnings."""
    return {**explained.explanation.to_dict(), "warnings": [warning.to_dict() for warning in explained.warnings]}
