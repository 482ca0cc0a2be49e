"""Maps of decisions: exact for every node of both shipped models, in every mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional

from shared.cards.card import Registry
from shared.cards.hierarchy import Hierarchy, Node
from worker.algebra.decisions import TreeHead, decision_maps
from worker.algebra.tree import TreeInference, TreeMatrices, TreeMode, infer
from worker.engine.inputs import to_tensor
from worker.engine.models import Model

BINARY = Hierarchy(
    (
        Node("root", None, ("a", "bc")),
        Node("bc", None, ("b", "c")),
        *(Node(name, name, leaf=k) for k, name in enumerate("abc")),
    )
)


def residuals(
    features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, matrices: TreeMatrices, mode: TreeMode
) -> torch.Tensor:
    """For every leaf's path on every image: |mean(map) + constant - score difference| relative to max(1, |.|)."""
    logits = features.mean((2, 3)) @ weight.T + bias
    worst = []
    for leaf in range(logits.shape[1]):
        inference = infer(logits, matrices, mode=mode)
        to_leaf = torch.full_like(inference.prediction, leaf)
        inference = TreeInference(mode, inference.scores, inference.edge_log_p, inference.leaf_log_p, to_leaf)
        found = decision_maps(features, logits, TreeHead.of(weight, bias, matrices), matrices, inference)
        difference = (found.maps.mean((2, 3)) + found.constants - found.margins).abs()
        worst.append((difference / found.margins.abs().clamp(min=1)).max())
    return torch.stack(worst)


@pytest.mark.parametrize("mode", TreeMode)
@pytest.mark.parametrize("name", ["nbdt-cifar10", "resnet18-photos100"])
def test_every_decision_to_every_class_has_an_exact_map(
    name: str, mode: TreeMode, registry: Registry, photos: dict[str, Image.Image]
) -> None:
    model = Model.load(registry.get(name))
    assert model.matrices is not None
    features = model.features(torch.stack([to_tensor(picture, model.card.input) for picture in photos.values()]))
    assert residuals(features, model.weight, model.bias, model.matrices, mode).max() <= 1e-5
    double = model.matrices.to(dtype=torch.float64)
    exact = residuals(features.double(), model.weight.double(), model.bias.double(), double, mode)
    assert exact.max() <= 1e-12


@pytest.mark.parametrize("mode", [TreeMode.SOFT, TreeMode.MARGINAL])
def test_in_a_binary_decision_the_map_adds_up_to_the_log_odds_that_are_served(mode: TreeMode) -> None:
    rng = torch.Generator().manual_seed(0)
    matrices = TreeMatrices.of(BINARY, dtype=torch.float64)
    features = torch.rand(5, 4, 3, 3, generator=rng, dtype=torch.float64)
    weight, bias = (torch.randn(3, 4, generator=rng, dtype=torch.float64), torch.randn(3, generator=rng).double())
    logits = features.mean((2, 3)) @ weight.T + bias
    inference = infer(logits, matrices, mode=mode)
    found = decision_maps(features, logits, TreeHead.of(weight, bias, matrices), matrices, inference)
    odds = (found.maps.mean((2, 3)) + found.constants).sigmoid()
    there = found.edges != matrices.no_edge
    served = functional.pad(inference.edge_log_p.exp(), (0, 1)).gather(1, found.edges)
    assert torch.allclose(odds[there], served[there], atol=1e-12)


@pytest.mark.parametrize("mode", TreeMode)
def test_the_terms_are_the_absolute_values_that_both_scores_add_up(mode: TreeMode) -> None:
    rng = torch.Generator().manual_seed(3)
    matrices = TreeMatrices.of(BINARY, dtype=torch.float64)
    features = torch.randn(2, 4, 3, 3, generator=rng, dtype=torch.float64)
    weight, bias = (torch.randn(3, 4, generator=rng, dtype=torch.float64), torch.randn(3, generator=rng).double())
    logits = features.mean((2, 3)) @ weight.T + bias
    inference = infer(logits, matrices, mode=mode)
    found = decision_maps(features, logits, TreeHead.of(weight, bias, matrices), matrices, inference)
    sizes = features.abs().mean((2, 3))
    for i, (edges, rivals) in enumerate(zip(found.edges.tolist(), found.rivals.tolist(), strict=True)):
        for step, (edge, rival) in enumerate(zip(edges, rivals, strict=True)):
            if edge == rival:
                continue
            expected = torch.zeros((), dtype=torch.float64)
            for leaves in (list(BINARY.leaves_below[BINARY.edges[one][1]]) for one in (edge, rival)):
                if mode is TreeMode.MARGINAL:
                    rows = (logits[i, leaves].softmax(0).unsqueeze(1) * weight[leaves].abs()).sum(0)
                else:
                    rows = weight[leaves].mean(0).abs()
                expected += rows @ sizes[i]
            assert found.terms[i, step].item() == pytest.approx(expected.item(), rel=1e-12)


def test_paths_list_edges_from_the_root_down() -> None:
    tree = Hierarchy.load(Path(__file__).parents[2] / "models" / "nbdt-cifar10" / "hierarchy.json")
    matrices = TreeMatrices.of(tree)
    for leaf in range(tree.class_count):
        nodes = [tree.edges[edge][1] for edge in matrices.paths[leaf].tolist() if edge != matrices.no_edge]
        assert tuple(nodes) == tree.path_to(leaf)


def test_a_decision_without_an_alternative_has_no_rival_and_an_empty_map() -> None:
    tree = Hierarchy(
        (Node("root", None, ("only",)), Node("only", None, ("a", "b")), Node("a", "a", leaf=0), Node("b", "b", leaf=1))
    )
    matrices = TreeMatrices.of(tree)
    features = torch.rand(1, 4, 2, 2)
    weight, bias = torch.rand(2, 4), torch.zeros(2)
    logits = features.mean((2, 3)) @ weight.T
    found = decision_maps(
        features, logits, TreeHead.of(weight, bias, matrices), matrices, infer(logits, matrices, mode=TreeMode.SOFT)
    )
    assert found.rivals[0, 0] == found.edges[0, 0]
    assert (found.maps[0, 0] == 0).all()


@pytest.mark.parametrize("mode", TreeMode)
def test_every_decision_to_every_imagenet_class_has_an_exact_map(mode: TreeMode) -> None:
    rng = torch.Generator().manual_seed(1)
    tree = Hierarchy.load(Path(__file__).parents[2] / "models" / "resnet18-imagenet" / "hierarchy.json")
    matrices = TreeMatrices.of(tree, dtype=torch.float64)
    features = torch.rand(1, 8, 2, 2, generator=rng, dtype=torch.float64).expand(1000, -1, -1, -1)
    weight = torch.randn(1000, 8, generator=rng, dtype=torch.float64)
    bias = torch.randn(1000, generator=rng, dtype=torch.float64)
    logits = features.mean((2, 3)) @ weight.T + bias
    inference = replace(infer(logits, matrices, mode=mode), prediction=torch.arange(1000))
    found = decision_maps(features, logits, TreeHead.of(weight, bias, matrices), matrices, inference)
    difference = (found.maps.mean((2, 3)) + found.constants - found.margins).abs()
    assert (difference / found.margins.abs().clamp(min=1)).max() <= 1e-12
    assert ((found.edges != matrices.no_edge) == (found.rivals != found.edges)).all()
