"""Pictures and archives that other processes decode: the same answers, within limits that the system keeps."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from shared import images, masking
from shared.archives import Bounds
from shared.errors import BatchTooLarge, ImageTooLarge, InvalidArchive, InvalidImage, UnsupportedImage
from shared.images import Limits
from shared.sandbox import decoders, frames
from shared.sandbox.decoders import CheckedEntry, Decoder
from shared.settings import REPOSITORY, Settings
from tests.conftest import encoded, wait_for
from tests.shared.pictures import png
from tests.shared.test_archives import gzipped, tarred, zipped

LIMITS = Limits.of(Settings(home=Path("/nonexistent")))
BOUNDS = Bounds(members=50, image_bytes=LIMITS.image_bytes, total_bytes=2**31)
MASK = {"operation": "mask", "limits": asdict(LIMITS), "options": {}}
PHOTO = {"operation": "photo", "limits": asdict(LIMITS), "options": {"fill": "blur"}}
LARGE = encoded(Image.new("RGBA", (5000, 5000), (9, 9, 9, 9)))


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    one = Decoder()
    yield one
    one.end()


def pid_of(decoder: Decoder) -> int:
    assert decoder._process is not None
    return decoder._process.pid


@pytest.fixture
def spool() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


# -- the same answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_what_it_is_in_this_process(kind: str, photos: dict[str, Image.Image]) -> None:
    data = encoded(photos["chelsea"], kind)
    found, own = decoders.read_explained(data, None, LIMITS, fill="blur"), images.decode_reduced(data, LIMITS)
    assert found.size == own.size and np.array_equal(np.asarray(found.pixels), np.asarray(own.pixels))


def test_a_large_photograph_comes_with_fewer_pixels(large_photo: bytes) -> None:
    found, own = (
        decoders.read_explained(large_photo, None, LIMITS, fill="blur"),
        images.decode_reduced(large_photo, LIMITS),
    )
    assert (found.size, found.divisor) == (own.size, own.divisor) == ((3101, 2069), 2)
    assert np.array_equal(np.asarray(found.pixels), np.asarray(own.pixels))


@pytest.mark.parametrize("fill", ["blur", "mean", "grey"])
def test_a_mask_hides_what_it_hides_in_this_process(fill: str, photos: dict[str, Image.Image]) -> None:
    data, mask = encoded(photos["chelsea"]), Image.new("L", photos["chelsea"].size)
    mask.paste(255, (50, 60, 200, 220))
    found = decoders.read_explained(data, encoded(mask), LIMITS, fill=fill)
    own = masking.read_explained(data, encoded(mask), LIMITS, fill=fill)
    assert np.array_equal(np.asarray(found.pixels), np.asarray(own.pixels))
    assert np.array_equal(np.asarray(decoders.read_mask(encoded(mask), LIMITS)), np.asarray(mask))


@pytest.mark.parametrize(
    ("data", "kind", "sentence"),
    [
        (b"", InvalidImage, "the file is empty"),
        (b"GIF89a", UnsupportedImage, "the file is not a JPEG, PNG or WebP picture"),
        (png(8193, 1), ImageTooLarge, "the picture has 8193 x 1 pixels"),
        (png(9, 9)[:45], InvalidImage, "the picture is damaged or incomplete"),
    ],
)
def test_a_refusal_is_the_same(data: bytes, kind: type[InvalidImage], sentence: str) -> None:
    with pytest.raises(InvalidImage, match=sentence) as refused:
        decoders.read_explained(data, None, LIMITS, fill="blur")
    assert type(refused.value) is kind


@pytest.mark.parametrize("pack", [zipped, tarred, gzipped])
def test_the_entries_of_an_archive_come_in_order(pack: object, spool: BinaryIO) -> None:
    assert callable(pack)
    picture = encoded(Image.new("RGB", (9, 5)))
    spool.write(pack({"a.png": picture, "b.txt": b"text", "c.png": picture}))
    spool.flush()
    found = list(decoders.read_archive(spool, BOUNDS, LIMITS))
    assert [one.name for one in found] == ["a.png", "b.txt", "c.png"]
    assert [one.data for one in found] == [picture, b"", picture]
    assert found[0].header == found[2].header == images.read_header(picture, LIMITS)
    assert found[1] == CheckedEntry("b.txt", found[1].sha256, None, b"", "the file is not a JPEG, PNG or WebP picture")


def test_an_archive_is_refused_as_in_this_process(spool: BinaryIO) -> None:
    spool.write(zipped({f"{i}.png": b"x" for i in range(60)}))
    spool.flush()
    with pytest.raises(BatchTooLarge, match="more than 50 pictures"):
        list(decoders.read_archive(spool, BOUNDS, LIMITS))
    spool.write(b"PK and more")
    spool.truncate(40)
    with pytest.raises(InvalidArchive):
        list(decoders.read_archive(spool, BOUNDS, LIMITS))


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_picture_that_takes_too_long_is_refused_and_the_next_one_is_not() -> None:
    slow = Decoder(seconds=0.1)
    try:
        with pytest.raises(InvalidImage, match="takes more time to decode than a picture may"):
            slow.ask(PHOTO, [LARGE])
        assert slow.ask(MASK, [png(3, 2)])[0]["size"] == [3, 2]
    finally:
        slow.end()


def test_a_picture_that_takes_too_much_memory_is_refused_and_the_next_one_is_not() -> None:
    small = Decoder(memory_bytes=150_000_000)
    try:
        fields: dict[str, str] = {}
        try:
            fields = small.ask(PHOTO, [LARGE])[0]
        except InvalidImage as error:
            fields = {"refused": "InvalidImage", "message": str(error)}
        assert fields["refused"] == "InvalidImage" and "memory" in fields["message"]
        assert small.ask(MASK, [png(3, 2)])[0]["size"] == [3, 2]
    finally:
        small.end()


def test_the_largest_picture_that_is_taken_fits_into_the_limits(decoder: Decoder) -> None:
    fields, (pixels,) = decoder.ask(PHOTO, [LARGE])
    assert fields["size"] == [5000, 5000] and len(pixels) == 3 * 5000 * 5000


def test_a_process_that_was_killed_is_started_again(decoder: Decoder) -> None:
    decoder.ask(MASK, [png(3, 2)])
    first = pid_of(decoder)
    os.kill(first, signal.SIGKILL)
    assert decoder.ask(MASK, [png(3, 2)])[0]["size"] == [3, 2]
    assert pid_of(decoder) != first


def test_a_picture_on_which_two_processes_end_is_at_fault(decoder: Decoder) -> None:
    decoder.ask(MASK, [png(3, 2)])
    killed: list[int] = []

    def strike() -> None:
        while len(killed) < 2:
            process = decoder._process
            if process is not None and process.pid not in killed:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
            time.sleep(0.01)

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(InvalidImage, match="cannot be decoded with the memory"):
        decoder.ask(PHOTO, [LARGE])
    thread.join()


def test_ctrl_c_leaves_a_decoder_to_its_work(decoder: Decoder) -> None:
    decoder.ask(MASK, [png(3, 2)])
    os.kill(pid_of(decoder), signal.SIGINT)
    first = pid_of(decoder)
    assert decoder.ask(MASK, [png(3, 2)])[0]["size"] == [3, 2]
    assert pid_of(decoder) == first


ASKING = """
import os, sys
from shared.images import Limits
from shared.sandbox import decoders
from shared.settings import Settings
decoders.read_mask(bytes.fromhex(sys.argv[1]), Limits.of(Settings()))
print(decoders._decoders(os.getpid())._all[0]._process.pid, flush=True)
sys.stdin.read()
"""


def test_a_decoder_ends_with_the_process_that_started_it() -> None:
    command = [sys.executable, "-c", ASKING, png(3, 2).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as asking:
        assert asking.stdout is not None
        pid = int(asking.stdout.readline())
        asking.kill()
    wait_for(lambda: not _lives(pid), seconds=10)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- messages ----------------------------------------------------------------------------------------------------------


def test_a_message_is_read_as_it_was_written() -> None:
    file = io.BytesIO()
    frames.write(file, {"a": [1, "ü"]}, [b"", b"x" * 100_000])
    frames.write(file, {})
    file.seek(0)
    assert frames.read(file) == ({"a": [1, "ü"]}, [b"", b"x" * 100_000])
    assert frames.read(file) == ({}, [])
    assert frames.read(file) is None


def test_a_message_that_breaks_off_is_none() -> None:
    file = io.BytesIO()
    frames.write(file, {"a": 1}, [b"abc"])
    whole = file.getvalue()
    for length in (3, 8, 20, len(whole) - 1):
        assert frames.read(io.BytesIO(whole[:length])) is None
