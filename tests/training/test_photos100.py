"""The command that trains resnet18-photos100: it does all by itself, repeats itself, resumes, and has its own card."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from shared.cards.card import Registry
from training import photos100, publish
from training.fit import FINISHED

CLASSES = 6
COUNT = 12
EPOCHS = 3


def write_archive(path: Path, wnids: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(COUNT):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    np.savez(
        path,
        images=np.frombuffer(b"".join(encoded), np.uint8),
        offsets=np.cumsum([0, *map(len, encoded)]),
        labels=np.arange(COUNT, dtype=np.uint8) % CLASSES,
        names=np.array([f"class {wnid}" for wnid in wnids]),
        wnids=np.array(wnids),
    )


@pytest.fixture
def data(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives of few small pictures, and a recipe of few small epochs."""
    for split in ("train", "val"):
        write_archive(tmp_path / f"photos100-{split}.npz", registry.get("resnet18-photos100").wnids[:CLASSES])
    monkeypatch.setattr(photos100, "SIZES", (32,) * EPOCHS)
    monkeypatch.setattr(photos100, "RECIPE", replace(photos100.RECIPE, epochs=EPOCHS, batch=4, peak_rate=0.01))
    monkeypatch.setattr(photos100, "TEACHER_SIZE", 32)
    monkeypatch.setattr(photos100, "SERVED_SIZE", 32)
    return tmp_path


def train(data: Path, run: Path) -> Mapping[str, Tensor]:
    CliRunner().invoke(photos100.main, ["--data", str(data), "--run", str(run)], catch_exceptions=False)
    state: Mapping[str, Tensor] = torch.load(run / FINISHED, weights_only=True)
    return state


@pytest.mark.slow
def test_the_command_alone_gives_the_same_weights_again_after_an_interruption_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(data, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(photos100, "predict", _interrupted)  # after the second epoch, before it is kept
        with pytest.raises(InterruptedError):
            train(data, tmp_path / "run")
    assert len(list((tmp_path / "run").glob("answers-*.npy"))) == 1
    kept = torch.load(photos100.checkpoint(tmp_path / "run"), weights_only=True)
    assert kept["epoch"] == 1
    resumed = train(data, tmp_path / "run")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def _interrupted(*_: object, **__: object) -> Tensor:
    raise InterruptedError


def test_the_card_states_the_recipe_of_the_command_and_nothing_else(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(data, tmp_path / "run")
    monkeypatch.setattr(publish, "REPOSITORY", tmp_path)
    arguments = ["photos100", "--data", str(data), "--run", str(tmp_path / "run")]
    CliRunner().invoke(publish.main, arguments, catch_exceptions=False)
    card = json.loads((tmp_path / "models" / "resnet18-photos100" / "card.json").read_text("utf-8"))
    assert card["facts"]["recipe"] == photos100.describe()
    for said in (photos100.TEACHER, "T = 2.0", "32 px"):
        assert said in card["facts"]["recipe"]
