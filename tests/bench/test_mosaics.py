"""The grid pointing game and its control, Guided Backprop, on planted cases."""

from __future__ import annotations

import torch
from torch import nn

from bench.quality import mosaics
from bench.quality.guided import guided, guided_gradients
from shared.cards.card import Registry
from worker.engine.models import Model


def test_guided_backprop_passes_only_positive_gradients_of_active_units() -> None:
    layer = nn.Sequential(nn.ReLU())
    x = torch.tensor([1.0, 1.0, -1.0], requires_grad=True)
    (guided(layer)(x) * torch.tensor([2.0, -3.0, 4.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 0, 0]
    assert isinstance(layer[0], nn.ReLU)


def test_guided_gradients_of_two_classes_differ_only_where_their_targets_do(registry: Registry) -> None:
    model = Model.load(registry.get("nbdt-cifar10"))
    pictures = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[3, 5, 3]] * len(pictures))
    gradients = guided_gradients(model, pictures, targets)
    assert gradients.shape == (4, 3, 3, 32, 32)
    assert torch.equal(gradients[:, 0], gradients[:, 2])
    assert not torch.equal(gradients[:, 0], gradients[:, 1])


def test_a_map_on_its_own_corner_has_all_its_mass_there_and_an_even_one_a_quarter() -> None:
    right = torch.zeros(1, 4, 6, 6)
    for corner in range(4):
        row, column = divmod(corner, 2)
        right[0, corner, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = 1
    assert mosaics.right_shares(right).tolist() == [1.0]
    assert mosaics.right_shares(right.flip(1)).tolist() == [0.0]
    assert mosaics.right_shares(torch.ones(1, 4, 6, 6)).tolist() == [mosaics.CHANCE]
    assert mosaics.right_shares(-torch.ones(1, 4, 6, 6)).tolist() == [0.0]


def test_mosaics_are_of_four_classes_among_the_surest_right_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(6, (200,), generator=generator)
    logits = 10.0 * nn.functional.one_hot(labels, 6)
    logits[:50] = logits[:50].roll(1, 1)  # wrong
    logits[50:100] /= 10  # right, but less sure
    places = mosaics.fours(logits, labels, count=12, generator=generator)
    assert places.shape == (12, 4)
    assert places.min() >= 100
    assert len(set(places.flatten().tolist())) == 48
    assert all(len(set(labels[row].tolist())) == 4 for row in places)
    assert mosaics.fours(logits[:50], labels[:50], count=3, generator=generator).shape == (0, 4)
