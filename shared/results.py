"""One job's stored result: its answer and its raw maps, packed into one blob (NumPy's .npz, no pickle)."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import json_text
from shared.answer.answer import Answer
from shared.errors import StorageFailed

_ANSWER = "result.json"
# Of the ZIP format: what a file's two headers share (version, flag of UTF-8 names, method, time, date, checksum, sizes,
# lengths of name and extra field), what the directory's adds, and what ends an archive.
_COMMON, _PLACE, _END = struct.Struct("<5H3I2H"), struct.Struct("<3H2I"), struct.Struct("<4H2IH")


@dataclass(frozen=True)
class Result:
    """`maps` are float32 arrays by artifact name: maps, h x w in their own unit, and each model's logits, K."""

    answer: Answer
    maps: Mapping[str, NDArray[np.float32]]

    @property
    def document(self) -> dict[str, Any]:
        """The answer as plain values for JSON."""
        return self.answer.to_dict()

    def with_changes(self, **changes: Any) -> Result:
        """The same with other values for some fields of the answer."""
        return replace(self, answer=self.answer.model_copy(update=changes))

    def pack(self) -> bytes:
        """The result as one blob: a .zip of the answer as JSON and of each map as .npy. `unpack` reads it."""
        files = {_ANSWER: json_text.encode(self.document)}
        return _zipped(files | {f"{name}.npy": npy_bytes(raw) for name, raw in self.maps.items()})

    @classmethod
    def unpack(cls, data: bytes) -> Result:
        """Raises StorageFailed."""
        with _opened(data) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            maps = {name[:-4]: _read_npy(archive.read(name)) for name in names}
            return cls(_read_answer(archive), maps)


def unpack_answer(data: bytes) -> Answer:
    """The answer of a packed result; its maps, which take most of the time, are not read. Raises StorageFailed."""
    with _opened(data) as archive:
        return _read_answer(archive)


@contextmanager
def _opened(data: bytes) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except Exception as error:  # the readers of archives and arrays raise anything on broken input
        raise StorageFailed(f"a stored result is damaged: {error}") from error


def _read_answer(archive: zipfile.ZipFile) -> Answer:
    return Answer.from_dict(json_text.decode(archive.read(_ANSWER)))


def npy_bytes(raw: NDArray[np.float32]) -> bytes:
    """An array as a .npy file."""
    return _npy_header(raw.dtype.str, raw.shape) + raw.tobytes()


@lru_cache(maxsize=256)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _zipped(files: Mapping[str, bytes]) -> bytes:
    """Files by name as a ZIP archive, without compression and times. For files as small as these, `zipfile` takes many
    times as long."""
    out, directory = bytearray(), bytearray()
    for name, data in files.items():
        encoded, start = name.encode(), len(out)
        common = _COMMON.pack(20, 0x800, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(encoded), 0)
        directory += b"PK\1\2\x14\0" + common + _PLACE.pack(0, 0, 0, 0, start) + encoded
        out += b"PK\3\4" + common + encoded + data
    end = _END.pack(0, 0, len(files), len(files), len(directory), len(out), 0)
    return bytes(out + directory + b"PK\5\6" + end)


def _read_npy(data: bytes) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(io.BytesIO(data), allow_pickle=False)
    return array
