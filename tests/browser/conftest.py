"""A real Chromium before a running service: pages that watch what they load, and photographs to give them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from cli import embedded
from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded, wait_for
from tests.flow.conftest import SPARING, Service, running
from web.app import create_app

OUT = Path(__file__).parent / "out"  # screenshots, for a person to look at
PICTURES = "PICTURES"  # the variable that asks for them: they take longer than all else on a page
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LANGUAGES = ("en", "ja")
PATIENCE_MS = 60_000  # of a job, which may be the first of its worker
WIDE, NARROW = 1280, 360  # pixels: of a desk, and of a small telephone
CONTRAST = "color-contrast"  # axe's slowest rule, and the only one that looks at colours
QUALITY = 85  # of JPEGs, which a tall page's picture is in a fraction of the time that a PNG takes
AXE = Axe()
expect.set_options(timeout=PATIENCE_MS)


class Open(Protocol):
    def __call__(
        self, path: str = "/", *, language: str = "en", width: int = WIDE, scripts: bool = True, base: str = ""
    ) -> Page: ...


@dataclass(frozen=True)
class Front:
    """A web server of this very process over a store: `address` without a slash at its end."""

    address: str
    store: JobStore
    settings: Settings


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's executable. Absent on a reader's machine, where the test is skipped; never in CI."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        message = "no Chromium is installed; on Debian: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


# Both of the package, not of the session: while playwright runs, no other test could run an event loop of its own.
@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # the sandbox refuses to start for root
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="session")
def service(chromium: str, home: Path) -> Iterator[Service]:
    """One service for all tests of a browser; their jobs stay, and do not disturb each other. Other files of tests may
    come between theirs."""
    with running(home, home / "log", **SPARING) as started:
        yield started


@pytest.fixture(scope="package")
def guarded(service: Service, home: Path) -> Iterator[Front]:
    """The same service behind a front where keys are required."""
    with front(Settings(home=home, keys="required")) as started:
        yield started


@pytest.fixture(scope="package")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front without any worker: its jobs stay as a test leaves them."""
    settings = Settings(home=tmp_path_factory.mktemp("idle"))
    redis = subprocess.Popen(embedded.prepare(settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(settings.redis_socket.exists, seconds=60)
        with front(settings) as started:
            yield started
    finally:
        redis.kill()
        redis.wait()


@contextmanager
def front(settings: Settings) -> Iterator[Front]:
    store, blobs = JobStore.connect(settings), BlobStore(settings.blobs)
    bell = Bell(make_celery(settings))
    app = create_app(settings, store=store, blobs=blobs, bell=bell, registry=Registry.load(settings))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Front(f"http://127.0.0.1:{server.port}", store, settings)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Silent(WSGIRequestHandler):
    """Writes no line for every request."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing: the browser sees what fails."""


@pytest.fixture
def open_page(browser: Browser, service: Service) -> Iterator[Open]:
    """Opens a page as a new reader. Fails the test where a page asks another host, breaks its policy or throws."""
    ours = str(service.client.base_url)
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_one(
        path: str = "/", *, language: str = "en", width: int = WIDE, scripts: bool = True, base: str = ""
    ) -> Page:
        base = base or ours
        context = browser.new_context(
            base_url=base,
            locale=language,
            viewport={"width": width, "height": 800},
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.on("request", lambda request: faults.extend(foreign(request.url, base)))
        context.on("weberror", lambda error: faults.append(f"thrown: {error.error}"))
        context.on("console", lambda said: faults.extend([said.text] * ("Content Security Policy" in said.text)))
        page = context.new_page()
        page.goto(path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="session")
def chelsea(photos: dict[str, Image.Image]) -> FilePayload:
    return {"name": "chelsea.png", "mimeType": "image/png", "buffer": encoded(photos["chelsea"])}


@pytest.fixture(scope="session")
def broken(photos: dict[str, Image.Image]) -> FilePayload:
    """A picture whose header can be read and whose rest is missing."""
    buffer = io.BytesIO()
    photos["coffee"].save(buffer, "JPEG")
    return {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": buffer.getvalue()[:20_000]}


@pytest.fixture(scope="package")
def answered(service: Service, chelsea: FilePayload) -> str:
    """The address of a finished answer about chelsea."""
    files = {"image": (chelsea["name"], chelsea["buffer"], chelsea["mimeType"])}
    job = service.client.post("/api/v1/jobs", files=files).json()
    return finished(service, job["links"]["self"])


def finished(service: Service, address: str) -> str:
    """Wait until the job has ended; the address of its page."""
    wait_for(lambda: service.client.get(address).json()["finished_at"], seconds=PATIENCE_MS / 1000, pause=0.1)
    return str(service.client.get(address).json()["links"]["page"])


def foreign(address: str, base: str) -> list[str]:
    """The address, where it is of another host; what a page made itself (blob:, data:) is of none."""
    parts = urlsplit(address)
    return [] if parts.scheme in ("blob", "data") or parts.netloc == urlsplit(base).netloc else [address]


def violations(page: Page, **options: object) -> list[str]:
    """What axe finds wrong with a page, serious or critical, one line each. `options` choose among its rules."""
    found = AXE.run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['help']}: {node['html'][:200]}" for one in grave for node in one["nodes"]]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth"))


def shoot(page: Page, name: str) -> None:
    """A picture of the whole page in OUT, pictures further down included; only where somebody asks for them."""
    if not os.environ.get(PICTURES):
        return
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.evaluate("Promise.allSettled([...document.images].map((image) => image.decode()))")
    OUT.mkdir(exist_ok=True)
    page.screenshot(path=OUT / f"{name}.jpg", type="jpeg", quality=QUALITY, full_page=True)
