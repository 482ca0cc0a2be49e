"""What the bars share: the shipped models with held-out pictures, their features and logits, each made once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from shared.cards.card import Registry
from shared.images.decode import Photo
from training.pictures import Photographs, Pictures, cifar10, photos100, photos1000
from worker.algebra.kinship import Kinships
from worker.engine.inputs import to_tensor
from worker.engine.model_cache import ModelCache
from worker.engine.models import Model
from worker.explain.agreement import ModelAnswer
from worker.explain.explanations import explain
from worker.explain.forward import Question

T = TypeVar("T")
Sizes = Mapping[str, int]  # how many pictures, seeds, ... a bar takes, by what they are called in its module

CIFAR, PHOTOS = "nbdt-cifar10", "resnet18-photos100"
SHIPPED = (CIFAR, PHOTOS)  # those that have held-out pictures
IMAGENET = "efficientnet-lite0-imagenet"
PHOTOGRAPHS = "photos1000-sample.npz"
BATCH = 50
ANSWER_ALONE = Question(tree=None, methods=())
HELD_OUT = {CIFAR: ("test", cifar10), PHOTOS: ("val", photos100)}


class HeldOut:
    """A model and the held-out pictures of its data set, in a seeded order, so that the first n are a random sample."""

    def __init__(self, model: Model, pictures: Pictures, *, store: Path) -> None:
        self.model = model
        self.pictures = pictures
        self._store = store
        self._features = torch.empty(0)

    def __len__(self) -> int:
        return len(self.pictures)

    def measured(self, count: int) -> range:
        """The first `count` images of the second half. The first half may have chosen a temperature or a limit."""
        half = len(self) // 2
        return range(half, min(half + count, len(self)))

    def picture(self, index: int) -> Image.Image:
        return Image.fromarray(self.pictures.images[index].permute(1, 2, 0).numpy())

    def inputs(self, indices: Iterable[int]) -> Tensor:
        """Network inputs of some pictures, N x 3 x S x S, made the way that a served picture goes."""
        return torch.stack([to_tensor(self.picture(index), self.model.card.input) for index in indices])

    def features(self, count: int) -> Tensor:
        """Feature maps of the first `count` pictures, N x D x h x w; kept in memory."""
        have = len(self._features)
        if have < min(count, len(self)):
            added = [self.model.features(x) for x in self._batches(have, count)]
            self._features = torch.cat([self._features, *added] if have else added)
        return self._features[:count]

    @cached_property
    def logits(self) -> Tensor:
        """Of all pictures, N x K; kept on disk."""
        if self._store.exists():
            return torch.from_numpy(np.load(self._store))
        parts = [self.model.logits(part) for part in self._features.split(BATCH)] if len(self._features) else []
        parts += [self.model.logits(self.model.features(x)) for x in self._batches(len(self._features), len(self))]
        logits = torch.cat(parts)
        self._store.parent.mkdir(parents=True, exist_ok=True)
        np.save(self._store, logits.numpy())
        return logits

    @property
    def labels(self) -> Tensor:
        return self.pictures.labels

    def _batches(self, start: int, stop: int) -> Iterator[Tensor]:
        stop = min(stop, len(self))
        for first in progress(range(start, stop, BATCH), f"{self.model.card.name}, {stop - start} pictures"):
            yield self.inputs(range(first, min(first + BATCH, stop)))


class Context:
    """One run of the rig. `limit` bounds the held-out pictures of each model."""

    def __init__(self, registry: Registry, *, data: Path, store: Path, seed: int = 0, limit: int | None = None) -> None:
        self.registry = registry
        self.seed = seed
        self._data = data
        self._store = store
        self._limit = limit
        # What bf16 changes stands in the cards; in fp32 the figures do not depend on the processor.
        self._model_cache = ModelCache(registry, precision="fp32")
        self._held_out: dict[str, HeldOut] = {}
        self._answers: dict[str, list[ModelAnswer]] = {}

    def model(self, name: str) -> Model:
        return self._model_cache.get(name)

    def held_out(self, name: str) -> HeldOut:
        """Raises FileNotFoundError where the pictures are not at hand."""
        if name not in self._held_out:
            split, read = HELD_OUT[name]
            if not self._data.is_dir():
                raise FileNotFoundError(f"{self._data.name}/ with the held-out pictures is not beside the project")
            pictures = _shuffled(read(split, self._data), seed=self.seed, limit=self._limit)
            key = f"{self.model(name).card.weights.sha256[:16]}-{self.seed}-{len(pictures)}"
            self._held_out[name] = HeldOut(self.model(name), pictures, store=self._store / f"logits-{name}-{key}.npy")
        return self._held_out[name]

    @cached_property
    def photographs(self) -> Photographs:
        """Full-size photographs of ImageNet's classes in a seeded order. Raises FileNotFoundError where they are not at
        hand."""
        if not (self._data / PHOTOGRAPHS).exists():
            raise FileNotFoundError(f"{self._data.name}/{PHOTOGRAPHS} with the photographs is not beside the project")
        found = photos1000(self._data)
        order = _order(len(found), seed=self.seed, limit=self._limit)
        return Photographs(tuple(found.files[i] for i in order.tolist()), found.labels[order])

    def answers(self, name: str, photos: Sequence[Photo]) -> list[ModelAnswer]:
        """What the product answers to some images, as verdicts go by it."""
        model, found = self.model(name), list[ModelAnswer]()
        for first in progress(range(0, len(photos), BATCH), f"{name}, {len(photos)} images"):
            batch = photos[first : first + BATCH]
            found += [one.answer for one in explain(model, batch, [ANSWER_ALONE] * len(batch))]
        return found

    def answers_to_photographs(self, name: str) -> list[ModelAnswer]:
        """Kept in memory. Raises FileNotFoundError where there are none."""
        if name not in self._answers:
            self._answers[name] = self.answers(name, self.photographs.photos(slice(None)))
        return self._answers[name]

    def answers_to_held_out(self, name: str, count: int) -> list[ModelAnswer]:
        """To the first `count` held-out images of those that chose no limit of the card; kept in memory."""
        held, key = self.held_out(name), f"{name}, held out"
        if len(self._answers.get(key, ())) < count:
            self._answers[key] = self.answers(name, [Photo.whole(held.picture(i)) for i in held.measured(count)])
        return self._answers[key][:count]

    @property
    def kinships(self) -> Kinships:
        return self._model_cache.kinships

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def logits_of(answers: Sequence[ModelAnswer]) -> Tensor:
    """N x K."""
    return torch.from_numpy(np.stack([answer.logits for answer in answers]))


def progress(items: Iterable[T], description: str) -> Iterable[T]:
    """Show on the terminal how far a loop is."""
    return track(items, f"  {description}", transient=True)


def _shuffled(pictures: Pictures, *, seed: int, limit: int | None) -> Pictures:
    order = _order(len(pictures), seed=seed, limit=limit)
    boxes = None if pictures.boxes is None else pictures.boxes[order]
    return Pictures(pictures.images[order], pictures.labels[order], pictures.names, pictures.wnids, boxes)


def _order(count: int, *, seed: int, limit: int | None) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:limit]
