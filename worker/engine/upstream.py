"""Fetching upstream weights: downloaded into a temporary folder of the cache, checked, and only then put in place.

A file that somebody put in place by hand is taken if it passes the same checks; the network is then left alone.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from shared.cards.card import CLASSES, RECORD, ModelCard
from shared.errors import FetchFailed, ModelUnavailable
from worker.engine.vision import imagenet_names
from worker.engine.weights import hash_pins, matches, read_unvouched_state, sha256_of

LARGEST_BYTES = 1024**3
TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds without an answer, not for the whole transfer

ABANDONED_SECONDS = 3600.0  # without a byte, after which a fetch is not under way any more
_STAGED = ".fetch-"

OnBytes = Callable[[int, int | None], None]  # bytes received, bytes in all where the server says so

logger = logging.getLogger(__name__)


def fetch(card: ModelCard, cache: Path, *, progress: OnBytes) -> Path:
    """Bring the card's weights to `cache`/NAME, with weights.json and, where the card has no names, classes.json."""
    target = cache / card.name / card.weights.file
    url = _checked_url(card)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache)
        with TemporaryDirectory(prefix=_STAGED, dir=cache) as folder:
            staged = Path(folder) / card.weights.file
            digest = _hash_of_good(target, card=card)
            if digest is None:
                digest = _download(url, staged, card=card, target=target, progress=progress)
            _write_companions(staged.parent, card=card, digest=digest, target=target)
            _put_in_place(staged, target=target)
    except ModelUnavailable as error:
        raise FetchFailed(str(error)) from error
    except OSError as error:
        raise FetchFailed(f"{target.parent} cannot be written: {error.strerror}") from error
    return target


def _remove_abandoned(cache: Path) -> None:
    """What fetches left behind whose process was killed."""
    for folder in cache.glob(f"{_STAGED}*"):
        with suppress(OSError):  # it is gone by now
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if newest < time.time() - ABANDONED_SECONDS:
                shutil.rmtree(folder)


def _hash_of_good(path: Path, *, card: ModelCard) -> str | None:
    """SHA-256 of a file that is already there and may stay; None where a download is due."""
    if not path.exists():
        return None
    pins = hash_pins(card, path.parent)
    digest = sha256_of(path)
    if not matches(digest, pins):
        logger.warning("%s has SHA-256 %s instead of %s and is fetched again", path, digest, " and ".join(pins))
        return None
    try:
        read_unvouched_state(path)
    except ModelUnavailable as error:
        logger.warning("%s, so it is fetched again", error)
        return None
    return digest


def _download(url: httpx.URL, path: Path, *, card: ModelCard, target: Path, progress: OnBytes) -> str:
    """Download to `path` what is meant for `target`; returns its SHA-256."""
    try:
        _receive(url, path, progress=progress)
    except httpx.HTTPError as error:
        raise FetchFailed(
            f"{_reason(error)}; download {url} by other means, put it at {target} "
            f"and run: pathlight models fetch {card.name}"
        ) from error
    digest = sha256_of(path)
    pins = hash_pins(card, target.parent)
    if not matches(digest, pins):
        raise FetchFailed(f"{url.host} sent a file with SHA-256 {digest}, expected was {_expected(pins, card, target)}")
    try:
        read_unvouched_state(path)
    except ModelUnavailable as error:
        raise FetchFailed(f"what {url.host} sent was not kept: {error}") from error
    return digest


def _checked_url(card: ModelCard) -> httpx.URL:
    if card.weights.url is None:
        raise FetchFailed(f"{card.name} has no upstream: its weights lie beside its card")
    try:
        url = httpx.URL(card.weights.url)
    except httpx.InvalidURL as error:
        raise FetchFailed(f"{card.weights.url!r} in the card of {card.name} is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise FetchFailed(f"{url} in the card of {card.name} is not an http or https address")
    return url


def _receive(url: httpx.URL, path: Path, *, progress: OnBytes) -> None:
    headers = {"Accept-Encoding": "identity"}  # so that the stated length is the file's
    answer = httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT)
    with answer as response, path.open("wb") as file:
        check_route([hop.url for hop in (*response.history, response)])
        response.raise_for_status()
        stated = response.headers.get("Content-Length")
        total = int(stated) if stated else None
        _check_size(total or 0, host=url.host)
        for chunk in response.iter_raw():
            file.write(chunk)
            _check_size(file.tell(), host=url.host)
            progress(file.tell(), total)


def check_route(hops: Sequence[httpx.URL]) -> None:
    """A route that begins encrypted must stay so: where upstream states no hash, encryption is all that vouches."""
    for hop in hops:
        if hops[0].scheme == "https" and hop.scheme != "https":
            raise FetchFailed(f"{hops[0].host} redirected to {hop}, which is not encrypted; nothing was kept")


def _check_size(size: int, *, host: str) -> None:
    if size > LARGEST_BYTES:
        raise FetchFailed(f"{host} sends more than the {LARGEST_BYTES:,} bytes that a weights file may have")


def _reason(error: httpx.HTTPError) -> str:
    host = error.request.url.host
    if isinstance(error, httpx.HTTPStatusError):
        return f"{host} answered {error.response.status_code} {error.response.reason_phrase}"
    detail = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return f"{host} cannot be reached: {detail}"
    return f"the transfer from {host} broke off: {detail}"


def _expected(pins: Sequence[str], card: ModelCard, target: Path) -> str:
    if card.weights.sha256:
        return f"{' and '.join(pins)}; nothing was kept"
    return f"{pins[0]} as recorded by the first fetch; delete {target.parent / RECORD} to trust the new file"


def _write_companions(folder: Path, *, card: ModelCard, digest: str, target: Path) -> None:
    record = {
        "file": card.weights.file,
        "url": card.weights.url,
        "sha256": digest,
        "stated_by_upstream": card.weights.sha256 or None,
    }
    _write_json(folder / RECORD, record)
    if card.name in CLASS_NAMES:
        _write_json(folder / CLASSES, CLASS_NAMES[card.name]())
    if not card.weights.sha256 and not (target.parent / RECORD).exists():
        logger.warning(
            "upstream states no hash for %s, so this first file could not be checked; "
            "its SHA-256 %s is now recorded in %s, and every later load must match it",
            card.weights.file, digest, target.parent / RECORD,
        )  # fmt: skip


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


def _put_in_place(staged: Path, *, target: Path) -> None:
    """The record goes last: a model is ready once it is there."""
    target.parent.mkdir(exist_ok=True)
    for name in (CLASSES, target.name, RECORD):
        if (staged.parent / name).exists():
            (staged.parent / name).replace(target.parent / name)


CLASS_NAMES: Mapping[str, Callable[[], Sequence[str]]] = {"resnet18-imagenet": imagenet_names}
