"""Weights files that ask for far more than they bring: refused within seconds, and nothing happens to the process."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.errors import ModelUnavailable
from worker.engine import weights
from worker.engine.rehearsal import TooMuch, rehearse

pytestmark = pytest.mark.slow  # it judges time and memory

MOST_SECONDS = 3.5  # of a file of a few KB, on a machine on which others work
TOO_MUCH = "takes more time or memory to read than a file of"
HOLDS = r"holds tensors of \d+ bytes, at most \d+ are read of a file of \d+; save the state dict alone"
NOT_PLAIN = "is not a plain state dict"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def tensor(kind: str, length: int, size: int, stride: int) -> bytes:
    """The pickle of a tensor over storage 0."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text("0") + text("cpu") + number(length)
    shape = b"(" + number(size) + b"t(" + number(stride) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQK\0" + shape + b"\x89ccollections\nOrderedDict\n)RtR"


def state(tensors: Mapping[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(name) + one for name, one in tensors.items()) + b"u."


def zipped(pickled: bytes, storage: bytes = bytes(4), *, packed: bool = False, more: bytes = b"") -> bytes:
    """A file as torch.save writes it, of these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", storage)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/.data/serialization_id", more)
    return buffer.getvalue()


def legacy(length: int) -> bytes:
    """A file from before torch 1.6 whose storages claim a length each."""
    one = tensor("Float", length, length, 1).replace(b"tQK\0", b"NtQK\0")
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return b"".join(pickle.dumps(part, 2) for part in head) + state({"a": one}) + pickle.dumps(["0"], 2)


def nested(count: int) -> bytes:
    """A tuple of the same tuple twice, and so on: it is small, and whoever walks through it takes 2^count steps."""
    return b")" + b"".join(b"q" + bytes([place]) + b"h" + bytes([place]) + b"\x86" for place in range(count))


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a half of 10^9 places at one": (".pth", lambda: zipped(state({"a": tensor("Half", 1, 10**9, 0)})), HOLDS),
    "doubles of 16 GB": (".pth", lambda: zipped(state({"a": tensor("Double", 1, 2 * 10**9, 0)}), bytes(8)), HOLDS),
    "many over the same bytes": (
        ".pth",
        lambda: zipped(state({f"a{i}": tensor("Half", 2**20, 2**20, 1) for i in range(500)}), bytes(2**21)),
        HOLDS,
    ),
    "a storage that is not there": (".pth", lambda: zipped(state({"a": tensor("Float", 2**40, 2**40, 1)})), NOT_PLAIN),
    "a packed storage": (
        ".pth",
        lambda: zipped(state({"a": tensor("Float", 2**26, 2**26, 1)}), bytes(2**28), packed=True),
        NOT_PLAIN,
    ),
    "a pickle that unpacks": (".pth", lambda: zipped(b"\x80\x02" + bytes(2**30), packed=True), TOO_MUCH),
    "a pickle of many steps": (".pth", lambda: zipped(b"\x80\x02](" + b"N" * 10**8 + b"e.", packed=True), TOO_MUCH),
    "a note that unpacks": (
        ".pth",
        lambda: zipped(state({"a": tensor("Float", 1, 1, 1)}), packed=True, more=bytes(2**30)),
        TOO_MUCH,
    ),
    "a key that is hashed for ever": (".pth", lambda: zipped(b"\x80\x02}" + nested(40) + b"K\x01s."), TOO_MUCH),
    "a key so deep that it ends the process": (
        ".pth",
        lambda: zipped(b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s."),
        TOO_MUCH,
    ),
    "a long number": (".pth", lambda: zipped(b"\x80\x02\x8b" + struct.pack("<i", 2**30) + bytes(99) + b"."), NOT_PLAIN),
    "an old file that claims": (".pth", lambda: legacy(2**36), f"{TOO_MUCH}|{NOT_PLAIN}"),
    "a header of 2^60": (".safetensors", lambda: struct.pack("<Q", 2**60) + b"{}", NOT_PLAIN),
    "a deep header": (".safetensors", lambda: struct.pack("<Q", 10**6) + b"[" * 10**6, NOT_PLAIN),
    "a header with many names": (
        ".safetensors",
        lambda: header({f"a{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_001)}),
        "holds 20001 tensors; at most 20000 are read",
    ),
    "a shape that lies": (
        ".safetensors",
        lambda: header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, bytes(4)),
        NOT_PLAIN,
    ),
    "names for the same bytes": (
        ".safetensors",
        lambda: header({f"a{i}": {"dtype": "F16", "shape": [9], "data_offsets": [0, 18]} for i in range(9)}, bytes(18)),
        NOT_PLAIN,
    ),
}


def header(said: object, data: bytes = b"") -> bytes:
    encoded = json.dumps(said).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_asks_for_more_than_it_brings_is_refused_within_the_budget(tmp_path: Path, kind: str) -> None:
    suffix, make, words = HOSTILE[kind]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(make())
    before, kept = _used(), _resident()
    with pytest.raises(ModelUnavailable, match=words):
        weights.read_unvouched_state(path)
    assert _used() - before < MOST_SECONDS
    assert _resident() - kept < 100_000_000


def _used() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


def test_what_has_no_numbers_is_no_state_dict(tmp_path: Path) -> None:
    empty = torch.zeros(2, 0, dtype=torch.long)
    with torch.sparse.check_sparse_tensor_invariants():
        sparse = torch.sparse_coo_tensor(empty, torch.zeros(0), (10**6, 10**6))
    for one in (torch.empty(10**6, 10**6, device="meta"), sparse):
        torch.save({"a": one}, tmp_path / "w.pth")
        with pytest.raises(ModelUnavailable, match=NOT_PLAIN):
            weights.read_unvouched_state(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_sound_file_is_read_whatever_its_precision(tmp_path: Path, kind: torch.dtype, suffix: str) -> None:
    path, sound = tmp_path / f"w{suffix}", {"a": torch.ones(5000, 5000).to(kind), "b": torch.ones(3).to(kind)}
    if suffix == ".pth":
        torch.save({"state_dict": {**sound, "tied": sound["a"]}}, path)
    else:
        save_file(sound, path)
    found = weights.read_unvouched_state(path)
    assert found.keys() >= sound.keys() and all(one.dtype is torch.float32 for one in found.values())
    assert torch.equal(found["a"], torch.ones(5000, 5000))


def test_a_rehearsal_tells_what_was_refused_and_changes_nothing_here() -> None:
    done: list[int] = []
    assert rehearse(lambda: done.append(1), seconds=5, memory_bytes=10**9) == ""

    def refuse() -> None:
        raise ModelUnavailable("no, thank you")

    assert rehearse(refuse, seconds=5, memory_bytes=10**9) == "no, thank you"
    assert done == []


@pytest.mark.parametrize(
    "work",
    [lambda: bytearray(10**9), lambda: sum(range(10**12)), os.abort, lambda: torch.ones(10**9).sum()],
    ids=["memory", "time", "the end of the process", "memory of torch"],
)
def test_a_rehearsal_ends_what_takes_too_much(work: Callable[[], object]) -> None:
    with pytest.raises(TooMuch):
        rehearse(work, seconds=0.5, memory_bytes=300_000_000)
