"""A folder of labelled pictures, one sub-folder a class: divided by a seed, and prepared as a network sees them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Generator

from shared.cards.card import InputSpec, ModelCard
from shared.errors import InvalidImage, InvalidOption
from shared.files import replacing
from shared.images.decode import Limits, decode_reduced
from shared.images.picture_files import is_picture_file
from shared.images.seeing import visible_square
from training.pictures import Pictures

PARTS = ("train", "validation", "test")
FEWEST = len(PARTS)  # pictures of a class: one for each part


@dataclass(frozen=True)
class Labelled:
    """A picture's file and the index of its class."""

    file: Path
    label: int


def find_labelled(folder: Path, card: ModelCard) -> list[Labelled]:
    """The pictures of a folder in a fixed order; each sub-folder is called by a class of the model or its WordNet id.

    Raises InvalidOption where a sub-folder is no class, or a class has fewer than FEWEST pictures.
    """
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = [file for file in sorted(place.rglob("*")) if file.is_file() and is_picture_file(file, file.name)]
        if files:
            label = _class_of(place.name, card)
            found += [Labelled(file, label) for file in files]
    counts = np.bincount([one.label for one in found], minlength=card.class_count)
    short = [f"{name} has {count}" for name, count in zip(card.classes, counts, strict=True) if count < FEWEST]
    if short:
        listed = ", ".join(short[:3]) + (f" and {len(short) - 3} more have too few" if len(short) > 3 else "")
        raise InvalidOption(f"{folder}: each class of {card.name} needs a sub-folder with {FEWEST} pictures; {listed}")
    return found


def divide(pictures: Sequence[Labelled], *, held_out: float, seed: int) -> dict[str, list[Labelled]]:
    """The parts by name: of each class a share of `held_out` (0 to 1) is kept from training, half of it to choose the
    best epoch by (validation) and half to measure on (test), one picture each at least."""
    rng = Generator().manual_seed(seed)
    parts: dict[str, list[Labelled]] = {name: [] for name in PARTS}
    for label in sorted({one.label for one in pictures}):
        own = [one for one in pictures if one.label == label]
        order = [own[index] for index in torch.randperm(len(own), generator=rng).tolist()]
        each = max(1, min(round(len(own) * held_out / 2), (len(own) - 1) // 2))
        parts["validation"] += order[:each]
        parts["test"] += order[each : 2 * each]
        parts["train"] += order[2 * each :]
    return parts


def digest(pictures: Sequence[Labelled], folder: Path) -> str:
    """Names the pictures: another file, label, size or time is another digest."""
    seen = []
    for one in pictures:
        stat = one.file.stat()
        seen.append([str(one.file.relative_to(folder)), one.label, stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def prepare(
    part: Sequence[Labelled], spec: InputSpec, *, names: tuple[str, ...], place: Path, limits: Limits
) -> tuple[Pictures, list[str]]:
    """Decode pictures, once: later calls read `place` again, a folder of arrays. They stay on disk, N x 3 x S x S bytes
    for S = `spec.crop`, and come into memory as they are used.

    The second value says which were left out, and why.
    """
    if not place.exists():
        with replacing(place) as partial:
            partial.mkdir(parents=True, exist_ok=True)
            _write(part, spec, partial, limits)
    # Copy on write: torch wants arrays that could be written.
    images, labels = (np.load(place / f"{what}.npy", mmap_mode="c") for what in ("images", "labels"))
    left_out = json.loads((place / "left-out.json").read_text("utf-8"))
    return Pictures(torch.from_numpy(images[: len(labels)]), torch.from_numpy(np.array(labels)), names), left_out


def _write(part: Sequence[Labelled], spec: InputSpec, folder: Path, limits: Limits) -> None:
    labels: list[int] = []
    left_out: list[str] = []
    shape = (len(part), 3, spec.crop, spec.crop)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    for one in track(part, f"preparing pictures, {folder.stem}"):
        try:
            photo = decode_reduced(one.file.read_bytes(), limits)
        except (InvalidImage, OSError) as error:
            left_out.append(f"{one.file.parent.name}/{one.file.name}: {error}")
            continue
        images[len(labels)] = visible_square(photo, spec).transpose(2, 0, 1)
        labels.append(one.label)
    images.flush()
    np.save(folder / "labels.npy", np.array(labels, np.int64))
    (folder / "left-out.json").write_text(json.dumps(left_out), "utf-8")


def _class_of(name: str, card: ModelCard) -> int:
    label = card.wnids.index(name) if name in card.wnids else card.class_index(name)
    if label is None:
        known = ", ".join(card.classes[:10]) + (", …" if card.class_count > 10 else "")
        raise InvalidOption(f"the sub-folder {name!r} is called by no class of {card.name}; they are {known}")
    return label
