"""Results: packed into one blob, unpacked as they were."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.answer.answer import Answer
from shared.errors import StorageFailed
from shared.results import Result, npy_bytes
from tests.shared.answers import answer_of

MAPS = {
    "tall": np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32),
    "extreme": np.array([[-np.finfo(np.float32).max, 0.0, -0.0, np.finfo(np.float32).tiny]], np.float32),
}
ANSWER = answer_of({"explanations": [{"model": "Kätzchen \u2028"}], "timings": {"half": 0.1}})


def test_a_result_unpacks_to_the_same_document_and_the_same_bits() -> None:
    result = Result.unpack(Result(ANSWER, MAPS).pack())
    assert result.answer == ANSWER
    assert list(result.maps) == list(MAPS)
    for name, raw in MAPS.items():
        assert result.maps[name].dtype == np.float32
        assert result.maps[name].tobytes() == raw.tobytes()
        assert result.maps[name].shape == raw.shape


def test_a_result_without_maps_is_a_result() -> None:
    assert Result.unpack(Result(Answer(), {}).pack()) == Result(Answer(), {})


def test_the_same_result_packs_to_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Result(ANSWER, MAPS).pack()
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert Result(ANSWER, MAPS).pack() == packed


def test_a_map_is_stored_as_a_file_that_numpy_reads_alone() -> None:
    raw = MAPS["tall"]
    assert np.array_equal(np.load(io.BytesIO(npy_bytes(raw)), allow_pickle=False), raw)
    with zipfile.ZipFile(io.BytesIO(Result(Answer(), MAPS).pack())) as archive:
        assert archive.read("tall.npy") == npy_bytes(raw)


def test_a_packed_result_is_an_archive_that_others_find_whole() -> None:
    with zipfile.ZipFile(io.BytesIO(Result(ANSWER, {"Kätzchen": MAPS["tall"]}).pack())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["result.json", "Kätzchen.npy"]
        assert [info.file_size for info in archive.infolist()] == [len(archive.read(n)) for n in archive.namelist()]


@pytest.mark.parametrize("raw", [MAPS["tall"].T, MAPS["tall"][::2, 1:], np.float32(2.5) * np.ones(())])
def test_a_map_of_any_layout_is_stored_as_it_reads(raw: NDArray[np.float32]) -> None:
    assert np.array_equal(np.load(io.BytesIO(npy_bytes(raw)), allow_pickle=False), raw)


def archive_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)
    return buffer.getvalue()


OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([print], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive",
        Result(ANSWER, MAPS).pack()[:-30],
        archive_of(a_npy=npy_bytes(MAPS["tall"])),
        archive_of(result_json=b"{"),
        archive_of(result_json=b"\xff"),
        archive_of(result_json=b"{}", a_npy=b""),
        archive_of(result_json=b"{}", a_npy=b"not an array"),
        archive_of(result_json=b"{}", a_npy=npy_bytes(MAPS["tall"])[:-1]),
        archive_of(result_json=b"{}", a_npy=OBJECTS.getvalue()),
        archive_of(result_json=b"{}", a_npy=pickle.dumps(print)),
    ],
    ids=[
        "empty",
        "no archive",
        "cut off",
        "no document",
        "half a document",
        "not text",
        "empty map",
        "no map",
        "half a map",
        "a map of objects",
        "a pickle",
    ],
)
def test_a_damaged_result_is_a_storage_failure_and_nothing_in_it_is_run(data: bytes) -> None:
    with pytest.raises(StorageFailed, match="^a stored result is damaged"):
        Result.unpack(data)


def test_a_result_with_a_few_bytes_changed_is_read_or_refused() -> None:
    dice = np.random.default_rng(0)
    packed = Result(ANSWER, MAPS).pack()
    refused = 0
    for _ in range(300):
        data = bytearray(packed)
        for at in dice.integers(0, len(data), size=dice.integers(1, 4)):
            data[at] = dice.integers(0, 256)
        try:
            Result.unpack(bytes(data))
        except StorageFailed:
            refused += 1
    assert refused > 200
