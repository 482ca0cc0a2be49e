"""Explanations of real photographs: certificates, batches, the tutorial's map as the control that must fail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from shared.cards.card import Registry
from shared.images.seeing import crop_box
from shared.options import RUNNER_UP
from tests.worker.asking import document, explain
from worker.algebra import maps
from worker.algebra.tree import TreeMode
from worker.engine.architectures import build
from worker.engine.inputs import to_tensor
from worker.engine.models import Model
from worker.engine.weights import load_weights
from worker.explain.explanations import Explained, tree_mode
from worker.explain.forward import Question

SHIPPED = ("resnet18-photos100", "nbdt-cifar10", "efficientnet-lite0-imagenet")
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


@pytest.fixture(scope="session")
def load(registry: Registry) -> Callable[[str], Model]:
    models = {name: Model.load(registry.get(name)) for name in SHIPPED}
    return models.__getitem__


@pytest.fixture(scope="session")
def crops(photos: dict[str, Image.Image]) -> list[Image.Image]:
    """Sixteen different real pictures: four quarters of four photographs."""
    out = []
    for name in sorted(photos):
        picture = photos[name]
        width, height = picture.size
        for x, y in CORNERS:
            out.append(picture.crop((x * width // 2, y * height // 2, (x + 1) * width // 2, (y + 1) * height // 2)))
    return out


def question(model: Model, **changes: object) -> Question:
    return Question(tree=tree_mode(model.card, "auto"), **changes)  # type: ignore[arg-type]


def residuals(model: Model, features: Tensor) -> Tensor:
    """|mean(CAM) + bias - logit| relative to max(1, |logit|), for every class, in double precision of the check."""
    raw = maps.class_maps(features, model.weight)
    logits = model.logits(features)
    difference = (raw.double().mean((2, 3)) + model.bias.double() - logits.double()).abs()
    return difference / logits.double().abs().clamp(min=1)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_class_of_every_photo_has_an_exact_map_batched_and_single(
    name: str, load: Callable[[str], Model], crops: list[Image.Image]
) -> None:
    model = load(name)
    inputs = torch.stack([to_tensor(picture, model.card.input) for picture in crops])
    assert residuals(model, model.features(inputs)).max().item() <= 1e-5
    for i in range(len(crops)):
        assert residuals(model, model.features(inputs[i : i + 1])).max().item() <= 1e-5


@pytest.mark.parametrize("name", SHIPPED)
def test_the_logits_are_those_of_the_whole_network(
    name: str, load: Callable[[str], Model], crops: list[Image.Image]
) -> None:
    model = load(name)
    inputs = torch.stack([to_tensor(picture, model.card.input) for picture in crops[:4]])
    head = nn.Linear(model.weight.shape[1], model.weight.shape[0])
    head.weight.data, head.bias.data = model.weight, model.bias
    whole = nn.Sequential(model.trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    with torch.inference_mode():
        assert torch.allclose(model.logits(model.features(inputs)), whole(inputs), atol=1e-4)


def test_the_tutorials_map_fails_the_same_check(load: Callable[[str], Model], crops: list[Image.Image]) -> None:
    """It reads the last block's conv2, before batch norm, residual and ReLU, and transposes it."""
    model = load("resnet18-photos100")
    network = build(model.card.architecture, model.card.class_count).eval()
    load_weights(network, model.card)
    seen: list[Tensor] = []
    network.get_submodule("layer4.1.conv2").register_forward_hook(lambda module, inputs, output: seen.append(output))
    inputs = torch.stack([to_tensor(picture, model.card.input) for picture in crops[:4]])
    with torch.inference_mode():
        logits = network(inputs)
    features = model.features(inputs)
    wrong = maps.class_maps(seen[0].transpose(2, 3), model.weight).mean((2, 3)) + model.bias
    relative = (wrong - logits).abs() / logits.abs().clamp(min=1)
    assert relative.median().item() > 0.1
    assert residuals(model, features).max().item() <= 1e-5


class Planted(nn.Module):
    """A network whose evidence is known: class 0 is the red of a pixel, class 1 the green; nothing else is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.AvgPool2d(4)
        self.fc = nn.Linear(3, 2)
        self.fc.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
        self.fc.bias.data = torch.tensor([0.25, -0.5])


def test_a_planted_asymmetric_feature_is_found_where_it_was_put() -> None:
    planted = Planted()
    picture = torch.zeros(1, 3, 32, 32)
    picture[0, 0, 4:8, 24:28] = 1  # row 1, column 6 of the 8 x 8 grid: not on the diagonal
    picture[0, 1, 28:32, 0:4] = 1  # row 7, column 0
    features = planted.trunk(picture)
    for target, place in ((0, (1, 6)), (1, (7, 0))):
        raw = maps.linear_maps(features, planted.fc.weight.detach()[[target]])[0]
        assert divmod(int(raw.argmax()), raw.shape[1]) == place
        bias = planted.fc.bias.detach()
        score = float(maps.logits_of(features, planted.fc.weight.detach(), bias)[0, target])
        mean, terms = float(raw.double().mean()), float(raw.double().abs().mean())
        constant = float(bias[target])
        assert maps.certify(mean, terms=terms, constant=constant, score=score, tolerance=1e-5).exact


def test_rounding_of_large_terms_that_cancel_is_no_fault_and_a_true_one_is_found() -> None:
    """The figures of a random resnet50: the terms amount to 721, and the logit is -0.03."""
    terms = float(maps.absolute_terms(torch.full((1, 2, 3, 3), 360.5), torch.tensor([[[1.0, -1.0]]]))[0, 0])
    assert terms == 721
    rounded, wrong = (
        maps.certify(-0.03 + missed, terms=terms, constant=0.0, score=-0.03, tolerance=1e-5)
        for missed in (2.2e-5, 1e-2)
    )
    assert rounded.exact and rounded.residual > 1e-5 and rounded.backward_error == pytest.approx(3.05e-8, rel=0.01)
    assert not wrong.exact


@pytest.mark.parametrize("name", SHIPPED)
def test_sixteen_photos_in_one_batch_get_what_each_gets_alone(
    name: str, load: Callable[[str], Model], crops: list[Image.Image]
) -> None:
    model = load(name)
    questions = [question(model, target=model.card.class_group(i % 7) if i % 2 else None) for i in range(len(crops))]
    together = explain(model, crops, questions)
    for i, one in enumerate(together):
        alone = explain(model, [crops[i]], [questions[i]])[0]
        assert document(alone)["prediction"]["index"] == document(one)["prediction"]["index"]
        assert document(alone)["maps"][0]["target"] == document(one)["maps"][0]["target"]
        path, single = document(one)["decision_path"], document(alone)["decision_path"]
        assert [step["node"] for step in path["steps"]] == [step["node"] for step in single["steps"]]
        ours, theirs = raw_map(one), raw_map(alone)
        assert np.abs(ours - theirs).max() <= 1e-4 * np.ptp(theirs)


def raw_map(explanation: Explained) -> np.ndarray:
    return next(iter(explanation.maps.values()))


def test_the_cat_is_a_cat_and_the_coffee_an_espresso(
    load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    tree, classifier = load("nbdt-cifar10"), load("resnet18-photos100")
    path = document(explain(tree, [photos["chelsea"]], [question(tree)])[0])["decision_path"]
    assert [step["name"] for step in path["steps"]] == ["animal", "chordate", "carnivore", "cat"]
    assert path["artifacts"] == {"tree": "nbdt-cifar10.tree.svg"}
    cat, coffee = explain(classifier, [photos["chelsea"], photos["coffee"]], [question(classifier)] * 2)
    cats = {"tabby, tabby cat", "Persian cat", "Egyptian cat"}
    assert cats & {entry["name"] for entry in document(cat)["prediction"]["top"]}
    assert document(coffee)["prediction"]["name"] == "espresso"


def mosaic(photos: dict[str, Image.Image], corner: tuple[int, int], side: int = 300) -> Image.Image:
    """Chelsea in one corner, three other photographs in the rest."""
    canvas = Image.new("RGB", (2 * side, 2 * side))
    others = iter(("coffee", "rocket", "astronaut"))
    for row, column in CORNERS:
        name = "chelsea" if (row, column) == corner else next(others)
        picture = photos[name]
        width, height = picture.size
        square = min(width, height)
        box = ((width - square) // 2, (height - square) // 2, (width + square) // 2, (height + square) // 2)
        canvas.paste(picture.resize((side, side), box=box), (column * side, row * side))
    return canvas


def shares(raw: np.ndarray) -> dict[tuple[int, int], float]:
    """Positive mass of the map in each corner."""
    rows, columns = raw.shape[0] // 2, raw.shape[1] // 2
    positive = raw.clip(min=0)
    quarters = {
        (0, 0): positive[:rows, :columns],
        (0, 1): positive[:rows, -columns:],
        (1, 0): positive[-rows:, :columns],
        (1, 1): positive[-rows:, -columns:],
    }
    return {corner: float(part.sum()) for corner, part in quarters.items()}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("corner", CORNERS)
def test_in_a_mosaic_the_map_of_the_cat_points_at_the_cat(
    name: str, corner: tuple[int, int], load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    model = load(name)
    cat = model.card.group("cat" if name == "nbdt-cifar10" else "tabby")
    picture = mosaic(photos, corner)
    explanation = explain(model, [picture], [question(model, target=cat)])[0]
    mass = shares(raw_map(explanation))
    assert max(mass, key=lambda where: mass[where]) == corner


@pytest.mark.parametrize("corner", CORNERS)
def test_asking_for_another_class_moves_the_map(
    corner: tuple[int, int], load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    model = load("resnet18-photos100")
    picture = mosaic(photos, corner)
    coffee = shares(raw_map(explain(model, [picture], [question(model, target=model.card.group("espresso"))])[0]))
    assert max(coffee, key=lambda where: coffee[where]) != corner


@pytest.mark.parametrize("name", SHIPPED)
def test_a_contrast_is_the_difference_of_two_maps_and_exact(
    name: str, load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    model = load(name)
    one, other = map(model.card.class_group, (3, 5))
    ask = [question(model, target=one), question(model, target=other), question(model, target=one, contrast=other)]
    first, second, both = explain(model, [photos["chelsea"]] * 3, ask)
    assert np.allclose(raw_map(first) - raw_map(second), raw_map(both), atol=1e-4)
    entry = document(both)["maps"][0]
    assert entry["contrast"]["index"] == 5
    assert entry["exactness"]["exact"]


def test_the_runner_up_is_the_best_other_class(load: Callable[[str], Model], photos: dict[str, Image.Image]) -> None:
    model = load("nbdt-cifar10")
    by_prediction, by_target = explain(
        model,
        [photos["chelsea"]] * 2,
        [question(model, contrast=RUNNER_UP), question(model, target=model.card.class_group(9), contrast=RUNNER_UP)],
    )
    top = document(by_prediction)["prediction"]["top"]
    assert document(by_prediction)["maps"][0]["contrast"]["index"] == top[1]["index"]
    assert document(by_target)["maps"][0]["contrast"]["index"] == top[0]["index"]


@pytest.mark.parametrize("mode", TreeMode)
@pytest.mark.parametrize("name", SHIPPED)
def test_the_steps_of_a_path_multiply_to_its_probability(
    name: str, mode: TreeMode, load: Callable[[str], Model], photos: dict[str, Image.Image]
) -> None:
    model = load(name)
    path = document(explain(model, [photos["rocket"]], [Question(tree=mode)])[0])["decision_path"]
    product = 1.0
    for step in path["steps"]:
        product *= step["probability"]
        assert step["path_probability"] == pytest.approx(product)
        total = step["probability"] + sum(sibling["probability"] for sibling in step["siblings"])
        assert total == pytest.approx(1, abs=1e-5)
    weakest = path["steps"][path["weakest"]]["probability"]
    assert weakest == min(step["probability"] for step in path["steps"])


def test_explaining_leaves_the_network_as_it_was(load: Callable[[str], Model], photos: dict[str, Image.Image]) -> None:
    model = load("nbdt-cifar10")
    before = {name: value.clone() for name, value in model.trunk.state_dict().items()}
    explain(model, list(photos.values()), [question(model)] * len(photos))
    assert all(torch.equal(before[name], value) for name, value in model.trunk.state_dict().items())
    assert not model.trunk.training
    assert not any(module._forward_hooks for module in model.trunk.modules())


def test_the_network_sees_the_centre_square_of_a_wide_and_of_a_tall_picture(registry: Registry) -> None:
    spec = registry.get("nbdt-cifar10").input
    assert crop_box(400, 200, spec) == (100, 0, 300, 200)
    assert crop_box(200, 400, spec) == (0, 100, 200, 300)
    picture = Image.new("RGB", (400, 200), "red")
    picture.paste("blue", (100, 0, 300, 200))
    tensor = to_tensor(picture, spec)
    assert tensor.shape == (3, spec.size, spec.size)
    assert (tensor[2, :, 2:-2] > 0).all() and (tensor[0, :, 2:-2] < 0).all()


def test_a_picture_of_one_pixel_is_explained_without_a_nan(load: Callable[[str], Model]) -> None:
    model = load("nbdt-cifar10")
    explanation = explain(model, [Image.new("RGB", (1, 1), "white")], [question(model)])[0]
    assert np.isfinite(raw_map(explanation)).all()


@pytest.mark.parametrize("at_once", [1, 3 * 32**2, 7 * 32**2 + 1])
def test_a_batch_that_goes_through_the_trunk_in_parts_has_the_features_of_each_picture(
    at_once: int, load: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = load("nbdt-cifar10"), torch.randn(7, 3, 32, 32)
    whole = model.features(inputs)
    sizes: list[int] = []
    monkeypatch.setattr("worker.engine.models.PIXELS_AT_ONCE", at_once)
    with model.trunk.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0]))):
        assert torch.allclose(model.features(inputs), whole, atol=1e-5)
    assert sum(sizes) == len(inputs) and min(sizes) > 0
