"""What every attribution method keeps: it finds planted evidence, in any batch, and leaves the model as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.worker.methods.subjects import (
    BLOCKS,
    GREEN,
    RED,
    SIDE,
    Small,
    blocks,
    noise,
    planted,
    seeded,
    silent,
    subject_of,
)
from worker.methods import METHODS
from worker.methods.attribution import Attribution, Guarantee, Subject

LONG = ("scorecam", "integrated-gradients", "occlusion", "rise")
every_method = pytest.mark.parametrize("name", METHODS)


def attribute(name: str, subject: Subject, *, seed: int = 0) -> Attribution:
    return METHODS[name](subject, seed=seed, watch=silent)


def strongest(raw: Tensor) -> tuple[float, float]:
    """Row and column, in pixels of the input, of the middle of the strongest cell of an h x w map."""
    row, column = divmod(int(raw.argmax()), raw.shape[1])
    return (row + 0.5) * SIDE / raw.shape[0], (column + 0.5) * SIDE / raw.shape[1]


def on_block(raw: Tensor, colour: int) -> Tensor:
    """The part of an h x w map that lies on the block of a colour."""
    rows, columns = BLOCKS[colour]
    pixels = nn.functional.interpolate(raw[None, None], size=(SIDE, SIDE), mode="nearest")[0, 0]
    return pixels[rows, columns]


@every_method
@pytest.mark.parametrize("contrast", [None, "the other"])
def test_the_strongest_cell_lies_where_the_evidence_was_planted(name: str, contrast: str | None) -> None:
    for target, other in ((RED, GREEN), (GREEN, RED)):
        subject = subject_of(planted(), blocks(), [target], other if contrast else None)
        row, column = strongest(attribute(name, subject).maps[0])
        rows, columns = BLOCKS[target]
        assert rows.start <= row < rows.stop and columns.start <= column < columns.stop


@every_method
def test_a_contrast_is_positive_on_the_targets_evidence_and_not_on_the_others(name: str) -> None:
    for target, other in ((RED, GREEN), (GREEN, RED)):
        raw = attribute(name, subject_of(planted(), blocks(), [target], other)).maps[0]
        assert (on_block(raw, target) > 0).all()
        assert (on_block(raw, other) <= 0).all()


@every_method
def test_a_batch_with_a_target_for_each_image_gets_what_each_gets_alone(name: str) -> None:
    inputs, targets = noise(3), [2, 0, 3]
    together = attribute(name, subject_of(seeded(), inputs, targets))
    assert len({tuple(raw.flatten().tolist()) for raw in together.maps}) == 3
    for n, target in enumerate(targets):
        alone = attribute(name, subject_of(seeded(), inputs[n : n + 1], [target]))
        assert torch.allclose(together.maps[n], alone.maps[0], rtol=1e-4, atol=1e-6)
        if together.constants is not None and alone.constants is not None:
            assert torch.allclose(together.constants[n], alone.constants[0], atol=1e-6)


@every_method
def test_another_target_and_another_contrast_give_another_map(name: str) -> None:
    maps = [
        attribute(name, subject_of(seeded(), noise(1), [target], contrast)).maps
        for target, contrast in ((0, None), (0, 1), (1, 0))
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(maps) for b in maps[:i])


@every_method
def test_the_same_seed_gives_the_same_map(name: str) -> None:
    subject = subject_of(seeded(), noise(2), [1, 2])
    first, second = attribute(name, subject, seed=7), attribute(name, subject, seed=7)
    assert torch.equal(first.maps, second.maps)


@every_method
def test_an_identity_that_is_claimed_holds(name: str) -> None:
    subject = subject_of(seeded(), noise(3), [1, 2, 0], 3)
    answer = attribute(name, subject)
    if answer.guarantee is Guarantee.APPROXIMATE:
        assert answer.constants is None
        return
    assert answer.constants is not None
    error = (answer.maps.double().mean((1, 2)) + answer.constants - subject.scores).abs().max().item()
    assert error <= (1e-5 if answer.guarantee is Guarantee.EXACT else 1e-2)


@every_method
def test_within_inference_mode_the_maps_are_the_same(name: str) -> None:
    network = seeded()
    outside = attribute(name, subject_of(network, noise(2), [1, 2]))
    with torch.inference_mode():
        inside = attribute(name, subject_of(network, noise(2), [1, 2]))
    assert torch.equal(outside.maps, inside.maps)
    assert not inside.maps.requires_grad


@every_method
def test_the_network_and_the_subject_are_left_as_they_were(name: str) -> None:
    network = seeded()
    trunk = network.trunk
    assert isinstance(trunk, nn.Module)
    subject = subject_of(network, noise(2), [1, 2], 0)
    tensors = (subject.inputs, subject.features, subject.score.target, network.weight, *trunk.parameters())
    before = [tensor.clone() for tensor in tensors]
    attribute(name, subject)
    assert all(torch.equal(old, new) for old, new in zip(before, tensors, strict=True))
    assert not any(tensor.requires_grad or tensor.grad is not None for tensor in tensors)
    assert not any(module._forward_hooks or module._backward_hooks or module.training for module in trunk.modules())
    assert not any(module._forward_pre_hooks or module._backward_pre_hooks for module in trunk.modules())


def dead(network: Small) -> Small:
    """All features zero."""
    return replace(network, trunk=lambda inputs: 0 * seeded().trunk(inputs))


def level(network: Small) -> Small:
    """Every channel the same in all cells, one of them negative."""
    values = torch.arange(-1.0, network.weight.shape[1] - 1).view(1, -1, 1, 1)
    return replace(network, trunk=lambda inputs: values.expand(len(inputs), -1, 8, 8).clone() + 0 * inputs.mean())


def saturated(network: Small) -> Small:
    return replace(network, weight=1e6 * network.weight, bias=1e4 * network.bias)


@every_method
@pytest.mark.parametrize("make", [dead, level, saturated])
def test_a_degenerate_network_gets_finite_maps(name: str, make: Callable[[Small], Small]) -> None:
    network = make(seeded())
    for contrast in (None, 2):
        assert attribute(name, subject_of(network, noise(2), [0, 1], contrast)).maps.isfinite().all()


@every_method
@pytest.mark.parametrize("value", [0.0, -2.0, 1e4])
def test_a_uniform_picture_gets_a_finite_map(name: str, value: float) -> None:
    picture = torch.full((1, 3, SIDE, SIDE), value)
    assert attribute(name, subject_of(seeded(), picture, [1])).maps.isfinite().all()


@every_method
def test_a_network_of_one_class_gets_a_finite_map(name: str) -> None:
    assert attribute(name, subject_of(seeded(classes=1), noise(2), [0, 0])).maps.isfinite().all()


@pytest.mark.parametrize("name", LONG)
def test_progress_grows_in_small_steps_and_ends_at_the_total(name: str) -> None:
    seen: list[tuple[int, int]] = []
    METHODS[name](
        subject_of(seeded(channels=40), noise(2), [1, 2]), seed=0, watch=lambda done, total: seen.append((done, total))
    )
    done = [0, *(step[0] for step in seen)]
    assert {step[1] for step in seen} == {done[-1]}
    assert all(0 < after - before <= 32 for before, after in zip(done, done[1:], strict=False))


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("name", LONG)
def test_a_watch_that_raises_stops_the_method_at_once(name: str) -> None:
    network, passed = seeded(channels=40), 0

    def counting(inputs: Tensor) -> Tensor:
        nonlocal passed
        passed += len(inputs)
        return network.trunk(inputs)

    def cancel(done: int, total: int) -> None:
        if done >= 20:
            raise Cancelled

    subject = subject_of(network, noise(2), [1, 2])
    with pytest.raises(Cancelled):
        METHODS[name](replace(subject, network=replace(network, trunk=counting)), seed=0, watch=cancel)
    assert 20 <= passed <= 20 + 32
