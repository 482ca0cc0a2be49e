"""The CAM family against torchcam, pytorch-grad-cam and the identities of pooling and a linear head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import worker.engine.vision  # noqa: F401 - before the oracles, which import torchvision
from tests.worker.methods.subjects import Small, noise, seeded, silent, subject_of, whole
from worker.algebra.maps import linear_maps
from worker.engine.models import Model
from worker.methods import METHODS
from worker.methods.attribution import LinearHead, Subject

SHIPPED = "resnet18-photos100"


def maps(name: str, subject: Subject) -> Tensor:
    return METHODS[name](subject, seed=0, watch=silent).maps


def scaled(raw: Tensor) -> Tensor:
    """Each map reduced to [0, 1], torchcam's normalisation."""
    low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
    return (raw - low) / (high - low)


def torchcam_maps(name: str, network: LinearHead, subject: Subject) -> Tensor:
    """Of a torchcam method: positive part but for CAM, reduced to [0, 1]."""
    from torchcam import methods

    model = whole(network)
    options = {"fc_layer": "fc"} if name == "CAM" else {}
    with getattr(methods, name)(model, "trunk", **options) as extractor:
        logits = model(subject.inputs.clone().requires_grad_())
        found: Tensor = extractor(subject.score.target.int().argmax(1).tolist(), logits)[0]
    return found


def grad_cam_maps(name: str, network: LinearHead, subject: Subject) -> Tensor:
    """Of a pytorch-grad-cam method: positive part, reduced to [0, 1], enlarged to the input's size."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = whole(network)
    targets = [ClassifierOutputTarget(target) for target in subject.score.target.int().argmax(1).tolist()]
    with getattr(pytorch_grad_cam, name)(model=model, target_layers=[model.trunk]) as extractor:
        return torch.from_numpy(extractor(subject.inputs.clone().requires_grad_(), targets=targets))


def as_grad_cam_draws(raw: Tensor, subject: Subject) -> Tensor:
    from pytorch_grad_cam.utils.image import scale_cam_image

    size = (subject.inputs.shape[3], subject.inputs.shape[2])
    return torch.from_numpy(scale_cam_image(scale_cam_image(np.maximum(raw.numpy(), 0), size)))


def same(ours: Tensor, theirs: Tensor, *, tolerance: float = 1e-5) -> bool:
    return torch.allclose(ours, theirs, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def photographs(load: Callable[[str], Model], ask: Callable[..., Subject]) -> Subject:
    return ask(load(SHIPPED), "chelsea", "coffee")


def test_cam_is_torchcams_reduced_to_0_and_1(load: Callable[[str], Model], photographs: Subject) -> None:
    assert same(scaled(maps("cam", photographs)), torchcam_maps("CAM", load(SHIPPED), photographs))


def test_cam_is_what_pytorch_grad_cam_draws_for_a_gradient_at_each_cell(
    load: Callable[[str], Model], photographs: Subject
) -> None:
    """It has no CAM; HiResCAM is CAM / N on pooling and a linear head."""
    theirs = grad_cam_maps("HiResCAM", load(SHIPPED), photographs)
    assert same(as_grad_cam_draws(maps("cam", photographs), photographs), theirs)


def test_gradcam_is_the_positive_part_of_cam_and_what_both_libraries_find(
    load: Callable[[str], Model], photographs: Subject
) -> None:
    ours, cells = maps("gradcam", photographs), photographs.features[0, 0].numel()
    assert torch.allclose(ours * cells, maps("cam", photographs).relu(), rtol=1e-4, atol=1e-4)
    assert same(scaled(ours), torchcam_maps("GradCAM", load(SHIPPED), photographs))
    assert same(as_grad_cam_draws(ours, photographs), grad_cam_maps("GradCAM", load(SHIPPED), photographs))


def test_layercam_is_what_both_libraries_find(load: Callable[[str], Model], photographs: Subject) -> None:
    ours = maps("layercam", photographs)
    assert same(scaled(ours), torchcam_maps("LayerCAM", load(SHIPPED), photographs))
    assert same(as_grad_cam_draws(ours, photographs), grad_cam_maps("LayerCAM", load(SHIPPED), photographs))


def test_gradcam_plus_plus_is_what_pytorch_grad_cam_finds_where_its_epsilon_is_small() -> None:
    """It adds 1e-6 to the denominator, which is no less than the squared gradients of a trained head. torchcam is no
    oracle here: it divides a copy, so that its alpha is the squared gradient."""
    subject = subject_of(seeded(gain=100), noise(3), [0, 1, 3])
    theirs = grad_cam_maps("GradCAMPlusPlus", seeded(gain=100), subject)
    assert same(as_grad_cam_draws(maps("gradcam++", subject), subject), theirs)


def pooled_and_linear(seed: int, cells: int, contrast: bool) -> tuple[Subject, Tensor]:
    """A subject of non-negative features in double precision, and its rows of the head."""
    random = torch.Generator().manual_seed(seed)
    features = torch.rand(2, 5, cells, cells + 1, generator=random, dtype=torch.double)
    weight = torch.randn(4, 5, generator=random, dtype=torch.double)
    head = Small(nn.Identity(), weight, torch.randn(4, generator=random, dtype=torch.double))
    subject = subject_of(head, features, [1, 3], 2 if contrast else None)
    return subject, subject.score.weights(subject.logits) @ weight


@given(st.integers(0, 2**32), st.integers(1, 7), st.booleans())
def test_on_pooling_and_a_linear_head_the_family_is_cam_up_to_its_signs(seed: int, cells: int, contrast: bool) -> None:
    subject, rows = pooled_and_linear(seed, cells, contrast)
    count = subject.features[0, 0].numel()
    exact = METHODS["cam"](subject, seed=0, watch=silent)
    assert torch.equal(exact.maps, linear_maps(subject.features, rows))
    assert exact.constants is not None
    assert torch.allclose(exact.maps.mean((1, 2)) + exact.constants, subject.scores, rtol=1e-12, atol=1e-12)
    assert torch.allclose(maps("gradcam", subject) * count, exact.maps.relu(), rtol=1e-12, atol=1e-12)
    positive = linear_maps(subject.features, rows.relu())
    assert torch.allclose(maps("layercam", subject) * count, positive, rtol=1e-12, atol=1e-12)
    weights = rows.relu() / (2 + rows.relu() * subject.features.mean((2, 3)))
    assert torch.allclose(maps("gradcam++", subject), linear_maps(subject.features, weights), rtol=1e-12, atol=1e-12)
