"""Maps of nodes of the tree: exact for every class and every node of every model that is at hand, and never without
the entropy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from shared.cards.card import Registry
from shared.cards.groups import Group
from shared.options import RUNNER_UP, SURE
from tests.worker.asking import document, explain
from worker.algebra.maps import TOLERANCE, class_maps, linear_maps
from worker.algebra.score import Score
from worker.engine.inputs import to_tensor
from worker.engine.models import Model
from worker.explain.forward import Question
from worker.methods.attribution import Attribution, LinearHead, Subject
from worker.methods.cam import attribute as cam

SHIPPED = ("efficientnet-lite0-imagenet", "resnet18-photos100", "nbdt-cifar10")
NODES = {"efficientnet-lite0-imagenet": 1368, "resnet18-photos100": 157, "nbdt-cifar10": 19}
AT_ONCE = 128  # groups
every_model = pytest.mark.parametrize("name", SHIPPED)


@dataclass(frozen=True)
class Head:
    """A pooled linear head alone, in any precision."""

    weight: Tensor
    bias: Tensor

    def trunk(self, inputs: Tensor) -> Tensor:
        return inputs

    def logits(self, features: Tensor) -> Tensor:
        return features.mean((2, 3)) @ self.weight.T + self.bias


@pytest.fixture(scope="module")
def load(registry: Registry) -> Callable[[str], Model]:
    return {name: Model.load(registry.get(name)) for name in SHIPPED}.__getitem__


@pytest.fixture(scope="module")
def features(load: Callable[[str], Model], photos: dict[str, Image.Image]) -> Callable[[str], Tensor]:
    """Of four photographs in one batch."""
    inputs = {
        name: torch.stack([to_tensor(photo, load(name).card.input) for photo in photos.values()]) for name in SHIPPED
    }
    return {name: load(name).features(inputs[name]) for name in SHIPPED}.__getitem__


def groups_of(model: Model) -> list[Group]:
    """All classes and all nodes."""
    assert model.card.hierarchy is not None
    found = [model.card.node_group(node.id) for node in model.card.hierarchy.nodes]
    assert len(found) == NODES[model.card.name]
    return found


def rest(group: Group, count: int) -> tuple[int, ...]:
    return tuple(k for k in range(count) if k not in group.classes)


def asked(network: LinearHead, features: Tensor, targets: list[Group], contrasts: list[tuple[int, ...]]) -> Subject:
    """Many groups of one image (1 x D x h x w)."""
    many = features.expand(len(targets), -1, -1, -1)
    logits = network.logits(features).expand(len(targets), -1)
    score = Score.of([target.classes for target in targets], contrasts, class_count=logits.shape[1])
    return Subject(network, many, many, logits, score)


def residuals(subject: Subject, answer: Attribution, *, without: Tensor | float = 0) -> Tensor:
    """|mean(map) + constant - score| relative to max(1, |score|)."""
    assert answer.constants is not None
    scores = subject.scores.double()
    found = answer.maps.double().mean((1, 2)) + (answer.constants - without).double()
    return (found - scores).abs() / scores.abs().clamp(min=1)


def worst(network: LinearHead, features: Tensor, groups: list[Group], contrasts: list[tuple[int, ...]]) -> float:
    """The largest residual of all groups of one image."""
    found = []
    for start in range(0, len(groups), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        subject = asked(network, features, groups[part], contrasts[part])
        found.append(residuals(subject, cam(subject, seed=0, watch=lambda done, total: None)).max())
    return float(torch.stack(found).max())


@every_model
def test_every_class_and_every_node_of_a_photograph_has_an_exact_map_batched_and_single(
    name: str, load: Callable[[str], Model], features: Callable[[str], Tensor], photos: dict[str, Image.Image]
) -> None:
    model, together = load(name), features(name)
    groups = groups_of(model)
    for n, photo in enumerate(photos.values()):
        alone = model.features(to_tensor(photo, model.card.input)[None])
        for one in (together[[n]], alone):
            assert worst(model, one, groups, [()] * len(groups)) <= 1e-5


@every_model
def test_so_has_every_node_against_the_rest_and_against_another_node(
    name: str, load: Callable[[str], Model], features: Callable[[str], Tensor]
) -> None:
    """Against the rest: every inner node and every tenth class, which take their time."""
    model = load(name)
    groups = groups_of(model)
    others = [group.classes for group in groups[1:] + groups[:1]]
    assert worst(model, features(name)[:1], groups, others) <= TOLERANCE[torch.float32] == 1e-5
    some = [group for group in groups if group.index is None or group.index % 10 == 0]
    remaining = [rest(group, model.card.class_count) for group in some]
    assert worst(model, features(name)[:1], some, remaining) <= 1e-5


@every_model
def test_in_double_precision_the_identity_holds_to_its_last_digits(
    name: str, load: Callable[[str], Model], features: Callable[[str], Tensor]
) -> None:
    model = load(name)
    head = Head(model.weight.double(), model.bias.double())
    groups = groups_of(model)
    for contrasts in ([()] * len(groups), [group.classes for group in groups[1:] + groups[:1]]):
        assert worst(head, features(name)[1:2].double(), groups, list(contrasts)) <= 1e-12


@every_model
def test_without_the_entropy_the_same_check_fails(
    name: str, load: Callable[[str], Model], features: Callable[[str], Tensor]
) -> None:
    model = load(name)
    for group in groups_of(model):
        subject = asked(model, features(name)[:1], [group], [()])
        if len(group.classes) > 1 and float(entropy := subject.score.entropies(subject.logits)) > 0.01:
            answer = cam(subject, seed=0, watch=lambda done, total: None)
            assert float(residuals(subject, answer)) <= 1e-5
            assert float(residuals(subject, answer, without=entropy)) > 1e-4
            return
    raise AssertionError("no node of this photograph has an entropy")


@every_model
def test_the_map_of_a_node_is_the_mean_of_its_classes_maps_by_their_shares(
    name: str, load: Callable[[str], Model], features: Callable[[str], Tensor]
) -> None:
    model = load(name)
    logits, maps = model.logits(features(name)), class_maps(features(name), model.weight)
    assert model.card.hierarchy is not None
    for node in model.card.hierarchy.decisions[::7]:
        group = model.card.node_group(node.id)
        subject = asked(model, features(name)[:1], [group], [()])
        answer = cam(subject, seed=0, watch=lambda done, total: None)
        shares = logits[0, list(group.classes)].double().softmax(0)
        expected = torch.einsum("k,khw->hw", shares, maps[0, list(group.classes)].double())
        constant = shares @ model.bias[list(group.classes)].double() + torch.special.entr(shares).sum()
        assert answer.constants is not None
        assert torch.allclose(answer.maps[0].double(), expected, rtol=1e-4, atol=1e-4)
        assert float(answer.constants[0]) == pytest.approx(float(constant), abs=1e-4)


# -- as the document says it -----------------------------------------------------------------------------------------


@every_model
def test_a_class_that_is_asked_for_gets_the_map_the_certificate_and_the_name_of_its_row(
    name: str, load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    """As it was before groups could be asked for, bit for bit."""
    model, photo = load(name), photos["chelsea"]
    features = model.features(to_tensor(photo, model.card.input)[None])
    logits = model.logits(features)[0]
    for index, other in ((7, None), (3, 5)):
        contrast = None if other is None else model.card.class_group(other)
        asked = Question(model.card.class_group(index), contrast)
        explanation = explain(model, [photo], [asked])[0]
        direction = torch.zeros(1, model.card.class_count)
        direction[0, index] = 1
        if other is not None:
            direction[0, other] = -1
        raw = linear_maps(features, direction @ model.weight)[0]
        score = float(logits[index] - (0 if other is None else logits[other]))
        entry = document(explanation)["maps"][0]
        assert np.array_equal(explanation.maps[f"{name}.cam"], raw.numpy())
        assert entry["target"]["name"] == model.card.classes[index] and entry["target"]["index"] == index
        assert (entry["contrast"] or {}).get("index") == other
        assert (entry["exactness"]["bias"], entry["exactness"]["score"]) == (
            float(direction @ model.bias),
            pytest.approx(score, rel=1e-6),
        )
        assert entry["entropy_term"] == 0 and entry["exactness"]["exact"]


@every_model
def test_a_node_that_is_asked_for_is_named_with_its_entropy_and_its_certificate(
    name: str, load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    model = load(name)
    carnivore = model.card.group("carnivore")
    assert carnivore is not None and carnivore.node == "n02075296"
    explanation = explain(model, [photos["chelsea"]], [Question(carnivore)])[0]
    (entry,) = document(explanation)["maps"]
    logits = torch.from_numpy(explanation.answer.logits)[list(carnivore.classes)].double()
    assert entry["target"] == {"index": None, "name": "carnivore", "node": "n02075296"} and entry["contrast"] is None
    assert entry["exactness"]["exact"]
    assert entry["exactness"]["score"] == pytest.approx(float(logits.logsumexp(0)), rel=1e-6)
    assert entry["entropy_term"] == pytest.approx(float(torch.special.entr(logits.softmax(0)).sum()), abs=1e-5)


def test_the_sure_answer_can_be_asked_about_and_contrasted_with_the_best_class_beside_it(
    load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    model = load("efficientnet-lite0-imagenet")
    for explanation in explain(model, list(photos.values()), [Question(SURE, RUNNER_UP)] * len(photos)):
        said, (entry,) = document(explanation)["sure"], document(explanation)["maps"]
        group = model.card.node_group(said["node"])
        codes = [one["code"] for one in document(explanation)["warnings"]]
        if said["class_count"] == model.card.class_count:
            assert "nothing_sure" in codes and entry["target"]["index"] == explanation.answer.predicted
            continue
        assert "nothing_sure" not in codes
        assert entry["target"] == {"index": group.index, "name": group.name, "node": group.node}
        others = np.delete(explanation.answer.logits, list(group.classes))
        assert explanation.answer.logits[entry["contrast"]["index"]] == others.max()
        assert entry["exactness"]["exact"]


def test_where_nothing_is_sure_the_prediction_is_explained_and_the_reader_told(load: Callable[[str], Model]) -> None:
    model = load("nbdt-cifar10")
    grey = Image.new("RGB", (64, 64), (130, 120, 125))
    explanation = explain(model, [grey], [Question(SURE)])[0]
    if document(explanation)["sure"]["class_count"] < 10:
        pytest.fail("the model vouches for a group of a grey image; choose another one")
    assert document(explanation)["maps"][0]["target"]["index"] == explanation.answer.predicted
    assert "nothing_sure" in [one["code"] for one in document(explanation)["warnings"]]


def test_a_group_is_not_contrasted_with_itself(load: Callable[[str], Model], photos: dict[str, Image.Image]) -> None:
    model = load("resnet18-photos100")
    explanation = explain(model, [photos["coffee"]], [Question(SURE, SURE)])[0]
    assert document(explanation)["maps"][0]["contrast"] is None
    assert "contrast_is_target" in [one["code"] for one in document(explanation)["warnings"]]
