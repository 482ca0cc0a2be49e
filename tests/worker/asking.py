"""Explaining whole pictures, as most tests have them at hand."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from shared.images import Photo
from worker.explain import Explanation
from worker.explain import explain as explain_photos
from worker.forward import Progress, Question, ignore
from worker.models import Model


def explain(
    model: Model, pictures: Sequence[Image.Image], questions: Sequence[Question], *, progress: Progress = ignore
) -> list[Explanation]:
    return explain_photos(model, [Photo.whole(picture) for picture in pictures], questions, progress=progress)
