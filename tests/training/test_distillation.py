"""Learning from a teacher: its answers are kept and resumed, and the loss weighs them against the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from shared.cards.card import Registry
from training import augment, photos100
from training.distillation import CHUNK, Teacher, ask, distillation_loss, lessons
from training.fit import Recipe, fit
from worker.engine.models import Model

COUNT, CLASSES = 2 * CHUNK + 7, 3
RNG = Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (COUNT, 3, 8, 8), generator=RNG).to(torch.uint8)
LABELS = torch.arange(COUNT) % CLASSES
LOGITS = torch.randn(COUNT, CLASSES, generator=RNG)


@dataclass(frozen=True)
class Brightness(Teacher):
    """Answers with the mean of three columns of pixels, so that sides differ. Ends with an error after `most`
    pictures."""

    asked: list[int]  # pictures, by call
    most: int = 10**9

    def logits(self, images: Tensor) -> Tensor:
        if sum(self.asked) >= self.most:
            raise KeyboardInterrupt
        self.asked.append(len(images))
        return images[:, 0, :, : len(self.columns)].float().mean(1) / 100


@pytest.fixture
def teacher(registry: Registry) -> Brightness:
    model = Model(registry.get(photos100.TEACHER), nn.Identity(), nn.Identity())
    return Brightness(model, columns=(4, 0, 2), size=8, asked=[])


def test_the_answers_are_those_of_the_pictures_and_of_their_mirror_images(teacher: Brightness, tmp_path: Path) -> None:
    answers = ask(teacher, IMAGES, LABELS, folder=tmp_path)
    assert answers.shape == (COUNT, 2, CLASSES)
    for side, shown in enumerate((IMAGES, IMAGES.flip(3))):
        assert torch.equal(answers[:, side], teacher.logits(shown).half())


def test_answers_that_are_there_are_not_asked_for_again(teacher: Brightness, tmp_path: Path) -> None:
    whole = ask(replace(teacher, asked=[]), IMAGES, LABELS, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        ask(replace(teacher, asked=[], most=2 * CHUNK), IMAGES, LABELS, folder=tmp_path)
    later, last = replace(teacher, asked=[]), replace(teacher, asked=[])
    assert torch.equal(ask(later, IMAGES, LABELS, folder=tmp_path), whole)
    assert sum(later.asked) == 2 * (COUNT - CHUNK)
    assert torch.equal(ask(last, IMAGES, LABELS, folder=tmp_path), whole)
    assert last.asked == []


def test_other_pictures_labels_classes_or_sizes_have_other_answers(teacher: Brightness) -> None:
    changed = IMAGES.clone()
    changed[-1, 2, 7, 7] ^= 1
    keys = [
        teacher.key(IMAGES, LABELS),
        teacher.key(changed, LABELS),
        teacher.key(IMAGES, LABELS.flip(0)),
        replace(teacher, columns=(0, 2, 4)).key(IMAGES, LABELS),
        replace(teacher, size=9).key(IMAGES, LABELS),
    ]
    assert len(set(keys)) == len(keys)
    assert teacher.key(IMAGES.clone(), LABELS.clone()) == keys[0]


def test_a_teacher_answers_over_the_asked_classes_as_its_model_does() -> None:
    wnids = ("n01443537", "n07753592")
    found = Teacher.load(photos100.TEACHER, wnids=wnids, size=64)
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=Generator().manual_seed(1)).to(torch.uint8)
    spec = found.model.card.input
    normal = (images.float() / 255 - spec.mean[0]) / spec.std[0]
    every = found.model.logits(found.model.features(normal))
    columns = [found.model.card.wnids.index(wnid) for wnid in wnids]
    assert torch.allclose(found.logits(images), every[:, columns], atol=1e-5)


def test_a_teacher_without_one_of_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="n99999999"):
        Teacher.load(photos100.TEACHER, wnids=("n01443537", "n99999999"), size=64)


def test_the_teacher_of_the_photographs_has_all_their_classes(registry: Registry) -> None:
    assert set(registry.get("resnet18-photos100").wnids) <= set(registry.get(photos100.TEACHER).wnids)


def test_a_view_is_taught_the_label_and_the_answer_to_the_side_that_it_shows() -> None:
    answers = torch.randn(4, 2, CLASSES, generator=Generator().manual_seed(0)).half()
    mirrored = torch.tensor([False, True, True, False])
    found = lessons(LABELS[:4], answers, mirrored=mirrored, temperature=2.0)
    assert torch.equal(found[:, 0], functional.one_hot(LABELS[:4], CLASSES).float())
    for row, side in enumerate((0, 1, 1, 0)):
        assert torch.allclose(found[row, 1], (answers[row, side].float() / 2).softmax(0))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_lies_between_that_of_the_labels_and_the_distance_to_the_teacher(share: float) -> None:
    temperature = 2.0
    answers = torch.randn(COUNT, 2, CLASSES, generator=Generator().manual_seed(2))
    wanted = lessons(LABELS, answers, mirrored=torch.zeros(COUNT, dtype=torch.bool), temperature=temperature)
    own, theirs = ((z.double() / temperature).softmax(1) for z in (LOGITS, answers[:, 0]))
    distance = (theirs * (theirs / own).log()).sum(1).mean() * temperature**2
    expected = (1 - share) * functional.cross_entropy(LOGITS, LABELS) + share * distance
    loss = distillation_loss(LOGITS, wanted, teacher_share=share, temperature=temperature)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_who_answers_as_the_teacher_does_has_nothing_to_learn_from_it() -> None:
    wanted = lessons(
        LABELS, LOGITS[:, None].expand(-1, 2, -1), mirrored=torch.ones(COUNT, dtype=torch.bool), temperature=3.0
    )
    logits = LOGITS.clone().requires_grad_()
    loss = distillation_loss(logits, wanted, teacher_share=1.0, temperature=3.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None and logits.grad.abs().max() < 1e-6


def test_the_loop_hands_the_loss_the_lessons_of_the_pictures_in_the_batch(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, batch=20, peak_rate=0.1, weight_decay=0.0, mean=(0, 0, 0), std=(1, 1, 1), chunk=10)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    seen: list[Tensor] = []
    shown: list[Tensor] = []

    def view(pictures: Tensor, indices: Tensor, epoch: int, rng: Generator) -> Tensor:
        shown.append(torch.stack([indices, torch.full_like(indices, epoch)], 1))
        return pictures

    def loss(logits: Tensor, wanted: Tensor, share: float) -> Tensor:
        seen.append(wanted)
        return logits.square().mean()

    fit(
        network,
        recipe,
        IMAGES,
        LABELS,
        loss=loss,
        view=view,
        checkpoint=tmp_path / "run.pt",
        targets=lambda indices, epoch: torch.stack([indices, torch.full_like(indices, epoch)], 1),
    )
    assert torch.equal(torch.cat(seen).cpu(), torch.cat(shown))
    assert [len(part) for part in seen] == [10] * (2 * 2 * (COUNT // 20))


def test_a_view_is_mirrored_where_it_is_said_to_be() -> None:
    pictures, indices = torch.rand(30, 3, 4, 4), torch.arange(30)
    for epoch in (0, 1):
        flipped = augment.alternating_flip(pictures, indices, epoch=epoch)
        sides = augment.mirrored(indices, epoch=epoch)
        assert torch.equal(flipped[sides], pictures[sides].flip(3))
        assert torch.equal(flipped[~sides], pictures[~sides])


def test_a_training_with_another_loss_does_not_continue_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = photos100.checkpoint(tmp_path)
    assert photos100.checkpoint(tmp_path) == before
    monkeypatch.setattr(photos100, "TEACHER_SHARE", 0.9)
    assert photos100.checkpoint(tmp_path) != before
