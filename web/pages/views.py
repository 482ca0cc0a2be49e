"""The pages: a form that takes a picture, and a job's page whatever its state. They work without JavaScript too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask.wrappers import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response as WerkzeugResponse

from shared.answer.maps import MapEntry
from shared.cards.card import ModelCard, Registry
from shared.cards.class_names import short_name
from shared.cards.methods import CATALOGUE
from shared.drawing.maps import COLORMAPS, DIVERGING, png_bytes, strip
from shared.drawing.scales import FloatMap
from shared.errors import JobConflict, PathlightError, UnknownJob
from shared.images.decode import LONGEST_SIDE
from shared.jobs import LISTS, TREES, CommonOptions, Job, JobStatus, option_fields, rfc3339
from shared.options import SURE, best_methods, validated
from shared.settings import Settings
from web.api import submission as submissions
from web.api.acceptance import accept
from web.api.jobs import Jobs
from web.api.services import services
from web.http import access, compression, csrf, language, problems
from web.http.language import gettext as _
from web.http.language import translate_code
from web.http.models import in_order
from web.http.problems import BadRequest, Gone, discard_body, status_of
from web.pages import filters, follow_up, reproduce, samples, stage, verdicts, words
from web.pages.form_page import form_page, must_be_genuine
from web.pages.samples import SAMPLES

OVERLAY_WIDTHS = (480, 960)  # drawn pixels, for ordinary and for dense screens
MOST_TOGETHER = 100  # pictures that one page shows; for more there are batches
_FOLDER = Path(__file__).parents[1]  # of the package, with templates and static files
_STATIC = _FOLDER / "static"

pages = Blueprint(
    "pages",
    __name__,
    template_folder=_FOLDER / "templates",
    static_folder=_STATIC,
    static_url_path="/assets",
)
language.register(pages)
pages.register_error_handler(PathlightError, problems.page_of)
filters.register(pages)


@pages.app_context_processor
def in_every_template() -> dict[str, object]:
    """What templates may name beside what their view gives them."""
    return {"version": _version(), "verdicts": verdicts}


@pages.get("/")
def index() -> Response:
    """The form, as it is by default."""
    return _form_page(_default_choice())


@pages.post("/")
def submit() -> WerkzeugResponse:
    """The form, filled in: a job for each picture, or the form again with what is wrong."""
    given = services()
    lists = {name: request.form.getlist(name) for name in ("models", "methods")}
    chosen = {**request.form.to_dict(), **lists}
    if not csrf.is_genuine(request):
        return _form_page(chosen, error=_stale(), status=HTTPStatus.FORBIDDEN)
    try:
        options = _read_options(chosen)
        checked = [
            (submissions.check(data, name, options, key="", settings=given.settings, registry=given.registry()), data)
            for data, name in _read_pictures(request)
        ]
        job_ids = [accept(one, data, given).id for one, data in checked]
    except PathlightError as error:
        return _form_page(
            chosen, error=translate_code(error.code, problems.sentence_of(error)), status=status_of(error)
        )
    if len(job_ids) == 1:
        return redirect(url_for("pages.job", job_id=job_ids[0]), HTTPStatus.SEE_OTHER)
    return redirect(url_for("pages.several", job=job_ids), HTTPStatus.SEE_OTHER)


@pages.get("/several")
def several() -> Response:
    """The jobs of pictures that were sent together, less those that are not kept any more."""
    jobs, found = services().jobs, []
    for job_id in request.args.getlist("job")[:MOST_TOGETHER]:
        with suppress(UnknownJob, Gone):
            found.append(jobs.get(job_id))
    waiting = any(not job.status.is_terminal for job in found)
    shown = {"jobs": [jobs.document(job) for job in found], "cards": _cards(), "waiting": waiting}
    response = make_response(render_template("several.html", **shown))
    response.headers["Cache-Control"] = "no-store"
    return response


@pages.get("/samples/<name>.jpg")
def sample(name: str) -> Response:
    """The thumbnail of a sample."""
    response = Response(samples.thumbnail(name), content_type="image/jpeg")
    response.headers["Cache-Control"] = "public, max-age=86400"
    return response


@pages.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    """The page of a job, whatever its state."""
    jobs = services().jobs
    found = jobs.get(job_id)
    return form_page(
        "job.html",
        cache_control="no-store",
        job=jobs.document(found),
        cards=_cards(),
        raw=_raw_maps(jobs, found) if found.status is JobStatus.SUCCEEDED else None,
        before=_before(jobs, found),
        stage_names=words.stage_names,
        stage=stage,
        widths=overlay_widths(found.image.width, found.image.height),
        colormaps=COLORMAPS,
        commands=_commands(found),
        kept_until=_kept_until(found, services().settings),
    )


@pages.post("/jobs/<job_id>/again")
def ask_again(job_id: str) -> WerkzeugResponse:
    """Another question about the picture of a job."""
    must_be_genuine(request)
    given = services()
    found = given.jobs.get(job_id)
    asked = follow_up.read(request, found, jobs=given.jobs, drawings=given.drawings)
    data = given.jobs.picture(found)
    checked = submissions.check(
        data,
        found.image.filename,
        asked.options,
        mask=asked.mask,
        fill=asked.fill,
        parent=asked.parent,
        key="",
        settings=given.settings,
        registry=given.registry(),
    )
    new = accept(checked, data, given, mask=asked.mask)
    return redirect(url_for("pages.job", job_id=new.id), HTTPStatus.SEE_OTHER)


@pages.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> WerkzeugResponse:
    """Cancel a job, and show its page."""
    must_be_genuine(request)
    services().jobs.get(job_id)
    with suppress(JobConflict):  # it ended meanwhile: its page says how
        services().store.cancel(job_id)
    return redirect(url_for("pages.job", job_id=job_id), HTTPStatus.SEE_OTHER)


@pages.get("/colours/<name>.png")
def colours(name: str) -> Response:
    """A colour table as a strip, from the lowest value to the highest."""
    if name not in (*COLORMAPS, DIVERGING):
        raise UnknownJob(f"there is no colour table {name!r}")
    response = Response(png_bytes(strip(name)), content_type="image/png")
    response.headers["Cache-Control"] = "public, max-age=86400"
    return response


@pages.errorhandler(RequestEntityTooLarge)
def too_large(error: RequestEntityTooLarge) -> Response:
    """The form again."""
    discard_body()
    most = services().settings.image_bytes // 2**20
    text = _("the picture is too large; at most {most} MiB are taken", most=most)
    return _form_page(_default_choice(), error=text, status=error.code)


@pages.after_request
def let_keep(response: Response) -> Response:
    """The address of a file names its content, so that a browser need not ask for it again."""
    if request.endpoint != "pages.static":
        return response
    if request.args.get("v") == _version():
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return compression.shrink(response, request)


def _form_page(chosen: Mapping[str, Any], *, error: str | None = None, status: int = HTTPStatus.OK) -> Response:
    """The form with what was chosen."""
    given = services()
    offer = _offer(given.registry(), given.settings)
    cache_control = "private, no-cache"
    return form_page("index.html", cache_control=cache_control, status=status, chosen=chosen, error=error, **offer)


def _stale() -> str:
    return _("this form was opened too long ago or elsewhere; please choose the picture again and send it once more")


def _read_pictures(request: Request) -> Iterator[tuple[bytes, str]]:
    """Every picture of the form with its name: the sample that was clicked, or the files that were chosen."""
    if name := request.form.get("sample"):
        yield samples.read(name)
        return
    files = [file for file in request.files.getlist("image") if file.filename]
    if not files:
        raise BadRequest(_("choose a picture first"))
    for file in files:
        yield file.read(), file.filename or ""


def _read_options(chosen: Mapping[str, Any]) -> CommonOptions:
    """What the form says; what is left empty is as it is by default, but for the target, which is the sure answer."""
    given: dict[str, Any] = {"target": SURE}
    for name in option_fields(CommonOptions):
        value = chosen.get(name) or ""
        if value := value if name in LISTS else value.strip():
            given[name] = value
    given["models"] = chosen["models"]
    return validated(CommonOptions, given)


def _default_choice() -> dict[str, Any]:
    cards, defaults = _cards(), services().settings.default_models
    able = (cards[name].methods for name in defaults if name in cards)
    return {"models": defaults, "methods": best_methods(able)}


def _cards() -> Mapping[str, ModelCard]:
    """Of all models, by their names."""
    return services().registry().cards


def _offer(registry: Registry, settings: Settings) -> dict[str, Any]:
    """What the form lets one choose from."""
    return {
        "settings": settings,
        "cards": in_order(registry, settings),
        "classes": _class_names(registry),
        "trees": TREES,
        "methods": CATALOGUE,
        "samples": SAMPLES,
        "sure": SURE,
        "most_together": MOST_TOGETHER,
    }


def _class_names(registry: Registry) -> list[str]:
    """Short names of all classes of models that are ready, each once."""
    names = {short_name(name) for card in registry.cards.values() if card.missing is None for name in card.classes}
    return sorted(names, key=str.casefold)


def _raw_maps(jobs: Jobs, found: Job) -> Callable[[MapEntry], FloatMap]:
    """Gives the values of a map of a job's answer (h x w) by its entry."""
    maps = jobs.result(found).maps
    return lambda entry: entry.raw(maps)


def _before(jobs: Jobs, found: Job) -> dict[str, Any]:
    """What the answer before showed, by model, for a what-if; nothing where it is not kept any more."""
    try:
        parent = jobs.get(found.options.parent or "")
        raw = _raw_maps(jobs, parent)
    except (UnknownJob, Gone):
        return {}
    known = jobs.document(parent)
    picture = url_for("api.get_artifact", job_id=parent.id, name="picture.jpg")
    return {
        one.model: {"stage": stage.of_map(known, one, one.maps[0], raw(one.maps[0])), "picture": picture}
        for one in (known.result.explanations if known.result else ())
        if one.maps
    }


def _kept_until(found: Job, settings: Settings) -> str | None:
    """The day (UTC) until which an ended job and its page are kept; None for one on its way."""
    if found.finished_ms is None:
        return None
    return rfc3339(found.finished_ms + round(settings.retention_seconds * 1000))[:10]


def _commands(found: Job) -> dict[str, str]:
    address = url_for("api.submit_job", _external=True)
    keyed = access.caller().key is not None
    return {"cli": reproduce.cli_command(found), "curl": reproduce.curl_command(found, address=address, keyed=keyed)}


def overlay_widths(width: int, height: int) -> list[int]:
    """Widths at which to ask for overlays: no side longer than drawn pictures have, none larger than the picture."""
    most = min(width, LONGEST_SIDE, LONGEST_SIDE * width // height)
    return sorted({max(16, min(wanted, most)) for wanted in OVERLAY_WIDTHS})


@cache
def _version() -> str:
    """Of the static files, by their content."""
    digest = hashlib.sha256()
    for path in sorted(_STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
