"""Weights files: held against their hash before anything is parsed, then read as plain tensors and fitted strictly.

The hash comes from the model card: all 64 digits of the SHA-256, or the first 8 where upstream states no more. Beside a
fetched file lies weights.json, the record of its fetch, with all 64 digits. Where upstream states nothing, that record
is the only hash there is: nothing was known about the first file, but every later load must be the same file.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from shared import json_text
from shared.cards.card import RECORD, ModelCard
from shared.errors import ModelUnavailable
from worker.engine.rehearsal import TooMuch, rehearse

MOST_TENSORS = 20_000
UNPACKED_AT_LEAST = 256 * 1024 * 1024  # bytes that the tensors of any file may have in fp32
UNPACKED_PER_BYTE = 8  # and so many for each byte of the file: fp8 takes four, and tensors may share their bytes
# What reading a file that nobody vouches for may take: so much, and so much for each of its bytes.
SECONDS = 2.5
SECONDS_PER_BYTE = 1 / 50_000_000
MEMORY_BYTES = 600_000_000

WRAPPERS = ("module.", "model.")  # left in the keys by DataParallel and by nbdt's NBDT
SAVE_AGAIN = "save the state dict alone, with torch.save or as safetensors"
NAMED = 3  # how many unfit keys an error names

_STATED = re.compile(r"[0-9a-f]{8}|[0-9a-f]{64}")
_RECORDED = re.compile(r"[0-9a-f]{64}")


def load_weights(network: nn.Module, card: ModelCard) -> None:
    """Put the card's weights into the network; every key and shape must fit."""
    state = load_state(card)
    if found := faults(network, state):
        raise ModelUnavailable(
            f"{card.weights.file} does not fit {card.architecture} with {card.class_count} classes: {found}"
        )
    network.load_state_dict(state)


def load_state(card: ModelCard) -> dict[str, Tensor]:
    """The card's tensors in fp32 (counters stay integers), from a file that has the expected hash."""
    path = card.weights_path
    if not path.exists():
        raise ModelUnavailable(f"{card.name} is not ready: the weights file {path.name} is missing; {_remedy(card)}")
    pins = hash_pins(card, path.parent)
    if not pins:
        raise ModelUnavailable(f"{path.name} was not loaded: no SHA-256 is known for it; {_remedy(card)}")
    digest = sha256_of(path)
    if not matches(digest, pins):
        raise ModelUnavailable(
            f"{path.name} was not loaded: its SHA-256 is {digest}, expected was {' and '.join(pins)}; {_remedy(card)}"
        )
    return read_state(path)


def hash_pins(card: ModelCard, folder: Path) -> tuple[str, ...]:
    """What the file's SHA-256 must begin with: the card's statement and the record of the first fetch, where given."""
    stated = card.weights.sha256
    if stated and not _STATED.fullmatch(stated):
        raise ModelUnavailable(f"the card of {card.name} states {stated!r}, not 8 or 64 lower-case digits of a SHA-256")
    recorded = _recorded_hash(folder / RECORD) if card.weights.url else None
    return tuple(pin for pin in (stated, recorded) if pin)


def matches(digest: str, pins: tuple[str, ...]) -> bool:
    """Whether a SHA-256 begins with every one of some pinned digits."""
    return all(digest.startswith(pin) for pin in pins)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits. Raises ModelUnavailable where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelUnavailable(f"{path.name} cannot be read: {error.strerror}") from error


def read_unvouched_state(path: Path) -> dict[str, Tensor]:
    """As `read_state`, of a file that anybody may have written: first in a copy of this process that has little time
    and memory, both by the size of the file."""
    _check_kind(path)
    size = path.stat().st_size
    try:
        refused = rehearse(
            lambda: read_state(path),
            seconds=SECONDS + SECONDS_PER_BYTE * size,
            memory_bytes=MEMORY_BYTES + UNPACKED_PER_BYTE * size,
        )
    except TooMuch as error:
        raise ModelUnavailable(
            f"{path.name} takes more time or memory to read than a file of {size} bytes may; {SAVE_AGAIN}"
        ) from error
    if refused:
        raise ModelUnavailable(refused)
    return read_state(path)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a file as a plain state dict; no code that the file may carry runs. The hash is the caller's business."""
    _check_kind(path)
    try:
        found = READERS[path.suffix](path)
    except ModelUnavailable:
        raise
    except Exception as error:  # what a parser raises depends on the bytes, which anybody may have written
        if _lacks_memory(error):
            raise MemoryError from error
        raise _not_plain(path) from error
    tensors = _tensors(found)
    if not tensors or not all(map(_is_plain, tensors.values())):
        raise _not_plain(path)
    _check_bytes(tensors, path)
    return {key: value.float() if value.is_floating_point() else value for key, value in _unwrapped(tensors).items()}


def _check_kind(path: Path) -> None:
    if path.suffix not in READERS:
        raise ModelUnavailable(f"{path.name} is none of {', '.join(READERS)}")
    if not path.is_file():
        raise ModelUnavailable(f"{path.name} is no file")


def _is_plain(tensor: Tensor) -> bool:
    """Whether it has numbers, each in its place: a sparse one may claim any size, and one on no device has none."""
    return tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _check_bytes(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Several tensors, or many places of one, may share the same bytes of the file; in fp32 each has its own."""
    size = path.stat().st_size
    most = max(UNPACKED_AT_LEAST, UNPACKED_PER_BYTE * size)
    needed = sum(one.numel() * (4 if one.is_floating_point() else one.element_size()) for one in tensors.values())
    if needed > most:
        raise ModelUnavailable(
            f"{path.name} holds tensors of {needed} bytes, at most {most} are read of a file of {size}; {SAVE_AGAIN}"
        )


def _lacks_memory(error: Exception) -> bool:
    """torch has no error of its own for that on a CPU."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "bad_alloc" in str(error)


def _read_safetensors(path: Path) -> object:
    with safetensors.safe_open(path, "pt") as file:
        if (count := len(file.keys())) > MOST_TENSORS:
            raise ModelUnavailable(f"{path.name} holds {count} tensors; at most {MOST_TENSORS} are read")
    return safetensors.torch.load_file(path)


def _read_torch(path: Path) -> object:
    """Tensors only: `weights_only` refuses every other object. Files from before torch 1.6 cannot be mapped."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


READERS: Mapping[str, Callable[[Path], object]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
}
CONTAINERS = ("net", "state_dict")  # where checkpoints keep the state dict: nbdt's, and most other projects'


def _tensors(found: object) -> dict[str, Tensor]:
    """The named tensors of a state dict, or of a checkpoint around one; empty where it is anything else."""
    for key in CONTAINERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        return {}
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return tensors if len(tensors) == len(found) else {}


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def faults(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What does not fit, in words; empty where all does. Files from before the counter `num_batches_tracked` lack it;
    torch then starts it at zero."""
    own = network.state_dict()
    missing = [f"{key} is missing" for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked")]
    unknown = [f"{key} is unknown" for key in state.keys() - own.keys()]
    shapes = [
        f"{key} is {_shape(state[key])} instead of {_shape(own[key])}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    found = sorted(missing) + sorted(unknown) + sorted(shapes)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more


def _shape(tensor: Tensor) -> str:
    return " x ".join(str(side) for side in tensor.shape) or "a scalar"


def _recorded_hash(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        digest = str(json_text.decode(path.read_bytes())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        digest = ""
    if not _RECORDED.fullmatch(digest):
        raise ModelUnavailable(f"{path} is not a readable record of a fetch; delete it to trust the next one")
    return digest


def _not_plain(path: Path) -> ModelUnavailable:
    return ModelUnavailable(f"{path.name} is not a plain state dict and was not loaded")


def _remedy(card: ModelCard) -> str:
    return f"run: {card.restore}"
