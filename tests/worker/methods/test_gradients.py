"""Integrated gradients: complete, and exact where the network is linear."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from tests.worker.methods.subjects import SIDE, Small, noise, silent, subject_of
from worker.engine.models import Model
from worker.methods.attribution import Subject
from worker.methods.integrated_gradients import STEPS, TOLERANCE
from worker.methods.integrated_gradients import attribute as integrated_gradients


def test_of_a_linear_network_the_map_is_weight_times_pixel() -> None:
    weight = torch.tensor([[1.0, -2, 3], [0.5, 0, -1]])
    subject = subject_of(Small(nn.Identity(), weight, torch.tensor([0.25, -4.0])), noise(2), [0, 1])
    answer = integrated_gradients(subject, seed=0, watch=silent)
    assert answer.constants is not None
    assert answer.constants.tolist() == [0.25, -4.0]
    expected = torch.einsum("nd,ndhw->nhw", weight, subject.inputs)
    assert answer.maps.shape == (2, SIDE, SIDE)
    assert torch.allclose(answer.maps, expected, atol=1e-5)


def test_of_a_photograph_the_map_is_complete_within_captums_delta(
    load: Callable[[str], Model], ask: Callable[..., Subject]
) -> None:
    model = load("nbdt-cifar10")
    subject = ask(model, "chelsea")
    answer = integrated_gradients(subject, seed=0, watch=silent)
    assert answer.constants is not None
    _, delta = IntegratedGradients(lambda inputs: model.logits(model.trunk(inputs))).attribute(
        subject.inputs,
        target=int(subject.score.target.int().argmax()),
        n_steps=STEPS[0],
        method="gausslegendre",
        return_convergence_delta=True,
    )
    error = answer.maps.mean((1, 2)) + answer.constants - subject.scores
    assert torch.allclose(error, delta.float(), atol=1e-3)
    assert abs(float(error)) <= TOLERANCE * max(1, abs(float(subject.scores)))


class Steep(nn.Module):
    """Of one number a a pixel, a bend that is the sharper the larger `slope` is: hard to add up in few steps."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.slope * (inputs - 0.37))


@pytest.mark.parametrize(("slope", "is_complete"), [(300.0, True), (1e6, False)])
def test_points_are_added_until_the_map_is_complete_or_there_are_as_many_as_may_be(
    slope: float, is_complete: bool
) -> None:
    heard: list[tuple[int, int]] = []
    subject = subject_of(Small(Steep(slope), torch.eye(3), torch.zeros(3)), torch.ones(1, 3, SIDE, SIDE), [0])
    answer = integrated_gradients(subject, seed=0, watch=lambda done, total: heard.append((done, total)))
    assert answer.constants is not None
    error = float(answer.maps.mean() + answer.constants - subject.scores)
    done, total = heard[-1]
    assert done == total == 1 + sum(STEPS)
    assert (abs(error) <= TOLERANCE) == is_complete
