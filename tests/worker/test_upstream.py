"""Fetching upstream weights from a server on the loopback: what arrives, what is refused and what stays behind."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import torch
from pytorchcv.models.wrn_cifar import wrn28_10_cifar10

from shared.cards.card import ModelCard, WeightsSpec
from shared.errors import FetchFailed, ModelUnavailable
from shared.settings import REPOSITORY
from worker.engine import upstream
from worker.engine.vision import resnet
from worker.engine.weights import load_weights

PLAIN = {"weight": torch.arange(4.0)}


class Touch:
    """An object whose pickle creates a file when it is read without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@dataclass
class Upstream:
    """What the server answers on every path but /moved, and which paths it was asked for."""

    address: str
    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    moved_to: str = "/w.pth"
    asked: list[str] = field(default_factory=list)
    encodings: set[str | None] = field(default_factory=set)

    def url(self, path: str = "/w.pth") -> str:
        return self.address + path


class Handler(BaseHTTPRequestHandler):
    upstream: Upstream

    def do_GET(self) -> None:
        self.upstream.asked.append(self.path)
        self.upstream.encodings.add(self.headers.get("Accept-Encoding"))
        if self.path == "/moved":
            self.answer(302, {"Location": self.upstream.moved_to, "Content-Length": "0"}, b"")
        else:
            self.answer(self.upstream.status, self.upstream.headers, self.upstream.content)

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Upstream]:
    class Bound(Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as running:
        Bound.upstream = Upstream(f"http://127.0.0.1:{running.server_port}")
        thread = Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield Bound.upstream
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def real_card(name: str, cache: Path, *, url: str, digest: str) -> ModelCard:
    """A card as it is in the repository, but for the address and the hash of its weights."""
    card = ModelCard.load(REPOSITORY / "models" / name / "card.json", cache=cache)
    return replace(card, weights=WeightsSpec(card.weights.file, digest, url))


def card_for(content: bytes, cache: Path, *, url: str, digest: str | None = None) -> ModelCard:
    stated = sha256(content).hexdigest() if digest is None else digest
    return real_card("wrn28-10-cifar10", cache, url=url, digest=stated)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def serve(server: Upstream, content: bytes, *, length: int | None = None) -> bytes:
    server.content = content
    server.headers = {"Content-Length": str(len(content) if length is None else length)}
    return content


def quiet(received: int, total: int | None) -> None:
    pass


def left_in(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*"))


@contextmanager
def refused(cache: Path, *, match: str) -> Iterator[None]:
    """FetchFailed with this sentence, and nothing new in the cache."""
    before = left_in(cache)
    with pytest.raises(FetchFailed, match=match):
        yield
    assert left_in(cache) == before


def test_torchvisions_resnet_arrives_whole_with_its_class_names(server: Upstream, cache: Path) -> None:
    torch.manual_seed(0)
    source = resnet.resnet18()
    content = serve(server, saved(source.state_dict()))
    card = real_card("resnet18-imagenet", cache, url=server.url(), digest=sha256(content).hexdigest()[:8])
    assert card.missing
    path = upstream.fetch(card, cache, progress=quiet)

    fetched = ModelCard.load(REPOSITORY / "models/resnet18-imagenet/card.json", cache=cache)
    assert path == fetched.weights_path
    assert fetched.missing is None
    assert len(fetched.classes) == 1000
    assert (fetched.classes[0], fetched.classes[281], fetched.classes[999]) == ("tench", "tabby", "toilet tissue")
    network = resnet.resnet18()
    load_weights(network, replace(card, weights_path=path))
    ours, theirs = network.state_dict(), source.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_nbdts_checkpoint_arrives_whole_and_its_hash_is_recorded(
    server: Upstream, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.device("meta"):
        network = wrn28_10_cifar10()
    halves = {
        f"module.model.{key}": torch.tensor(number, dtype=torch.half).expand(value.shape)
        for number, (key, value) in enumerate(network.state_dict().items())
    }
    content = serve(server, saved({"net": halves, "acc": 97.57, "epoch": 199}))
    card = real_card("wrn28-10-cifar10", cache, url=server.url(), digest="")
    path = upstream.fetch(card, cache, progress=quiet)

    digest = sha256(content).hexdigest()
    assert json.loads((path.parent / "weights.json").read_text("utf-8")) == {
        "file": card.weights.file,
        "url": server.url(),
        "sha256": digest,
        "stated_by_upstream": None,
    }
    assert "states no hash" in caplog.text and digest in caplog.text
    assert not (path.parent / "classes.json").exists()
    network = network.to_empty(device="cpu")
    load_weights(network, card)
    assert all(bool((value == number).all()) for number, value in enumerate(network.state_dict().values()))


def test_progress_counts_the_bytes_up_to_the_length_that_the_server_states(server: Upstream, cache: Path) -> None:
    content = serve(server, saved({"weight": torch.zeros(100_000)}))
    seen: list[tuple[int, int | None]] = []
    card = card_for(content, cache, url=server.url())
    upstream.fetch(card, cache, progress=lambda *counts: seen.append(counts))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == (len(content), len(content))


def test_a_server_that_states_no_length_is_fine(server: Upstream, cache: Path) -> None:
    server.content = saved(PLAIN)
    seen: list[int | None] = []
    card = card_for(server.content, cache, url=server.url())
    path = upstream.fetch(card, cache, progress=lambda _, total: seen.append(total))
    assert path.read_bytes() == server.content
    assert set(seen) == {None}


def test_a_redirect_is_followed_and_the_whole_route_checked(
    server: Upstream, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes: list[list[httpx.URL]] = []
    monkeypatch.setattr(upstream, "check_route", routes.append)
    content = serve(server, saved(PLAIN))
    path = upstream.fetch(card_for(content, cache, url=server.url("/moved")), cache, progress=quiet)
    assert path.read_bytes() == content
    assert server.asked == ["/moved", "/w.pth"]
    assert routes == [[httpx.URL(server.url("/moved")), httpx.URL(server.url("/w.pth"))]]


def test_the_file_is_asked_for_uncompressed(server: Upstream, cache: Path) -> None:
    content = serve(server, saved(PLAIN))
    upstream.fetch(card_for(content, cache, url=server.url()), cache, progress=quiet)
    assert server.encodings == {"identity"}


def test_a_host_that_cannot_be_reached_is_named_with_what_to_do(cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"http://127.0.0.1:{port}/w.pth"
    card = card_for(b"", cache, url=url)
    sentence = (
        f"127.0.0.1 cannot be reached: Connection refused; download {url} by other means, "
        f"put it at {card.weights_path} and run: pathlight models fetch wrn28-10-cifar10"
    )
    with refused(cache, match=f"^{re.escape(sentence)}$"):
        upstream.fetch(card, cache, progress=quiet)


def test_a_name_that_does_not_resolve_is_a_plain_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    card = card_for(b"", cache, url="https://example.org/w.pth")
    with refused(cache, match=r"^example\.org cannot be reached: Name or service not known; download https://example"):
        upstream.fetch(card, cache, progress=quiet)


def test_a_server_that_has_no_such_file_is_quoted(server: Upstream, cache: Path) -> None:
    content = serve(server, saved(PLAIN))
    server.status = 404
    with refused(cache, match=r"^127\.0\.0\.1 answered 404 Not Found; download http://127"):
        upstream.fetch(card_for(content, cache, url=server.url()), cache, progress=quiet)


def test_a_server_that_falls_silent_is_given_up(server: Upstream, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TIMEOUT", httpx.Timeout(0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        started = time.monotonic()
        with refused(cache, match=r"^the transfer from 127\.0\.0\.1 broke off: timed out; download"):
            upstream.fetch(card_for(b"", cache, url=url), cache, progress=quiet)
        assert time.monotonic() - started < 4


def test_a_truncated_answer_is_refused_even_where_no_hash_is_known(server: Upstream, cache: Path) -> None:
    content = saved(PLAIN)
    serve(server, content[: len(content) // 2], length=len(content))
    with refused(cache, match=rf"^the transfer from 127\.0\.0\.1 broke off: .*expected {len(content)}"):
        upstream.fetch(card_for(content, cache, url=server.url(), digest=""), cache, progress=quiet)


@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_with_another_hash_is_refused(server: Upstream, cache: Path, digits: int) -> None:
    content = serve(server, saved(PLAIN))
    card = card_for(content, cache, url=server.url(), digest="0" * digits)
    sentence = f"sent a file with SHA-256 {sha256(content).hexdigest()}, expected was {'0' * digits}; nothing was kept"
    with refused(cache, match=sentence):
        upstream.fetch(card, cache, progress=quiet)


def test_a_file_that_upstream_has_changed_is_refused(server: Upstream, cache: Path) -> None:
    card = card_for(serve(server, saved(PLAIN)), cache, url=server.url(), digest="")
    upstream.fetch(card, cache, progress=quiet).unlink()
    serve(server, saved({"weight": torch.zeros(4)}))
    with refused(cache, match=r"as recorded by the first fetch; delete .*weights\.json to trust the new file"):
        upstream.fetch(card, cache, progress=quiet)


def test_a_damaged_record_stops_the_fetch(server: Upstream, cache: Path) -> None:
    content = serve(server, saved(PLAIN))
    card = card_for(content, cache, url=server.url(), digest="")
    (upstream.fetch(card, cache, progress=quiet).parent / "weights.json").write_text("{}")
    with refused(cache, match=r"weights\.json is not a readable record of a fetch; delete it to trust the next one"):
        upstream.fetch(card, cache, progress=quiet)


@pytest.mark.parametrize("stated", [True, False], ids=["hash stated", "no hash stated"])
def test_a_file_that_wants_to_run_code_is_refused_and_nothing_runs(
    server: Upstream, cache: Path, tmp_path: Path, stated: bool
) -> None:
    content = serve(server, saved({"weight": torch.ones(1), "more": Touch(tmp_path / "trap")}))
    card = card_for(content, cache, url=server.url(), digest=None if stated else "")
    with refused(cache, match=r"^what 127\.0\.0\.1 sent was not kept: .* is not a plain state dict"):
        upstream.fetch(card, cache, progress=quiet)
    assert not (tmp_path / "trap").exists()


def test_a_log_in_page_is_never_recorded_as_the_weights(server: Upstream, cache: Path) -> None:
    serve(server, b"<html>Please log in</html>")
    with refused(cache, match="is not a plain state dict"):
        upstream.fetch(card_for(b"", cache, url=server.url(), digest=""), cache, progress=quiet)


@pytest.mark.parametrize("stated", [True, False], ids=["length stated", "no length stated"])
def test_a_file_beyond_the_largest_size_is_given_up(
    server: Upstream, cache: Path, stated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = serve(server, saved({"weight": torch.zeros(100_000)}))
    server.headers = server.headers if stated else {}
    monkeypatch.setattr(upstream, "LARGEST_BYTES", len(content) - 1)
    received: list[int] = []
    with refused(cache, match=r"^127\.0\.0\.1 sends more than the"):
        upstream.fetch(card_for(content, cache, url=server.url()), cache, progress=lambda n, _: received.append(n))
    assert (received == []) == stated
    assert max(received, default=0) < len(content)


@pytest.mark.parametrize("url", ["ftp://example.org/w.pth", "file:///etc/hostname", "w.pth", "http://", "http://a:b"])
def test_only_web_addresses_are_fetched(cache: Path, url: str) -> None:
    with refused(cache, match="in the card of wrn28-10-cifar10 is not an"):
        upstream.fetch(card_for(b"", cache, url=url), cache, progress=quiet)


def test_a_redirect_to_anything_but_a_web_address_is_refused(server: Upstream, cache: Path) -> None:
    server.moved_to = "file:///etc/hostname"
    with refused(cache, match="broke off"):
        upstream.fetch(card_for(b"", cache, url=server.url("/moved")), cache, progress=quiet)


def test_a_server_that_redirects_for_ever_is_given_up(server: Upstream, cache: Path) -> None:
    server.moved_to = "/moved"
    with refused(cache, match="broke off: Exceeded maximum allowed redirects"):
        upstream.fetch(card_for(b"", cache, url=server.url("/moved")), cache, progress=quiet)


def test_an_encrypted_route_must_stay_encrypted() -> None:
    secure, open_ = httpx.URL("https://example.org/a"), httpx.URL("http://example.org/b")
    upstream.check_route([secure, secure])
    upstream.check_route([open_, secure])
    with pytest.raises(FetchFailed, match=r"^example\.org redirected to http://example\.org/b, which is not encrypted"):
        upstream.check_route([secure, open_, secure])


def test_a_model_of_the_repository_is_not_fetched(cache: Path) -> None:
    card = card_for(b"", cache, url="")
    with pytest.raises(FetchFailed, match="has no upstream"):
        upstream.fetch(replace(card, weights=replace(card.weights, url=None)), cache, progress=quiet)


def test_a_good_file_is_kept_and_the_network_left_alone(server: Upstream, cache: Path) -> None:
    content = serve(server, saved(PLAIN))
    card = card_for(content, cache, url=server.url())
    first = upstream.fetch(card, cache, progress=quiet).stat()
    server.status, server.content = 500, b""
    again = upstream.fetch(card, cache, progress=quiet)
    assert again.read_bytes() == content
    assert again.stat().st_mtime_ns == first.st_mtime_ns
    assert server.asked == ["/w.pth"]


def test_a_damaged_file_is_fetched_again(server: Upstream, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = serve(server, saved(PLAIN))
    card = card_for(content, cache, url=server.url(), digest="")
    path = upstream.fetch(card, cache, progress=quiet)
    path.write_bytes(content[:-1])
    assert upstream.fetch(card, cache, progress=quiet).read_bytes() == content
    assert "is fetched again" in caplog.text


def test_a_failing_fetch_leaves_a_damaged_file_as_it_was(server: Upstream, cache: Path) -> None:
    content = serve(server, saved(PLAIN))
    card = card_for(content, cache, url=server.url(), digest="")
    path = upstream.fetch(card, cache, progress=quiet)
    path.write_bytes(b"damaged")
    serve(server, content[:-100], length=len(content))
    with refused(cache, match="broke off"):
        upstream.fetch(card, cache, progress=quiet)
    assert path.read_bytes() == b"damaged"


def test_a_file_put_in_place_by_hand_is_taken_with_its_record_and_class_names(cache: Path) -> None:
    content = saved(resnet.resnet18().state_dict())
    digest = sha256(content).hexdigest()
    card = real_card("resnet18-imagenet", cache, url="http://127.0.0.1:1/w.pth", digest=digest[:8])
    card.weights_path.parent.mkdir(parents=True)
    card.weights_path.write_bytes(content)
    assert upstream.fetch(card, cache, progress=quiet) == card.weights_path
    assert left_in(card.weights_path.parent) == ["classes.json", card.weights.file, "weights.json"]
    load_weights(resnet.resnet18(), card)


def test_a_useless_file_put_in_place_by_hand_is_said_to_be_so(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    card = card_for(b"", cache, url="http://127.0.0.1:1/w.pth", digest="")
    card.weights_path.parent.mkdir(parents=True)
    card.weights_path.write_bytes(b"<html>Please log in</html>")
    with refused(cache, match="cannot be reached"), caplog.at_level(logging.WARNING):
        upstream.fetch(card, cache, progress=quiet)
    assert "is not a plain state dict and was not loaded, so it is fetched again" in caplog.text
    with pytest.raises(ModelUnavailable, match="no SHA-256 is known"):
        load_weights(resnet.resnet18(), card)


def test_an_interrupted_fetch_leaves_nothing_behind(server: Upstream, cache: Path) -> None:
    content = serve(server, saved({"weight": torch.zeros(100_000)}))

    def interrupt(received: int, total: int | None) -> None:
        assert left_in(cache) != []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upstream.fetch(card_for(content, cache, url=server.url()), cache, progress=interrupt)
    assert left_in(cache) == []


def test_what_a_killed_fetch_left_behind_is_removed_by_the_next_one(server: Upstream, cache: Path) -> None:
    content = serve(server, saved(PLAIN))
    card = card_for(content, cache, url=server.url())
    old, under_way = cache / ".fetch-old", cache / ".fetch-now"
    for folder in (old, under_way):
        folder.mkdir(parents=True)
        (folder / "w.pth").write_bytes(b"half")
    for path in (old, old / "w.pth", under_way):
        os.utime(path, (1, 1))
    upstream.fetch(card, cache, progress=quiet)
    assert not old.exists() and under_way.exists()


def test_a_cache_that_cannot_be_written_is_a_plain_sentence(server: Upstream, cache: Path) -> None:
    content = serve(server, saved(PLAIN))
    cache.write_text("a file where the folder should be")
    with pytest.raises(FetchFailed, match=r"cache/wrn28-10-cifar10 cannot be written: File exists"):
        upstream.fetch(card_for(content, cache, url=server.url()), cache, progress=quiet)
