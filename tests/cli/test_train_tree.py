"""`pathlight train-tree` on three classes of CIFAR-10 and a small timm network, in a fresh state directory."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from cli.main import main
from cli.train_tree import TrainingOptions, _losses
from shared.cards.card import ModelCard, Registry
from shared.cards.declarations import declarations
from shared.settings import Settings
from training import fit
from training.tree_training import Trained
from worker.engine.architectures import build

CLASSES = ("frog", "ship", "truck")
TINY = "timm/test_resnet"
EACH = 8  # pictures of a class
SIDES = ("--resize", "32", "--crop", "32", "--size", "64")
OPTIONS = ("--epochs", "2", "--batch", "8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """A state directory with the model `pets`, and beside it the pictures."""
    folder = tmp_path_factory.mktemp("trained")
    archive = np.load(shared_data / "cifar10-test.npz", allow_pickle=False)
    names, offsets, data = list(archive["names"]), archive["offsets"], archive["images"]
    for label in CLASSES:
        (folder / "pictures" / label).mkdir(parents=True)
        for index in np.flatnonzero(archive["labels"] == names.index(label))[:EACH]:
            path = folder / "pictures" / label / f"{index}.jpg"
            path.write_bytes(data[offsets[index] : offsets[index + 1]].tobytes())
    (folder / "pictures" / "ship" / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")
    torch.manual_seed(0)
    save_file(build(TINY, len(CLASSES)).state_dict(), folder / "pets.safetensors")
    (folder / "pets.txt").write_text("\n".join(CLASSES), "utf-8")
    files = ["--weights", str(folder / "pets.safetensors"), "--classes", str(folder / "pets.txt")]
    added = ask(folder, "models", "add", "pets", "--architecture", TINY, *SIDES, *files)
    assert added.exit_code == 0, added.output
    return folder


@pytest.fixture(scope="module")
def printed(home: Path) -> str:
    """What a training that nothing interrupts says."""
    done = train(home, *OPTIONS)
    assert done.exit_code == 0, done.output
    return done.output


def ask(home: Path, *words: str) -> Result:
    return CliRunner(env={"PATHLIGHT_HOME": str(home / "home"), "COLUMNS": "200"}).invoke(main, words)


def train(home: Path, *options: str, data: str = "pictures") -> Result:
    torch.set_num_threads(1)  # explaining sets it for the process, and sums in other parts round otherwise
    return ask(home, "train-tree", "pets", "--data", str(home / data), *options)


def settings_of(home: Path) -> Settings:
    return Settings(home=home / "home")


def card_of(home: Path, name: str) -> ModelCard:
    return Registry.load(settings_of(home)).ready(name)


def weights_of(home: Path, name: str) -> Mapping[str, torch.Tensor]:
    return load_file(home / "home" / "trained" / name / "weights.safetensors")


def test_the_new_model_has_a_card_with_its_accuracies_its_tree_and_half_precision_weights(
    home: Path, printed: str
) -> None:
    card = card_of(home, "pets-tree")
    assert card.tree_supervised and card.classes == CLASSES and card.input == card_of(home, "pets").input
    assert card.hierarchy is not None and card.hierarchy.origin.startswith("induced: Ward clustering")
    assert set(card.facts["accuracy"]) == {"split", "unit", "network", "soft", "hard", "marginal"}
    assert card.facts["accuracy"]["network"] == card.facts["accuracy"]["marginal"]
    assert card.facts["accuracy"]["split"] == "test, 3 pictures that were not trained on"
    assert card.facts["trained_from"] == "pets" and "seed 0" in card.facts["recipe"]
    assert weights_of(home, "pets-tree")["fc.weight"].dtype == torch.float16
    before = load_file(card_of(home, "pets").weights_path)["fc.weight"]
    assert not torch.equal(weights_of(home, "pets-tree")["fc.weight"], before.half())


def test_it_says_what_it_does_and_keeps_only_what_came_of_it(home: Path, printed: str) -> None:
    assert "pictures: train 18, validation 3, test 3" in printed and "tree: 2 decisions over 3 classes" in printed
    assert "left out: ship/damaged.jpg: " in printed
    assert "epoch 2: loss " in printed and "pets-tree is ready: timm/test_resnet, 3 classes, 64 px" in printed
    assert "Try: pathlight explain photo.jpg --model pets-tree" in printed
    kept = {path.name for path in (home / "home" / "trained" / "pets-tree").iterdir()}
    assert kept == {"weights.safetensors", "hierarchy.json", "classes.json", "lock"}


def test_it_explains_by_the_tree_that_it_was_trained_on(home: Path, printed: str, tmp_path: Path) -> None:
    photo = next((home / "pictures" / "frog").iterdir())
    done = ask(home, "explain", str(photo), "--model", "pets-tree", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    path = json.loads((tmp_path / "explanation.json").read_text("utf-8"))["decision_path"]
    assert path["mode"] == "soft" and all(step["map"]["exactness"]["exact"] for step in path["steps"])


def test_after_ctrl_c_the_same_command_goes_on_and_comes_to_the_same_weights(
    home: Path, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save: Callable[..., None] = fit._save

    def interrupted_save(*arguments: Any) -> None:
        save(*arguments)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
    try:
        with monkeypatch.context() as patch:
            patch.setattr(fit, "_save", interrupted_save)
            stopped = train(home, *OPTIONS, "--name", "resumed")
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.exit_code == 1
    assert stopped.output.endswith("stopped; finished epochs are kept, and the same command goes on from there\n")
    assert "resumed" not in declarations(settings_of(home).own_models)
    other = train(home, *OPTIONS, "--name", "resumed", "--seed", "1")
    assert other.exit_code == 1 and "other pictures or options; --force starts anew" in other.output
    resumed = train(home, *OPTIONS, "--name", "resumed")
    assert resumed.exit_code == 0 and "epoch 1: loss" not in resumed.output and "epoch 2: loss" in resumed.output
    whole = weights_of(home, "pets-tree")
    assert all(torch.equal(value, whole[key]) for key, value in weights_of(home, "resumed").items())


def test_what_cannot_be_trained_is_refused_before_anything_is_done(home: Path, printed: str) -> None:
    (home / "few" / "frog").mkdir(parents=True)
    (home / "few" / "frog" / "1.png").touch()
    (home / "odd" / "zebra").mkdir(parents=True)
    (home / "odd" / "zebra" / "1.png").touch()
    tree = str(home / "tree.json")
    leaves = [{"id": name, "name": name, "class": index} for index, name in enumerate(CLASSES[:2])]
    Path(tree).write_text(json.dumps({"nodes": [{"id": "r", "children": CLASSES[:2]}, *leaves]}), "utf-8")
    for refused, sentence in (
        (train(home), "pets-tree is in"),
        (train(home, "--name", "nbdt-cifar10"), "nbdt-cifar10 is the name of a model that ships"),
        (train(home, "--name", "No"), "'No' cannot name a model"),
        (train(home, "--name", "new", data="few"), "needs a sub-folder with 3 pictures; frog has 1, ship has 0"),
        (train(home, "--name", "new", data="odd"), "the sub-folder 'zebra' is called by no class of pets"),
        (train(home, "--name", "new", "--hierarchy", tree), "one over 2 classes, not over the 3 of pets"),
        (ask(home, "train-tree", "horses", "--data", str(home)), "'horses' is not a model"),
    ):
        assert refused.exit_code == 1 and sentence in refused.output, refused.output
    assert "new" not in declarations(settings_of(home).own_models)


def test_the_start_is_a_candidate_and_what_is_worse_than_before_is_said_first(home: Path) -> None:
    """A rate that ruins the network: no epoch is better than the start, which is then what is taken on."""
    done = train(home, "--name", "ruined", "--epochs", "2", "--batch", "8", "--rate", "30")
    assert done.exit_code == 0, done.output
    assert "No epoch was better than the start: the weights are those of pets." in done.output
    assert done.output.index("No epoch was better") < done.output.index("ruined is ready")
    before = load_file(card_of(home, "pets").weights_path)["fc.weight"]
    assert torch.equal(weights_of(home, "ruined")["fc.weight"], before.half())
    assert card_of(home, "ruined").facts["best_epoch"] == 0


def test_a_loss_of_accuracy_is_said_of_each_figure_that_fell() -> None:
    options = TrainingOptions("pets", Path("x"), None, None, 1, 1, 1, 0.1, 0.5, 0.2, 0, force=False)
    trained = Trained(3, before={"network": 96.7, "soft": 50.0}, after={"network": 80.0, "soft": 75.0})
    assert _losses(options, trained, test_count=30) == [
        "Worse than pets on 30 pictures that were not trained on: network 80.0 % (before 96.7 %)."
    ]
    assert _losses(options, Trained(3, before={"soft": 1.0}, after={"soft": 2.0}), test_count=30) == []
