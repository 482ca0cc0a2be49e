"""Every method asked about a group of classes: what it answers is about the group's own score."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.worker.methods.subjects import Small, about, noise, seeded, silent, subject_of
from worker.algebra.maps import class_maps
from worker.methods import METHODS, rise
from worker.methods.attribution import Attribution, Guarantee, Subject

every_method = pytest.mark.parametrize("name", METHODS)
TARGET, CONTRAST, REST = [0, 2, 3], [1, 4], [5]
contrasts = pytest.mark.parametrize("contrast", [[], CONTRAST], ids=["alone", "contrasted"])


@pytest.fixture(autouse=True)
def few_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many say the same of what is asked here."""
    monkeypatch.setattr(rise, "MASKS", 64)


def network() -> Small:
    return seeded(classes=6, gain=2)


def attribute(name: str, subject: Subject) -> Attribution:
    return METHODS[name](subject, seed=0, watch=silent)


@dataclass(frozen=True)
class Merged:
    """A network whose three classes are the groups TARGET, CONTRAST and REST of another one."""

    whole: Small

    def trunk(self, inputs: Tensor) -> Tensor:
        return self.whole.trunk(inputs)

    def logits(self, features: Tensor) -> Tensor:
        logits = self.whole.logits(features)
        return torch.stack([logits[:, group].exp().sum(1).log() for group in (TARGET, CONTRAST, REST)], dim=1)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cam"])
@contrasts
def test_a_group_gets_the_map_that_it_would_get_as_a_class_of_its_own(name: str, contrast: list[int]) -> None:
    group = attribute(name, about(network(), noise(1), [TARGET], [contrast]))
    single = attribute(name, about(Merged(network()), noise(1), [[0]], [[1] if contrast else []]))
    assert torch.allclose(group.maps, single.maps, rtol=1e-3, atol=1e-4 * float(single.maps.abs().max()))
    if group.constants is not None and single.constants is not None:
        assert torch.allclose(group.constants, single.constants, atol=1e-5)


@contrasts
def test_the_class_activation_map_of_a_group_is_the_mean_of_its_classes_by_their_shares(contrast: list[int]) -> None:
    subject = about(network(), noise(2), [TARGET, TARGET], [contrast, contrast])
    answer, maps = attribute("cam", subject), class_maps(subject.features, network().weight)
    expected, constants = torch.zeros_like(answer.maps), torch.zeros(2)
    for group, sign in ((TARGET, 1), (contrast, -1)):
        for n in range(2) if group else ():
            shares = subject.logits[n, group].softmax(0)
            expected[n] += sign * sum(share * maps[n, k] for share, k in zip(shares, group, strict=True))
            constants[n] += sign * float(shares @ network().bias[group] - shares @ shares.log())
    assert answer.constants is not None
    assert torch.allclose(answer.maps, expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(answer.constants, constants, atol=1e-5)


@every_method
def test_a_group_of_one_class_gets_exactly_the_map_of_the_class(name: str) -> None:
    """Exact maps and gradients are held against the head's own rows; whatever else, against the class's number."""
    subject = subject_of(network(), noise(1), [3], 1)
    answer = attribute(name, subject)
    row = network().weight[3] - network().weight[1]
    if name == "cam":
        assert torch.equal(answer.maps, torch.bmm(row.view(1, 1, -1), subject.features.flatten(2)).view(1, 8, 8))
        assert answer.constants is not None and torch.equal(answer.constants, network().bias[[3]] - network().bias[[1]])
    if name == "gradcam":
        weights = (row / 64).view(1, -1, 1, 1)
        assert torch.allclose(answer.maps, (weights * subject.features).sum(1).relu(), rtol=1e-5, atol=1e-8)
    again = attribute(name, about(network(), noise(1), [[3]], [[1]]))
    assert torch.equal(answer.maps, again.maps)


@every_method
def test_a_batch_with_groups_of_different_sizes_gets_what_each_gets_alone(name: str) -> None:
    targets, others = [[2], TARGET, [0, 1, 2, 3, 4, 5]], [CONTRAST, list[int](), [5]]
    together = attribute(name, about(network(), noise(3), targets, others))
    for n in range(3):
        alone = attribute(name, about(network(), noise(3)[[n]], [targets[n]], [others[n]]))
        assert torch.allclose(together.maps[n], alone.maps[0], rtol=1e-4, atol=1e-5)
        if together.constants is not None and alone.constants is not None:
            assert torch.allclose(together.constants[n], alone.constants[0], atol=1e-5)


@every_method
@contrasts
def test_an_identity_that_is_claimed_holds_for_a_group(name: str, contrast: list[int]) -> None:
    subject = about(network(), noise(2), [TARGET, TARGET], [contrast, contrast])
    answer = attribute(name, subject)
    if answer.guarantee is Guarantee.APPROXIMATE:
        assert answer.constants is None
        return
    assert answer.constants is not None
    error = (answer.maps.double().mean((1, 2)) + answer.constants - subject.scores).abs().max().item()
    assert error <= (1e-5 if answer.guarantee is Guarantee.EXACT else 1e-2)


@every_method
def test_far_apart_logits_give_a_group_finite_maps(name: str) -> None:
    saturated = Small(network().trunk, 1e6 * network().weight, 1e4 * network().bias)
    for contrast in ([], CONTRAST):
        assert attribute(name, about(saturated, noise(1), [TARGET], [contrast])).maps.isfinite().all()
