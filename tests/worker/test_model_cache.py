"""The models of a worker process: each version loaded once, jobs answered by theirs, and none kept for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from shared.cards.card import ModelCard
from shared.cards.declarations import Declaration
from shared.cards.registry import LiveRegistry
from shared.errors import InvalidOption, ModelUnavailable
from shared.images.decode import Photo
from shared.jobs import JobOptions
from shared.settings import Settings
from worker.engine.admission import admit, dismiss
from worker.engine.architectures import build
from worker.engine.model_cache import ModelCache
from worker.explain.answers import answer
from worker.explain.query import Query

NAMES = ["cat", "dog", "owl"]
PETS = JobOptions(("pets",))


@pytest.fixture
def add(settings: Settings, tmp_path: Path) -> Callable[[int], ModelCard]:
    """Adds `pets` with weights by which it says the class of this index, whatever it sees."""
    torch.manual_seed(0)
    state = build("timm/test_resnet", len(NAMES)).state_dict()

    def take_on(index: int) -> ModelCard:
        torch.save(state | {"fc.bias": 100 * torch.eye(3)[index]}, tmp_path / "w.pth")
        entry = {"architecture": "timm/test_resnet", "weights": "w.pth", "classes": NAMES, "size": 64}
        return admit(Declaration("pets", entry, tmp_path), settings, say=lambda what: None)

    return take_on


@pytest.fixture
def photo() -> Photo:
    return Photo.whole(Image.new("RGB", (64, 64), "teal"))


def said(model_cache: ModelCache, *queries: Query) -> list[tuple[str, str]]:
    """What each answer is, and the version that its result names."""
    documents = [result.document for result in answer(model_cache, queries)]
    return [
        (one["explanations"][0]["prediction"]["name"], one["provenance"]["models"]["pets"]["version"])
        for one in documents
    ]


def test_each_job_of_a_batch_is_answered_by_the_version_that_it_names(
    settings: Settings, add: Callable[[int], ModelCard], photo: Photo
) -> None:
    versions = [add(index).fingerprint for index in range(3)]
    model_cache = ModelCache(LiveRegistry(settings, look_seconds=0))
    queries = [Query(photo, PETS, model_cache.cards(["pets"], {"pets": version})) for version in versions]
    found = said(model_cache, *queries, Query(photo, PETS))
    assert found == list(zip([*NAMES, "owl"], [*versions, versions[2]], strict=True))


def test_a_job_that_names_no_version_is_answered_by_the_current_one_as_soon_as_it_is_there(
    settings: Settings, add: Callable[[int], ModelCard], photo: Photo
) -> None:
    model_cache = ModelCache(LiveRegistry(settings, look_seconds=0))
    with pytest.raises(InvalidOption, match="'pets' is not a model"):
        said(model_cache, Query(photo, PETS))
    for index in (1, 0):
        version = add(index).fingerprint
        assert said(model_cache, Query(photo, PETS)) == [(NAMES[index], version)]


def test_a_removed_model_answers_what_was_accepted_and_nothing_else(
    settings: Settings, add: Callable[[int], ModelCard], photo: Photo
) -> None:
    version = add(1).fingerprint
    model_cache = ModelCache(LiveRegistry(settings, look_seconds=0))
    dismiss("pets", settings)
    assert said(model_cache, Query(photo, PETS, model_cache.cards(["pets"], {"pets": version}))) == [("dog", version)]
    with pytest.raises((InvalidOption, ModelUnavailable)):
        said(model_cache, Query(photo, PETS))


def test_a_version_is_loaded_once_and_dropped_when_it_was_replaced_and_nobody_asks_for_it(
    settings: Settings, add: Callable[[int], ModelCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = add(0)
    model_cache = ModelCache(LiveRegistry(settings, look_seconds=0))
    model = model_cache.load(old)
    assert model_cache.load(old) is model is model_cache.get("pets")
    model_cache.drop_retired()
    assert model_cache.load(old) is model, "it counts"
    new = model_cache.load(add(1))
    model_cache.drop_retired()
    assert model_cache.load(old) is model, "it was asked for a moment ago"
    monkeypatch.setattr("worker.engine.model_cache.IDLE_SECONDS", -1)
    model_cache.drop_retired()
    assert model_cache.get("pets") is new and model_cache.load(old) is not model
