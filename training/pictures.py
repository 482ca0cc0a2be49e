"""Labelled pictures in memory: from the project's archives where they are, otherwise from the public originals."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from shared.images.decode import Photo

ARCHIVES = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Pictures:
    """N pictures as uint8 N x 3 x H x W with labels; boxes (x0 y0 x1 y1, ends inclusive) where the data has them."""

    images: Tensor
    labels: Tensor  # N, int64
    names: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    boxes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


def read_archive(path: Path) -> Pictures:
    """Read a `.npz` of encoded pictures: `images` end to end, cut by `offsets`, with `labels` and `names`."""
    archive = np.load(path, allow_pickle=False)
    data, offsets = archive["images"], archive["offsets"]
    spans = list(zip(offsets[:-1], offsets[1:], strict=True))
    decoded = [_decode(data[a:b].tobytes()) for a, b in track(spans, f"decoding {path.name}")]
    return Pictures(
        torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(archive["labels"].astype(np.int64)),
        tuple(str(name) for name in archive["names"]),
        tuple(str(w) for w in archive["wnids"]) if "wnids" in archive.files else (),
        torch.from_numpy(archive["boxes"].astype(np.int64)) if "boxes" in archive.files else None,
    )


def cifar10(split: str, folder: Path) -> Pictures:
    """CIFAR-10's "train" or "test" split: `folder/cifar10-SPLIT.npz`, or torchvision's download into `folder`."""
    archive = folder / f"cifar10-{split}.npz"
    if archive.exists():
        return read_archive(archive)
    from worker.engine.vision import torchvision

    original = torchvision.datasets.CIFAR10(folder, train=split == "train", download=True)
    return Pictures(
        torch.from_numpy(original.data).permute(0, 3, 1, 2).contiguous(),
        torch.tensor(original.targets),
        tuple(original.classes),
    )


def photos100(split: str, folder: Path) -> Pictures:
    """The photo classes, "train" or "val": `folder/photos100-SPLIT.npz`, or the same classes of Tiny ImageNet."""
    archive = folder / f"photos100-{split}.npz"
    if archive.exists():
        return read_archive(archive)
    card = json.loads((Path(__file__).parents[1] / "models" / "resnet18-photos100" / "card.json").read_text("utf-8"))
    return read_tiny_imagenet(folder, split, wnids=card["wnids"], names=card["classes"])


@dataclass(frozen=True)
class Photographs:
    """N full-size photographs as encoded files, with the indices of their ImageNet classes."""

    files: tuple[bytes, ...]
    labels: Tensor  # N, int64

    def __len__(self) -> int:
        return len(self.files)

    def photos(self, chosen: slice) -> list[Photo]:
        """Some of them, decoded."""
        return [Photo.whole(Image.open(io.BytesIO(data)).convert("RGB")) for data in self.files[chosen]]

    def describe(self) -> str:
        """What they are, in a few words for a card."""
        return f"{len(self)} photographs of ImageNet's classes, one a class"


def photos1000(folder: Path) -> Photographs:
    """The photographs of `folder/photos1000-sample.npz`."""
    archive = np.load(folder / "photos1000-sample.npz", allow_pickle=False)
    data, offsets = archive["images"], archive["offsets"].tolist()
    files = tuple(data[a:b].tobytes() for a, b in zip(offsets[:-1], offsets[1:], strict=True))
    return Photographs(files, torch.from_numpy(archive["labels"].astype(np.int64)))


def read_tiny_imagenet(folder: Path, split: str, *, wnids: Sequence[str], names: Sequence[str]) -> Pictures:
    """Read the classes `wnids` from an unpacked Tiny ImageNet folder (train/WNID/images, val/val_annotations.txt)."""
    files = [(path, label) for label, wnid in enumerate(wnids) for path in _tiny_files(folder, split, wnid)]
    if not files:
        raise FileNotFoundError(f"{folder} holds neither photos100-{split}.npz nor an unpacked Tiny ImageNet")
    decoded = [_decode(path.read_bytes()) for path, _ in track(files, f"decoding {split}")]
    return Pictures(
        torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([label for _, label in files]),
        tuple(names),
        tuple(wnids),
    )


def _tiny_files(folder: Path, split: str, wnid: str) -> list[Path]:
    if split == "train":
        return sorted((folder / "train" / wnid / "images").glob("*.JPEG"))
    lines = (folder / "val" / "val_annotations.txt").read_text("utf-8").splitlines()
    return [folder / "val" / "images" / line.split("\t")[0] for line in lines if line.split("\t")[1] == wnid]


def _decode(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
