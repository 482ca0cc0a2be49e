"""Every attack by its name: for each route and each kind of input, the worst that is known.

An attack first prepares, which is not measured: it makes its files, and has the jobs explained that it will ask about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from shared.cards.methods import METHODS
from tests.faults.cost import bodies, peers, pictures
from tests.faults.cost.archives import ARCHIVES
from tests.faults.cost.attacker import BATCHES, JOBS, Attacker
from tests.faults.cost.caller import MODEL

SUBMIT, SUBMIT_BATCH, ARTIFACT = "api.submit_job", "batches.submit_batch", "api.get_artifact"
TOO_MANY = 429  # that may be the answer to any request of who has asked for much


@dataclass(frozen=True)
class Attack:
    """`strike` sends the requests, given what `prepare` made; each must be answered with one of `statuses`. `routes`
    are the endpoints that it is aimed at. `computing` is how many seconds a job of it may take a worker: it asks for so
    much, and is counted for it. Where the attacker does not read the answer, its status is 0."""

    name: str
    routes: tuple[str, ...]
    statuses: frozenset[int]
    strike: Callable[[Attacker, Any], None]
    prepare: Callable[[Attacker], Any]
    computing: float = 0.0


# -- pictures ----------------------------------------------------------------------------------------------------------


def _made(make: pictures.Make, attacker: Attacker) -> bytes:
    return make(attacker.random, attacker.share)


def _show(attacker: Attacker, data: bytes) -> None:
    """Have a picture explained, and shown by the web server."""
    job = attacker.submit(pictures.again(data, attacker.random), models=MODEL)
    if job:
        attacker.ended(job)
        attacker.ask("GET", f"{JOBS}/{job}/artifacts/picture.jpg", params={"width": attacker.random.randrange(16, 999)})


PICTURES: dict[str, tuple[pictures.Make, set[int]]] = {
    "JPEG of 2,000 scans, with MPF": (pictures.scans, {400}),
    "JPEG in arithmetic coding": (pictures.arithmetic, {200, 202, 400}),
    "JPEG of stray bytes": (pictures.stray_bytes, {200, 202, 400}),
    "JPEG of 9,000 tables": (pictures.many_tables, {200, 202, 400}),
    "PNG of 9,000 profiles": (pictures.packed_profiles, {200, 202}),
    "PNG of 9,000 texts": (pictures.packed_texts, {200, 202}),
    "PNG of 9,000 broken texts": (pictures.broken_texts, {200, 202}),
    "PNG of a million chunks": (pictures.many_chunks, {400}),
    "PNG with more rows than it has": (pictures.many_rows, {200, 202, 400}),
    "WebP of 5,000 frames": (pictures.many_frames, {200, 202, 400}),
    "WebP with a large canvas": (pictures.large_canvas, {200, 202, 400}),
    "25 megapixels, RGBA PNG": (pictures.large("RGBA", "PNG", compress_level=1), {200, 202}),
    "25 megapixels, RGBA PNG on its side": (pictures.turned, {200, 202}),
    "25 megapixels, interlaced PNG": (pictures.interlaced, {200, 202}),
    "25 megapixels, 16-bit PNG": (pictures.large("I;16", "PNG", compress_level=1), {200, 202}),
    "25 megapixels, palette PNG": (pictures.large("P", "PNG", compress_level=1), {200, 202}),
    "25 megapixels, grey and alpha PNG": (pictures.large("LA", "PNG", compress_level=1), {200, 202}),
    "25 megapixels, progressive JPEG": (pictures.large("RGB", "JPEG", progressive=True, quality=70), {200, 202}),
    "25 megapixels, CMYK JPEG": (pictures.large("CMYK", "JPEG", quality=70), {200, 202}),
    "25 megapixels, lossless WebP": (pictures.large("RGBA", "WEBP", lossless=True, method=0), {200, 202, 413}),
    "25 megapixels, WebP": (pictures.large("RGB", "WEBP", method=0), {200, 202}),
}


def _picture(name: str, make: pictures.Make, statuses: set[int]) -> Attack:
    return Attack(name, (SUBMIT, "api.get_job", ARTIFACT), frozenset(statuses), _show, partial(_made, make))


def _masked(attacker: Attacker, made: tuple[bytes, bytes]) -> None:
    picture, mask = made
    attacker.submit(pictures.again(picture, attacker.random), mask=mask, fill="blur", models=MODEL)
    for job in attacker.jobs[-1:]:
        attacker.ended(job)
        for name in ("mask.png", "picture.jpg"):
            attacker.ask("GET", f"{JOBS}/{job}/artifacts/{name}")


def _mask_files(attacker: Attacker) -> tuple[bytes, bytes]:
    return _made(pictures.beneath, attacker), _made(pictures.mask, attacker)


# -- archives, JSON and forms ------------------------------------------------------------------------------------------


def _archive(name: str, make: pictures.Make, statuses: set[int]) -> Attack:
    def strike(attacker: Attacker, data: bytes) -> None:
        attacker.send_batch(("a.archive", data), models=MODEL)

    return Attack(name, (SUBMIT_BATCH,), frozenset(statuses), strike, partial(_made, make))


def _json(name: str, make: pictures.Make, statuses: set[int]) -> Attack:
    def strike(attacker: Attacker, body: bytes) -> None:
        attacker.send_json(body)

    return Attack(name, (SUBMIT,), frozenset(statuses), strike, partial(_made, make))


def _form(name: str, make: pictures.Make, statuses: set[int]) -> Attack:
    def strike(attacker: Attacker, body: bytes) -> None:
        for path in (JOBS, BATCHES):
            attacker.send_form(path, body)

    return Attack(name, (SUBMIT, SUBMIT_BATCH), frozenset(statuses), strike, partial(_made, make))


def _many_files(attacker: Attacker, body: bytes) -> None:
    attacker.send_form(BATCHES, body)


def _fill_redis(attacker: Attacker, data: bytes) -> None:
    """As many archives as would once fill it."""
    for _ in range(attacker.amount(13, least=2)):
        attacker.send_batch(("a.tar.gz", data), models=MODEL)


# -- drawings ----------------------------------------------------------------------------------------------------------


def _large_jobs(attacker: Attacker) -> list[str]:
    """Jobs about different pictures of the largest size, which have ended."""
    data = _made(pictures.large("RGBA", "PNG", compress_level=1), attacker)
    count = attacker.amount(12, least=2)
    jobs = [attacker.submit(pictures.again(data, attacker.random), models=MODEL) for _ in range(count)]
    for job in jobs:
        attacker.ended(job)
    return jobs


def _draw_together(attacker: Attacker, jobs: list[str], names: list[str]) -> None:
    def draw(job: str, name: str) -> None:
        width = attacker.random.randrange(900, 1024)
        attacker.ask(
            "GET", f"{JOBS}/{job}/artifacts/{name}", params={"width": width, "alpha": attacker.random.random()}
        )

    attacker.together([partial(draw, job, name) for job in jobs for name in names])


def _pictures_together(attacker: Attacker, jobs: list[str]) -> None:
    _draw_together(attacker, jobs, ["picture.jpg"])


def _overlays_together(attacker: Attacker, jobs: list[str]) -> None:
    _draw_together(attacker, jobs, [f"{MODEL}.cam.overlay.png", f"{MODEL}.cam.heatmap.png"])


def _trees_together(attacker: Attacker, jobs: list[str]) -> None:
    path = attacker.job(jobs[0])["result"]["explanations"][0]["decision_path"]
    _draw_together(attacker, jobs, [path["artifacts"]["tree"].rpartition("/")[2]])


def _odd_drawings(attacker: Attacker, jobs: list[str]) -> None:
    """Every option at its end."""
    address = f"{JOBS}/{jobs[0]}/artifacts/{MODEL}.cam.overlay.png"
    for options in (
        {"bar": "true", "width": 1024, "scale": 5e-324},
        {"bar": "true", "width": 16, "scale": 1e308, "box": 1},
        {"box": 5e-324, "alpha": 0},
        {"width": "9" * 2000},
        {"colormap": "x" * 2000},
    ):
        attacker.ask("GET", address, params=options)
    attacker.ask("GET", "/colours/inferno.png")
    attacker.ask("GET", f"/colours/{'x' * 2000}.png")


def _bundles(attacker: Attacker, jobs: list[str]) -> None:
    attacker.together([partial(attacker.ask, "GET", f"{JOBS}/{job}/bundle.zip") for job in jobs])


def _slow_bundles(attacker: Attacker, jobs: list[str]) -> None:
    seconds = attacker.amount(6, least=1)
    reading = [partial(attacker.read_slowly, f"{JOBS}/{job}/bundle.zip", seconds=seconds) for job in jobs]
    attacker.together(reading * attacker.amount(4, least=1))


# -- batches, reports and streams --------------------------------------------------------------------------------------


def _ended_batches(attacker: Attacker) -> list[str]:
    count = attacker.amount(40, least=2)
    files = [(f"{number}.png", pictures.small(attacker.random)) for number in range(count)]
    batches = [attacker.send_batch(*files, models=MODEL), attacker.send_batch(*files[::-1], models=MODEL)]
    for batch in batches:
        attacker.batch_ended(batch)
    return batches


def _reports(attacker: Attacker, batches: list[str]) -> None:
    asked = [f"{BATCHES}/{batch}/report.{kind}" for batch in batches for kind in ("html", "csv", "zip")]
    attacker.together([partial(attacker.ask, "GET", path) for path in asked * attacker.amount(4, least=1)])


def _slow_reports(attacker: Attacker, batches: list[str]) -> None:
    seconds = attacker.amount(6, least=1)
    reading = partial(attacker.read_slowly, f"{BATCHES}/{batches[0]}/report.zip", seconds=seconds)
    attacker.together([reading] * attacker.amount(24, least=6))


def _members(attacker: Attacker, batches: list[str]) -> None:
    """Pages of what is large, and places where there is nothing."""
    address = f"{BATCHES}/{batches[0]}/members"
    for query in (
        {"limit": 100, "maps": "true"},
        {"limit": 100, "cursor": 10**9},
        {"cursor": 10**30},
        {"cursor": "x" * 2000},
        {"limit": 100, "status": "running"},
        {"status": "x" * 2000},
    ):
        attacker.ask("GET", address, params=query)
    attacker.ask("GET", f"{BATCHES}/{batches[0]}")
    attacker.ask("GET", f"{BATCHES}/{'x' * 2000}")


def _failed_batch(attacker: Attacker) -> list[str]:
    made = ARCHIVES["tar of empty files with long names"][0]
    return [attacker.send_batch(("a.tar.gz", _made(made, attacker)), models=MODEL)]


def _changes(attacker: Attacker, batches: list[str]) -> None:
    """Every change of a batch of ten thousand, again and again."""
    for name in ("retry", "pause", "resume", "cancel") * attacker.amount(5, least=1):
        attacker.ask("POST", f"{BATCHES}/{batches[0]}/{name}")
    for status in ("failed", "queued"):
        attacker.ask("GET", f"{BATCHES}/{batches[0]}/members", params={"limit": 100, "status": status})
    attacker.ask("GET", f"{BATCHES}/{batches[0]}/report.html")
    attacker.ask("DELETE", f"{BATCHES}/{batches[0]}")


def _paused_member(attacker: Attacker) -> list[str]:
    """Jobs that do not end: members of a batch that was paused at once."""
    attacker.patience = 1.0
    files = [(f"{number}.png", pictures.small(attacker.random)) for number in range(8)]
    batch = attacker.send_batch(*files, models=MODEL, methods="rise", trust="full")
    attacker.ask("POST", f"{BATCHES}/{batch}/pause")
    members = attacker.client.get(f"{BATCHES}/{batch}/members", params={"limit": 100}).json()["members"]
    return [str(member["id"]) for member in members if member["status"] == "queued"]


def _streams(attacker: Attacker, jobs: list[str]) -> None:
    seconds = attacker.amount(6, least=1)
    peers.hold_streams(attacker, f"{JOBS}/{jobs[-1]}/events", count=attacker.amount(80, least=12), seconds=seconds)


# -- connections -------------------------------------------------------------------------------------------------------


def _held(head: bytes, *, more: bytes = b"", full: int = 300) -> Callable[[Attacker, None], None]:
    """Connections that stay, more than the server has threads. KEY in a head stands for the attacker's."""

    def strike(attacker: Attacker, nothing: None) -> None:
        sent = head.replace(b"KEY", attacker.key.encode())
        seconds = attacker.amount(6, least=1)
        peers.hold_connections(attacker, sent, more=more, count=attacker.amount(full, least=12), seconds=seconds)

    return strike


_WHO = b"Host: 127.0.0.1\r\nX-API-Key: KEY\r\n"
_UPLOAD = b"POST /api/v1/jobs HTTP/1.1\r\n" + _WHO + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
_LOOK = b"GET /api/v1/openapi.json HTTP/1.1\r\n" + _WHO + b"\r\n"
CONNECTIONS = {
    "300 connections that say nothing": _held(b""),
    "2,000 connections that say nothing": _held(b"", full=2000),
    "300 heads, a byte at a time": _held(b"GET /", more=b"x"),
    "300 uploads, a byte at a time": _held(_UPLOAD, more=b"x"),
    "300 uploads that do not come and are not read": _held(_UPLOAD.replace(b"POST /api/v1/jobs", b"GET /healthz")),
    "300 connections with many requests, unread": _held(_LOOK * 100),
}


# -- addresses of others -----------------------------------------------------------------------------------------------


def _slow_pictures(attacker: Attacker, nothing: None) -> None:
    body = b'{"image_url":"%s/%d.png"}' % (attacker.peer.encode(), attacker.random.randrange(10**9))
    attacker.together([partial(attacker.send_json, body)] * attacker.amount(16, least=6))


def _odd_addresses(attacker: Attacker, nothing: None) -> None:
    for address in (
        "http://127.0.0.1:1/",
        f"http://{'a.' * 400}b/",
        "x" * 3000,
        "http://[::]/",
        f"{attacker.peer}/%00",
    ):
        attacker.send_json(b'{"image_url":"%s"}' % address.encode())


def _slow_receivers(attacker: Attacker, nothing: None) -> None:
    for _ in range(attacker.amount(8, least=2)):
        attacker.submit(pictures.small(attacker.random), models=MODEL, webhook=f"{attacker.peer}/hook")
    for job in attacker.jobs:
        attacker.ended(job)


def _many_jobs(attacker: Attacker, nothing: None) -> None:
    """As many as one key may have waiting."""
    count = attacker.amount(200, least=8)
    made = [pictures.small(attacker.random) for _ in range(count)]
    attacker.together([partial(attacker.submit, data, models=MODEL) for data in made])


def _costly_jobs(attacker: Attacker, nothing: None) -> None:
    """In the short form, without the proof that takes so long."""
    methods, trust = [*METHODS][: attacker.amount(8)], "full" if attacker.share == 1 else "basic"
    for _ in range(attacker.amount(6)):
        attacker.submit(pictures.small(attacker.random), models=MODEL, methods=methods, trust=trust)


# -- pages, lists, sign-in ---------------------------------------------------------------------------------------------


def _guesses(attacker: Attacker, nothing: None) -> None:
    token = attacker.token("/sign-in")
    for _ in range(attacker.amount(40, least=5)):
        guess = f"pl_{attacker.random.randbytes(6).hex()}_{'x' * 43}"
        attacker.ask("POST", "/sign-in", data={"token": token, "key": guess, "next": "/" * 200_000})
    attacker.ask("GET", "/sign-in", params={"next": "/" * 1000})
    attacker.ask("POST", "/sign-out", data={"token": "x" * 100_000})


def _lists(attacker: Attacker, jobs: list[str]) -> None:
    for query in (
        {"limit": 100},
        {"limit": 100, "status": "expired"},
        {"cursor": "YmVmb3JlIA=="},
        {"cursor": "x" * 3000},
        {"limit": "9" * 3000},
        {"status": "y" * 3000},
    ):
        attacker.ask("GET", JOBS, params=query)
    attacker.ask("GET", f"{JOBS}/{'x' * 3000}")
    for job in jobs:
        attacker.ask("POST", f"{JOBS}/{job}/cancel", headers={"Idempotency-Key": "k" * 200})
        attacker.ask("DELETE", f"{JOBS}/{job}")


def _small_jobs(attacker: Attacker) -> list[str]:
    count = attacker.amount(40, least=2)
    jobs = [attacker.submit(pictures.small(attacker.random), models=MODEL) for _ in range(count)]
    for job in jobs:
        attacker.ended(job)
    return jobs


def _pages(attacker: Attacker, jobs: list[str]) -> None:
    for path in (*(f"/jobs/{job}" for job in jobs[:5]), "/", "/models", "/meaning", "/history", f"/jobs/{'x' * 2000}"):
        attacker.ask("GET", path, headers={"Accept-Language": "ja;q=0.5," * 500, "Accept": "text/html"})
    attacker.ask("GET", "/several", params={"job": (jobs * 40)[:90]})
    attacker.ask("GET", "/api/v1/openapi.json")


def _page_forms(attacker: Attacker, jobs: list[str]) -> None:
    """The form of the first page with as many of the largest pictures as fit, and a further question about one."""
    token = attacker.token()
    data = _made(pictures.interlaced, attacker)
    several = [
        ("image", (f"{number}.png", pictures.again(data, attacker.random))) for number in range(attacker.amount(30))
    ]
    attacker.send_page_form("/", {"token": token, "models": MODEL}, files=several)
    attacker.send_page_form("/", {"token": "x" * 250_000, "models": MODEL, "sample": "y" * 250_000})
    hottest = {"token": token, "hide": "hottest", "fill": "blur", "target": "z" * 200_000}
    for fields in (hottest, {**hottest, "target": "predicted"}):
        attacker.send_page_form(f"/jobs/{jobs[0]}/again", fields)
    attacker.ask("POST", f"/jobs/{jobs[0]}/cancel", data={"token": token})


def _hide_hottest(attacker: Attacker, jobs: list[str]) -> None:
    """The server itself paints a mask of the largest size."""
    token = attacker.token()
    for job in jobs[: attacker.amount(4, least=1)]:
        attacker.send_page_form(f"/jobs/{job}/again", {"token": token, "hide": "hottest", "fill": "blur"})


# -- all ---------------------------------------------------------------------------------------------------------------

_REPORT = "batches.get_report"
_CHANGES = tuple(f"batches.{name}_batch" for name in ("retry", "pause", "resume", "cancel", "delete"))
_GUIDE = ("pages.job", "pages.index", "guide.models", "guide.meaning", "guide.history", "pages.several")


def _attack(
    name: str, routes: tuple[str, ...], statuses: set[int], strike: Any, prepare: Any = None, computing: float = 0.0
) -> Attack:
    return Attack(name, routes, frozenset(statuses), strike, prepare or (lambda attacker: None), computing)


ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        *(_picture(name, *rest) for name, rest in PICTURES.items()),
        _attack("a mask of 25 megapixels", (SUBMIT, ARTIFACT), {200, 202}, _masked, _mask_files),
        *(_archive(name, *rest) for name, rest in ARCHIVES.items()),
        _attack(
            "13 archives of empty files",
            (SUBMIT_BATCH,),
            {202, 503},
            _fill_redis,
            partial(_made, ARCHIVES["tar of empty files with long names"][0]),
        ),
        *(_json(name, *rest) for name, rest in bodies.JSON.items()),
        *(_form(name, *rest) for name, rest in bodies.FORMS.items()),
        _attack("form of 10,000 files", (SUBMIT_BATCH,), {202}, _many_files, partial(_made, bodies.many_files)),
        _attack("12 pictures drawn at once", (ARTIFACT,), {200, 503}, _pictures_together, _large_jobs),
        _attack("24 maps drawn at once", (ARTIFACT,), {200, 503}, _overlays_together, _large_jobs),
        _attack("12 trees drawn at once", (ARTIFACT,), {200, 503}, _trees_together, _large_jobs),
        _attack(
            "drawings with odd options", (ARTIFACT, "pages.colours"), {200, 400, 404, 422}, _odd_drawings, _small_jobs
        ),
        _attack("12 bundles at once", ("api.get_bundle",), {200, 503}, _bundles, _large_jobs),
        _attack("bundles, read slowly", ("api.get_bundle",), {200, 503}, _slow_bundles, _large_jobs),
        _attack("24 reports at once", (_REPORT,), {200, 503}, _reports, _ended_batches),
        _attack("24 reports, read slowly", (_REPORT,), {200, 503}, _slow_reports, _ended_batches),
        _attack(
            "pages of a batch",
            ("batches.list_members", "batches.get_batch"),
            {200, 400, 404, 422},
            _members,
            _ended_batches,
        ),
        _attack("changes of a large batch", _CHANGES, {200, 204, 404, 409, 503}, _changes, _failed_batch),
        _attack("80 event streams", ("api.follow_job",), {200, 503}, _streams, _paused_member, computing=60.0),
        *(_attack(name, (SUBMIT, "health.healthz"), {0}, strike) for name, strike in CONNECTIONS.items()),
        _attack("200 jobs at once", (SUBMIT,), {202}, _many_jobs),
        _attack("6 jobs of 8 methods with full proof", (SUBMIT,), {202}, _costly_jobs, computing=60.0),
        _attack("16 slow picture servers", (SUBMIT,), {422, 503}, _slow_pictures),
        _attack("odd addresses", (SUBMIT,), {400, 422}, _odd_addresses),
        _attack("8 slow receivers of webhooks", (SUBMIT,), {202}, _slow_receivers),
        _attack(
            "guesses at the sign-in", ("sign_in.form", "sign_in.enter", "sign_in.leave"), {200, 401, 403}, _guesses
        ),
        _attack(
            "lists with odd cursors",
            ("api.list_jobs", "api.get_job", "api.cancel_job", "api.delete_job"),
            {200, 204, 404, 409, 422},
            _lists,
            _small_jobs,
        ),
        _attack("pages", _GUIDE, {200, 404}, _pages, _small_jobs),
        _attack(
            "forms of the pages",
            ("pages.submit", "pages.ask_again", "pages.cancel"),
            {303, 403, 413, 422},
            _page_forms,
            _small_jobs,
        ),
        _attack("what-ifs of the hottest region", ("pages.ask_again",), {303}, _hide_hottest, _large_jobs),
    )
}

UNATTACKED = {
    "health.readyz": "takes nothing from the request; four commands of Redis",
    "metrics.read": "for an operator's key; takes nothing from the request",
    "api.list_models": "takes nothing from the request; lists the cards that the operator has",
    "api.fetch_model": "for an operator's key; the names are those of the operator's cards",
    "guide.fetch": "for an operator's key; the names are those of the operator's cards",
    "pages.sample": "thumbnails of four pictures that ship, by name",
    "pages.static": "files that ship, by name",
    "docs": "a redirect",
    "openapi.openapi": "a page that ships",
    "openapi.static": "files that ship, by name",
    "openapi.doc_url": "takes nothing from the request; the document is made once",
    "swagger.swagger": "a page that ships",
    "swagger.static": "files that ship, by name",
    "swagger.oauth2-redirect": "a page that ships",
}
"""Routes without an attack, and why."""
