"""Tree inference against nbdt's own rules, and its identities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.quality import nbdt_oracle
from shared.cards.card import Registry
from shared.cards.hierarchy import Hierarchy, Node
from shared.settings import REPOSITORY
from training.pictures import cifar10
from worker.algebra.tree import TreeMatrices, TreeMode, edge_scores, infer, soft_leaf_log_p
from worker.engine.models import Model
from worker.engine.precision import chooses_bf16


def decides_alike(logits: Tensor, dataset: str, theirs: nbdt_oracle.NbdtPredictions) -> None:
    matrices = TreeMatrices.of(nbdt_oracle.tree(dataset))
    assert torch.equal(infer(logits, matrices, mode=TreeMode.HARD).prediction, theirs.hard)
    ours = infer(logits, matrices, mode=TreeMode.SOFT).leaf_log_p.exp()
    assert (ours - theirs.soft).abs().max().item() <= 1e-6


@pytest.fixture(scope="module")
def random_logits() -> dict[str, Tensor]:
    """Rows for each of nbdt's data sets."""
    sizes = {dataset: nbdt_oracle.tree(dataset).class_count for dataset in nbdt_oracle.TREES}
    counts = {dataset: 128 if size == 10 else 32 for dataset, size in sizes.items()}  # its walk grows with the square
    chance = torch.Generator().manual_seed(7)
    return {dataset: torch.randn(counts[dataset], size, generator=chance) * 4 for dataset, size in sizes.items()}


@pytest.fixture(scope="module")
def theirs(random_logits: dict[str, Tensor]) -> dict[str, nbdt_oracle.NbdtPredictions]:
    return nbdt_oracle.ask_all(random_logits)


@pytest.mark.parametrize("dataset", sorted(nbdt_oracle.TREES))
@pytest.mark.slow
def test_hard_and_soft_rules_equal_nbdt_on_random_logits(
    dataset: str, random_logits: dict[str, Tensor], theirs: dict[str, nbdt_oracle.NbdtPredictions]
) -> None:
    decides_alike(random_logits[dataset], dataset, theirs[dataset])


@pytest.mark.timeout(900)  # processors without bf16 need minutes
@pytest.mark.slow
def test_hard_and_soft_rules_equal_nbdt_on_the_logits_of_cifar10_test_pictures(
    registry: Registry, shared_data: Path
) -> None:
    """Of every fiftieth; `make quality` compares all 10,000, which takes minutes."""
    from training.cifar10 import RECIPE
    from training.fit import normalise

    card = registry.get("nbdt-cifar10")
    model = Model.load(card, bf16=chooses_bf16(card, asked="auto", device=torch.device("cpu")))  # as it is served here
    test = cifar10("test", shared_data)
    logits = torch.cat([model.logits(model.features(normalise(part, RECIPE))) for part in test.images[::50].split(50)])
    assert len(logits) == 200
    decides_alike(logits, "CIFAR10", nbdt_oracle.ask("CIFAR10", logits))


def test_marginal_mode_gives_back_the_softmax_of_the_network() -> None:
    logits = torch.randn(256, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 8
    matrices = TreeMatrices.of(nbdt_oracle.tree("CIFAR100"), dtype=torch.float64)
    inference = infer(logits, matrices, mode=TreeMode.MARGINAL)
    assert torch.allclose(inference.leaf_log_p, logits.log_softmax(1), atol=1e-12)
    assert torch.equal(inference.prediction, logits.argmax(1))


@pytest.mark.parametrize("mode", TreeMode)
def test_an_image_gets_in_a_batch_what_it_gets_alone(mode: TreeMode) -> None:
    logits = torch.randn(33, 10, generator=torch.Generator().manual_seed(2)) * 3
    matrices = TreeMatrices.of(nbdt_oracle.tree("CIFAR10"))
    together = infer(logits, matrices, mode=mode)
    for i in range(len(logits)):
        alone = infer(logits[i : i + 1], matrices, mode=mode)
        assert alone.prediction[0] == together.prediction[i]
        assert torch.allclose(alone.edge_log_p[0], together.edge_log_p[i], atol=1e-6)


@pytest.mark.parametrize("mode", TreeMode)
def test_saturated_and_equal_logits_give_numbers(mode: TreeMode) -> None:
    matrices = TreeMatrices.of(nbdt_oracle.tree("CIFAR10"))
    extreme = torch.tensor([[0.0] * 10, [1e4] + [-1e4] * 9, [-1e30] * 9 + [1e30]])
    inference = infer(extreme, matrices, mode=mode)
    assert not inference.leaf_log_p.isnan().any()
    assert not inference.edge_log_p.isnan().any()
    assert inference.prediction.tolist()[1] == 0
    assert inference.prediction.tolist()[2] == 9


@pytest.mark.parametrize("spread", [1.0, 79.0, 81.0, 1e4])
def test_a_child_however_far_below_the_best_class_has_a_precise_score(spread: float, imagenet_tree: Hierarchy) -> None:
    logits = torch.rand(3, 1000, generator=torch.Generator().manual_seed(8)) * spread
    logits[:, :2] = torch.tensor([0.0, spread])
    matrices = TreeMatrices.of(imagenet_tree)
    scores = edge_scores(logits, matrices, mode=TreeMode.MARGINAL)
    assert torch.allclose(scores[:, matrices.no_edge], logits.logsumexp(1))
    for edge, (_, child) in enumerate(imagenet_tree.edges):
        exact = logits[:, list(imagenet_tree.leaves_below[child])].double().logsumexp(1)
        assert torch.allclose(scores[:, edge].double(), exact, rtol=1e-6, atol=1e-5)


def test_ties_go_to_the_first_child() -> None:
    tree = Hierarchy((Node("root", "root", ("a", "b")), Node("a", "a", leaf=0), Node("b", "b", leaf=1)))
    matrices = TreeMatrices.of(tree)
    for mode in TreeMode:
        assert infer(torch.zeros(1, 2), matrices, mode=mode).prediction.item() == 0


def test_the_supervision_loss_has_a_gradient_everywhere() -> None:
    logits = (torch.randn(4, 10, generator=torch.Generator().manual_seed(3)) * 50).requires_grad_()
    matrices = TreeMatrices.of(nbdt_oracle.tree("CIFAR10"))
    (-soft_leaf_log_p(logits, matrices)[:, 3].sum()).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@st.composite
def random_trees(draw: st.DrawFn) -> Hierarchy:
    """A random tree over 2 to 12 classes with one to four children a decision."""
    count = draw(st.integers(2, 12))
    nodes = [Node(f"leaf{k}", f"class {k}", leaf=k) for k in range(count)]
    open_ids = [node.id for node in nodes]
    while len(open_ids) > 1:
        width = draw(st.integers(2, min(4, len(open_ids))))
        taken, open_ids = open_ids[:width], open_ids[width:]
        node = Node(f"inner{len(nodes)}", None, tuple(taken))
        nodes.append(node)
        open_ids.append(node.id)
    return Hierarchy(tuple(nodes))


@given(random_trees(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_on_any_tree_path_products_sum_to_one_and_soft_agrees_with_a_walk_over_nodes(
    tree: Hierarchy, seed: int
) -> None:
    logits = torch.randn(3, tree.class_count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 5
    matrices = TreeMatrices.of(tree, dtype=torch.float64)
    for mode in (TreeMode.SOFT, TreeMode.MARGINAL):
        total = infer(logits, matrices, mode=mode).leaf_log_p.exp().sum(1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-10)
    soft = infer(logits, matrices, mode=TreeMode.SOFT).leaf_log_p
    hard = infer(logits, matrices, mode=TreeMode.HARD).prediction
    for i in range(3):
        assert torch.allclose(soft[i], _walk_all(tree, logits[i]), atol=1e-10)
        assert hard[i].item() == _walk_best(tree, logits[i])


def _child_scores(tree: Hierarchy, node: Node, logits: Tensor) -> Tensor:
    return torch.stack([logits[list(tree.leaves_below[child])].mean() for child in node.children])


def _walk_all(tree: Hierarchy, logits: Tensor) -> Tensor:
    log_p = torch.zeros_like(logits)
    for node in tree.decisions:
        shares = _child_scores(tree, node, logits).log_softmax(0)
        for child, share in zip(node.children, shares, strict=True):
            log_p[list(tree.leaves_below[child])] += share
    return log_p


def _walk_best(tree: Hierarchy, logits: Tensor) -> int:
    node = tree.root
    while node.leaf is None:
        node = tree.by_id[node.children[int(_child_scores(tree, node, logits).argmax())]]
    return node.leaf


@pytest.fixture(scope="module")
def imagenet_tree() -> Hierarchy:
    return Hierarchy.load(REPOSITORY / "models" / "resnet18-imagenet" / "hierarchy.json")


def test_on_imagenets_thousand_classes_every_mode_says_what_its_definition_says(imagenet_tree: Hierarchy) -> None:
    logits = torch.randn(4, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 4
    matrices = TreeMatrices.of(imagenet_tree, dtype=torch.float64)
    soft = infer(logits, matrices, mode=TreeMode.SOFT)
    hard = infer(logits, matrices, mode=TreeMode.HARD)
    marginal = infer(logits, matrices, mode=TreeMode.MARGINAL)
    for i in range(len(logits)):
        assert torch.allclose(soft.leaf_log_p[i], _walk_all(imagenet_tree, logits[i]), atol=1e-12)
        assert hard.prediction[i].item() == _walk_best(imagenet_tree, logits[i])
    assert torch.equal(soft.prediction, soft.leaf_log_p.argmax(1))
    assert torch.allclose(marginal.leaf_log_p, logits.log_softmax(1), atol=1e-12)
    assert torch.equal(marginal.prediction, logits.argmax(1))


def test_the_marginal_mode_takes_little_room_for_many_pictures_and_classes(imagenet_tree: Hierarchy) -> None:
    """With N x E x K numbers at once, this batch would take 2.8 GB."""
    logits = torch.randn(512, 1000, generator=torch.Generator().manual_seed(5))
    matrices = TreeMatrices.of(imagenet_tree)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        scores = edge_scores(logits, matrices, mode=TreeMode.MARGINAL)
    largest = max(event.cpu_memory_usage for event in seen.events())
    assert largest < 8 * 512 * len(matrices.below.columns) < 30e6
    below = list(imagenet_tree.leaves_below[imagenet_tree.edges[0][1]])
    assert torch.allclose(scores[:, 0], logits[:, below].logsumexp(1), atol=1e-5)
