"""How labelled pictures are divided and prepared, and how weights are halved."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from shared.cards.card import InputSpec
from shared.images.decode import Limits
from tests.conftest import encoded
from training.half_precision import write_in_half_precision
from training.labelled_folder import PARTS, Labelled, divide, prepare

LIMITS = Limits(1_000_000, 1_000_000, 2000)
SPEC = InputSpec(16, 16, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=4),
    held_out=st.floats(0.01, 0.9),
    seed=st.integers(0, 1000),
)
def test_every_picture_is_in_one_part_and_every_class_in_all(counts: list[int], held_out: float, seed: int) -> None:
    pictures = [Labelled(Path(f"{label}/{n}"), label) for label, count in enumerate(counts) for n in range(count)]
    parts = divide(pictures, held_out=held_out, seed=seed)
    assert tuple(parts) == PARTS and parts == divide(pictures, held_out=held_out, seed=seed)
    assert Counter(one for part in parts.values() for one in part) == Counter(pictures)
    assert all({one.label for one in part} == set(range(len(counts))) for part in parts.values())
    assert len(parts["validation"]) == len(parts["test"])


def test_pictures_are_prepared_once_and_the_damaged_ones_are_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded(Image.new("RGB", (40, 20), (10, 20, 30))))
    bad.write_bytes(b"no picture")
    part = [Labelled(bad, 0), Labelled(good, 1)]
    first = prepare(part, SPEC, names=("a", "b"), place=tmp_path / "part", limits=LIMITS)
    good.unlink()
    for pictures, left_out in (first, prepare(part, SPEC, names=("a", "b"), place=tmp_path / "part", limits=LIMITS)):
        assert pictures.images.shape == (1, 3, 16, 16) and pictures.labels.tolist() == [1]
        assert pictures.images[0, :, 8, 8].tolist() == [10, 20, 30]
        (sentence,) = left_out
        assert sentence.endswith("bad.png: the file is not a JPEG, PNG or WebP picture")


def test_weights_are_halved_where_half_precision_can_hold_them(tmp_path: Path) -> None:
    network = nn.BatchNorm2d(2)
    network.running_var = torch.tensor([1e6, 1.0])
    network.weight.data = torch.tensor([0.1, 1.0])
    write_in_half_precision(network, tmp_path / "w.safetensors")
    state = load_file(tmp_path / "w.safetensors")
    assert (state["weight"].dtype, state["running_var"].dtype) == (torch.float16, torch.float32)
    assert network.weight.data[0] == torch.tensor(0.1).half().float() and network.running_var.tolist() == [1e6, 1.0]
