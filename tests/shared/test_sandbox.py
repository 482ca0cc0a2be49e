"""Pictures and archives that other processes decode: the same answers, within limits that the system keeps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from shared.cards.card import Registry
from shared.errors import BatchTooLarge, ImageTooLarge, InvalidArchive, InvalidImage, UnsupportedImage
from shared.images import decode as images
from shared.images import masking
from shared.images.archives import Bounds
from shared.images.decode import Limits
from shared.images.sandbox import decoders, frames
from shared.images.sandbox.decoders import DESK_BYTES, CheckedEntry, Decoder, Decoders, Look, Task
from shared.images.sandbox.frames import Message
from shared.images.seeing import Squares, visible_square
from shared.settings import REPOSITORY, Settings
from tests.conftest import encoded, wait_for
from tests.shared.pictures import exif, png
from tests.shared.test_archives import gzipped, tarred, zipped

pytestmark = pytest.mark.slow  # it judges time and memory

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


def ask(decoder: Decoder, request: Mapping[str, object], *parts: bytes) -> Message:
    (answer,) = decoder.ask([Task(request, parts)])
    if isinstance(answer, InvalidImage):
        raise answer
    return answer


def pid_of(decoder: Decoder) -> int:
    assert decoder._running is not None
    return decoder._running.process.pid


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


@pytest.fixture(scope="module")
def two() -> Iterator[Decoders]:
    pool = Decoders(2)
    yield pool
    pool.close()


def turned(picture: Image.Image) -> bytes:
    """A JPEG that is to be shown on its side, as its EXIF says."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture, "JPEG", exif=exif)


def masked(size: tuple[int, int]) -> bytes:
    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 5, size[1] // 4, size[0] // 2, size[1] - 9))
    return encoded(mask)


@pytest.mark.parametrize("fill", ["blur", "mean", "grey"])
def test_networks_see_what_they_see_in_this_process(
    fill: str, two: Decoders, registry: Registry, photos: dict[str, Image.Image], large_photo: bytes
) -> None:
    inputs = [registry.get(name).input for name in registry.cards]
    chelsea, coffee = photos["chelsea"], photos["coffee"]
    files: list[tuple[bytes, bytes | None]] = [
        (encoded(chelsea, "JPEG"), None),
        (encoded(coffee.convert("L")), None),
        (turned(coffee), None),
        (encoded(chelsea.resize((7, 900))), None),
        (large_photo, None),
        (encoded(chelsea), masked(chelsea.size)),
        (turned(coffee), masked((coffee.height, coffee.width))),
        (large_photo, masked((3101, 2069))),
    ]
    found = two.read_squares([Look(data, mask, LIMITS, fill, inputs) for data, mask in files])
    for seen, (data, mask) in zip(found, files, strict=True):
        own = masking.read_explained(data, mask, LIMITS, fill=fill)
        assert isinstance(seen, Squares) and seen.size == own.size
        for spec in inputs:
            assert np.array_equal(visible_square(seen, spec), visible_square(own, spec))


def test_inputs_that_are_alike_are_seen_once(two: Decoders, registry: Registry) -> None:
    first, second = registry.get("nbdt-cifar10").input, registry.get("resnet18-photos100").input
    (seen,) = two.read_squares([Look(png(3, 2), None, LIMITS, "blur", [first, second, first])])
    assert isinstance(seen, Squares) and list(seen.levels) == [first, second]


def test_of_pictures_that_are_decoded_together_each_has_its_own_answer(two: Decoders, registry: Registry) -> None:
    inputs = [registry.get("nbdt-cifar10").input]
    looks = [Look(data, None, LIMITS, "blur", inputs) for data in (png(3, 2), png(9, 9)[:45], b"GIF89a", png(5, 4))]
    first, broken, other, last = two.read_squares(looks)
    assert isinstance(first, Squares) and first.size == (3, 2)
    assert isinstance(broken, InvalidImage) and "damaged" in str(broken)
    assert isinstance(other, UnsupportedImage)
    assert isinstance(last, Squares) and last.size == (5, 4)


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
            ask(slow, PHOTO, LARGE)
        assert ask(slow, MASK, png(3, 2))[0]["size"] == [3, 2]
    finally:
        slow.end()


def test_a_picture_that_takes_too_much_memory_is_refused_and_the_next_one_is_not() -> None:
    small = Decoder(memory_bytes=150_000_000)
    try:
        fields: dict[str, str] = {}
        try:
            fields = ask(small, PHOTO, LARGE)[0]
        except InvalidImage as error:
            fields = {"refused": "InvalidImage", "message": str(error)}
        assert fields["refused"] == "InvalidImage" and "memory" in fields["message"]
        assert ask(small, MASK, png(3, 2))[0]["size"] == [3, 2]
    finally:
        small.end()


LARGEST: dict[str, Callable[[], bytes]] = {
    "RGBA PNG": lambda: LARGE,
    "RGBA PNG on its side": lambda: encoded(Image.new("RGBA", (5000, 5000), (9, 9, 9, 9)), exif=exif(6)),
    "lossless WebP with alpha": lambda: encoded(Image.new("RGBA", (5000, 5000), (9, 9, 9, 9)), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_pictures_that_are_taken_fit_into_the_limits(name: str, decoder: Decoder) -> None:
    data = LARGEST[name]()
    fields, (pixels,) = ask(decoder, PHOTO, data)
    assert fields["size"] == [5000, 5000] and len(pixels) == 3 * 5000 * 5000
    fields, (pixels,) = ask(decoder, {**PHOTO, "operation": "shown"}, data)
    assert fields["size"] == [5000, 5000] and len(pixels) == 3 * 1250 * 1250


@pytest.mark.parametrize(("records", "entries", "whole"), [(20_000, 100, False), (1, 1000, True)])
def test_the_time_of_an_archive_grows_with_what_it_holds_and_no_further(
    records: int, entries: int, whole: bool, spool: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {f"k{record}": "v" for record in range(records)}
    spool.write(entries * info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    spool.flush()
    monkeypatch.setattr(decoders, "Decoder", partial(Decoder, seconds=0.5))
    found = 0
    with nullcontext() if whole else pytest.raises(InvalidArchive, match="takes more time or memory to unpack"):
        for _ in decoders.read_archive(spool, replace(BOUNDS, members=entries), LIMITS):
            found += 1
    assert found == entries if whole else found < entries


def test_a_process_that_was_killed_is_started_again(decoder: Decoder) -> None:
    ask(decoder, MASK, png(3, 2))
    first = pid_of(decoder)
    os.kill(first, signal.SIGKILL)
    assert ask(decoder, MASK, png(3, 2))[0]["size"] == [3, 2]
    assert pid_of(decoder) != first


def test_a_picture_on_which_two_processes_end_is_at_fault(decoder: Decoder) -> None:
    ask(decoder, MASK, png(3, 2))
    killed: list[int] = []

    def strike() -> None:
        while len(killed) < 2:
            running = decoder._running
            if running is not None and running.process.pid not in killed:
                os.kill(running.process.pid, signal.SIGKILL)
                killed.append(running.process.pid)
            time.sleep(0.01)

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(InvalidImage, match="cannot be decoded with the memory"):
        ask(decoder, PHOTO, LARGE)
    thread.join()


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [({"seconds": 0.1}, "takes more time to decode"), ({"memory_bytes": 150_000_000}, "memory")],
)
def test_a_picture_that_costs_too_much_leaves_the_others_of_its_message_theirs(
    limits: dict[str, Any], sentence: str
) -> None:
    small = Decoder(**limits)
    try:
        first, bomb, second, last = small.ask(
            [Task(MASK, [png(3, 2)]), Task(PHOTO, [LARGE]), Task(MASK, [png(5, 4)]), Task(MASK, [png(7, 6)])]
        )
    finally:
        small.end()
    assert sentence in (str(bomb) if isinstance(bomb, InvalidImage) else bomb[0]["message"])
    answered = [one[0]["size"] for one in (first, second, last) if not isinstance(one, InvalidImage)]
    assert answered == [[3, 2], [5, 4], [7, 6]]


def test_each_picture_of_a_message_has_the_whole_time() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
    limited = Decoder(seconds=0.8)
    try:
        found = limited.ask(12 * [Task(PHOTO, [encoded(Image.fromarray(noise))])])
        assert all(not isinstance(one, InvalidImage) for one in found)
    finally:
        limited.end()


class TimeLimit(Exception):
    pass


def test_a_wait_that_is_broken_off_ends_the_process_and_its_answer_is_never_taken_for_the_next(
    decoder: Decoder,
) -> None:
    def break_off(number: int, frame: object) -> None:
        raise TimeLimit

    ask(decoder, MASK, png(3, 2))
    first = pid_of(decoder)
    before = signal.signal(signal.SIGALRM, break_off)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeLimit):
            ask(decoder, PHOTO, LARGE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not _lives(first)
    assert ask(decoder, MASK, png(5, 4))[0]["size"] == [5, 4]


def test_what_a_large_picture_took_is_given_back(decoder: Decoder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    for data in (encoded(Image.fromarray(noise)), LARGE, png(3, 2)):
        ask(decoder, PHOTO, data)
    assert decoder._running is not None
    assert 512 * os.fstat(decoder._running.desk.fileno()).st_blocks <= DESK_BYTES
    pages = int(Path(f"/proc/{pid_of(decoder)}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGE_SIZE") < 100_000_000


def test_ctrl_c_leaves_a_decoder_to_its_work(decoder: Decoder) -> None:
    ask(decoder, MASK, png(3, 2))
    os.kill(pid_of(decoder), signal.SIGINT)
    first = pid_of(decoder)
    assert ask(decoder, MASK, png(3, 2))[0]["size"] == [3, 2]
    assert pid_of(decoder) == first


ASKING = """
import os, sys
from shared.images.decode import Limits
from shared.images.sandbox import decoders
from shared.settings import Settings
decoders.read_mask(bytes.fromhex(sys.argv[1]), Limits.of(Settings()))
print(decoders._decoders(os.getpid())._all[0]._running.process.pid, flush=True)
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


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = socket.socketpair()
    with first, second:
        yield first, second


def test_a_message_is_read_as_it_was_written(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    here.settimeout(10)  # so that it sends what there is room for, and not all
    parts = [b"", b"x" * 3_000_000]  # more than a socket holds
    sender = threading.Thread(target=frames.write, args=(here, {"a": [1, "ü"]}, parts))
    sender.start()
    message = frames.read(there)
    sender.join()
    assert message is not None and message[0] == {"a": [1, "ü"]} and [bytes(part) for part in message[1]] == parts
    frames.write(here, {})
    here.close()
    assert frames.read(there) == ({}, [])
    assert frames.read(there) is None


def test_a_message_that_breaks_off_or_is_too_large_is_none(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    frames.write(here, {"a": 1}, [b"abc"])
    whole = there.recv(1000)
    too_large = (2**62).to_bytes(8, "big") + whole[8:]
    for broken in (*(whole[:length] for length in (3, 8, 20, len(whole) - 1)), too_large):
        first, second = socket.socketpair()
        with first, second:
            first.sendall(broken)
            first.shutdown(socket.SHUT_WR)
            assert frames.read(second) is None
