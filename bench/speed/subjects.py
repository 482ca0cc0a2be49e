"""What the benches run on: photographs as files, and the shipped and upstream networks."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from shared.cards.card import Registry
from shared.settings import Settings
from worker.engine.architectures import build
from worker.engine.models import Model
from worker.engine.precision import computes_bf16

PHOTOGRAPHS: tuple[Callable[[], NDArray[np.uint8]], ...] = (data.chelsea, data.coffee, data.astronaut, data.rocket)
UPSTREAM = ("resnet18-imagenet", "wrn28-10-cifar10")
MODELS = ("nbdt-cifar10", "resnet18-photos100", *UPSTREAM)


@cache
def photographs() -> tuple[bytes, ...]:
    """Real photographs as JPEG files."""
    return tuple(_jpeg(Image.fromarray(photograph())) for photograph in PHOTOGRAPHS)


def files(count: int) -> list[bytes]:
    """`count` files, the photographs in turns."""
    every = photographs()
    return [every[i % len(every)] for i in range(count)]


@cache
def registry() -> Registry:
    return Registry.load(Settings())


def precision() -> str:
    """What the worker computes in on this hardware: both shipped models have passed the gate of bf16."""
    return "bf16" if computes_bf16(torch.device("cpu")) else "fp32"


@cache
def model(name: str, *, precision: str) -> Model:
    """A shipped model with its weights; an upstream one with random weights, which cost as much."""
    if name in UPSTREAM:
        return random_model(name, precision=precision)
    return Model.load(registry().ready(name), bf16=precision == "bf16")


@cache
def random_model(name: str, *, precision: str) -> Model:
    """A registered network with seeded random weights."""
    card = registry().get(name)
    named = replace(card, classes=card.classes or tuple(f"class {k}" for k in range(card.class_count)))
    torch.manual_seed(0)
    return Model.of(build(card.architecture, card.class_count), named, bf16=precision == "bf16")


def install_random(name: str, folder: Path) -> None:
    """Put a registered network into `folder` as a model that is ready, with seeded random weights."""
    subject, card = random_model(name, precision="fp32").card, registry().get(name)
    place = folder / name
    place.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(build(card.architecture, card.class_count).state_dict(), place / "weights.safetensors")
    digest = hashlib.sha256((place / "weights.safetensors").read_bytes()).hexdigest()
    data = json.loads((card.folder / "card.json").read_text("utf-8"))
    data |= {"weights": {"file": "weights.safetensors", "sha256": digest}, "classes": list(subject.classes)}
    (place / "card.json").write_text(json.dumps(data), "utf-8")
    shutil.copy(card.folder / "hierarchy.json", place)


def large_file(width: int, height: int) -> bytes:
    """A photograph of this size with the noise of a camera, as JPEG."""
    enlarged = Image.open(io.BytesIO(files(1)[0])).resize((width, height), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3))
    return _jpeg(Image.fromarray((np.asarray(enlarged) + noise).clip(0, 255).astype(np.uint8)))


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
