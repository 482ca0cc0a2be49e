"""One job's stored result: a JSON document and its raw maps, packed into one blob (NumPy's .npz, no pickle)."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import StorageFailed

_DOCUMENT = "result.json"


@dataclass(frozen=True)
class Result:
    """`document` is what the API answers; `maps` are float32 arrays by artifact name: maps, h x w in their own unit,
    and each model's logits, K."""

    document: Mapping[str, Any]
    maps: Mapping[str, NDArray[np.float32]]

    def pack(self) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo(_DOCUMENT), json.dumps(self.document))
            for name, raw in self.maps.items():
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), npy_bytes(raw))
        return buffer.getvalue()

    @classmethod
    def unpack(cls, data: bytes) -> Result:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                document = json.loads(archive.read(_DOCUMENT))
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                maps = {name[:-4]: _read_npy(archive.read(name)) for name in names}
        except Exception as error:  # the readers of archives and arrays raise anything on broken input
            raise StorageFailed(f"a stored result is damaged: {error}") from error
        return cls(document, maps)


def npy_bytes(raw: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, raw, allow_pickle=False)
    return buffer.getvalue()


def _read_npy(data: bytes) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(io.BytesIO(data), allow_pickle=False)
    return array
