"""Distillation: a network learns from the answers of another one, its teacher, as well as from the labels (1503.02531).

The teacher answers once, before the training, on every whole picture and on its mirror image. A training view of a
picture is taught the answer to the side that it shows. The answers lie in a file that fills up chunk by chunk, so that
an interrupted run continues where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, lerp
from torch.nn import functional

from shared.cards.card import Registry
from shared.files import replacing
from shared.settings import Settings
from worker.engine.models import Model

CHUNK = 50  # pictures that the teacher sees together; at most so many are asked again after an interruption
SIDES = 2  # of a picture: as it is, and its mirror image


@dataclass(frozen=True)
class Teacher:
    """A loaded model, asked about some of its classes only."""

    model: Model
    columns: tuple[int, ...]  # the asked classes, as indices of the model's own
    size: int  # pixels to which a picture is enlarged

    @classmethod
    def load(cls, name: str, *, wnids: Sequence[str], size: int) -> Teacher:
        """Raises ModelUnavailable where the model is not ready, ValueError where it lacks a class."""
        card = Registry.load(Settings.load()).ready(name)
        if missing := sorted(set(wnids) - set(card.wnids)):
            raise ValueError(f"{name} does not have the classes {', '.join(missing)}")
        return cls(Model.load(card), tuple(card.wnids.index(wnid) for wnid in wnids), size)

    def logits(self, images: Tensor) -> Tensor:
        """uint8 N x 3 x H x W -> N x K, over the asked classes."""
        spec = self.model.card.input
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
        normal = (images.float() / 255 - mean) / std
        enlarged = functional.interpolate(normal, size=self.size, mode="bilinear", align_corners=False)
        found = self.model.logits(self.model.features(enlarged)).cpu()
        return found[:, list(self.columns)]

    def key(self, images: Tensor, labels: Tensor) -> str:
        """Names the answers: another teacher, size, class or picture is another key."""
        asked = [self.model.card.weights.sha256, self.columns, self.size, images.shape]
        digest = hashlib.sha256(json.dumps(asked).encode())
        for tensor in (labels, images):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:12]


def ask(teacher: Teacher, images: Tensor, labels: Tensor, *, folder: Path) -> Tensor:
    """The teacher's logits of uint8 N x 3 x H x W pictures and their mirror images: fp16 N x 2 x K.

    They stay in `folder`. Only what is missing there is computed.
    """
    path = folder / f"answers-{teacher.key(images, labels)}.npy"
    answers = _open(path, shape=(len(images), SIDES, len(teacher.columns)))
    unasked = torch.from_numpy(np.isnan(answers).any((1, 2))).nonzero()[:, 0]
    for chosen in track(unasked.split(CHUNK) if len(unasked) else [], "asking the teacher"):
        pictures = images[chosen]
        sides = [teacher.logits(side) for side in (pictures, pictures.flip(3))]
        answers[chosen.numpy()] = torch.stack(sides, 1).half().numpy()
    answers.flush()
    return torch.from_numpy(np.array(answers))


def _open(path: Path, *, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.float16]]:
    """An array on disk; what nobody has written yet is NaN."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, _nothing(shape))
    return np.lib.format.open_memmap(path, "r+")


def _nothing(shape: tuple[int, ...]) -> NDArray[np.float16]:
    return np.full(shape, np.nan, np.float16)


def lessons(labels: Tensor, answers: Tensor, *, mirrored: Tensor, temperature: float) -> Tensor:
    """What a network is to answer: the label with probability 1, and the teacher's probabilities of the side that a
    view shows. N labels, N x 2 x K logits, N times whether mirrored -> N x 2 x K."""
    shown = answers[torch.arange(len(labels)), mirrored.long()].float()
    certain = functional.one_hot(labels, answers.shape[-1]).float()
    return torch.stack([certain, (shown / temperature).softmax(1)], 1)


def distillation_loss(logits: Tensor, lessons: Tensor, *, teacher_share: float, temperature: float) -> Tensor:
    """(1 - w) * cross-entropy + w * T^2 * KL(teacher, network), a scalar >= 0, of N x K logits and N x 2 x K lessons.

    In the second term both are softened by the temperature T; T^2 keeps its gradient at the size of the first one's.
    """
    certain, softened = lessons.unbind(1)
    plain = functional.cross_entropy(logits, certain)
    apart = functional.kl_div((logits / temperature).log_softmax(1), softened, reduction="batchmean")
    return lerp(plain, temperature**2 * apart, teacher_share)
