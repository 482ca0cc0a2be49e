"""The pages as a browser without scripts gets them: the form, every state of a job, and what an answer says."""

from __future__ import annotations

import gzip
import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.drawing.phrases import number
from shared.drawing.scales import FloatMap, Scale
from shared.jobs import Claim, ImageRecord, JobError, JobOptions, JobStatus
from shared.results import Result
from shared.settings import Settings
from shared.store.job_store import JobStore, Submission
from tests.shared.answers import answer_of
from tests.shared.submissions import collect
from web.app import create_app
from web.http import csrf
from web.pages import filters, reproduce, stage, views
from web.pages.samples import SAMPLES

PAIR = ("vehicles", "animals")
INPUT = {"resize": 32, "crop": 32, "size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
CAM = np.zeros((7, 7), np.float32)
CAM[1, 1], CAM[5, 5] = 12.4, -3.1


@dataclass
class Bell:
    """Counts its rings."""

    rings: int = 0

    def ring(self) -> None:
        self.rings += 1


@dataclass
class House:
    """The application and its collaborators, with a browser that keeps cookies."""

    settings: Settings
    store: JobStore
    blobs: BlobStore
    bell: Bell
    client: FlaskClient

    def send(self, data: bytes | None = None, *, filename: str = "cat.png", **fields: Any) -> TestResponse:
        """Load the form and send it as a browser without scripts does."""
        token = re.search(r'name="token" value="([^"]+)"', self.client.get("/").text)
        assert token is not None
        form = {"token": token[1], "models": list(PAIR), "target": "", "contrast": "", "tree": "auto", **fields}
        form["image"] = (io.BytesIO(png() if data is None else data), filename)
        return self.client.post("/", data=form, content_type="multipart/form-data")

    def submit(self, *, filename: str = "cat.png", models: tuple[str, ...] = PAIR) -> str:
        picture = ImageRecord(self.blobs.put(png()), 40, 30, "PNG", filename)
        return self.store.submit(Submission(JobOptions(models), picture))

    def claim(self) -> Claim:
        return self.store.claim(1, claim_id=str(time.monotonic_ns()))[0]

    def answered(self, document: dict[str, Any], *, filename: str = "cat.png", raw: FloatMap = CAM) -> str:
        """A succeeded job with this answer."""
        job_id = self.submit(filename=filename)
        result = Result(answer_of(document), {"animals.cam": raw})
        assert self.store.succeed(self.claim(), self.blobs.put(result.pack()), compute_ms=3.0)
        return job_id


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, classifier="vehicles", tree_model="animals")


@pytest.fixture
def registry(settings: Settings, tmp_path: Path) -> Registry:
    folder = tmp_path / "registry"
    write_card(folder, "vehicles", ["ship", "truck"])
    write_card(folder, "animals", ["tabby, tabby cat", "dog"])
    write_card(folder, "absent", ["zebra"], url="https://example.org/w.pth")
    return Registry.load(settings, folders=[folder])


@pytest.fixture
def house(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> House:
    return build(settings, store, blobs, registry)


def build(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> House:
    bell = Bell()
    app = create_app(settings, store=store, blobs=blobs, bell=bell, registry=registry)  # type: ignore[arg-type]
    return House(settings, store, blobs, bell, app.test_client())


def write_card(folder: Path, name: str, classes: list[str], *, url: str | None = None) -> None:
    (folder / name).mkdir(parents=True)
    weights = {"file": "weights.safetensors", "sha256": "ab" * 32, "url": url}
    card = {"name": name, "title": f"The {name}", "architecture": "resnet18", "class_count": len(classes)}
    card |= {"classes": classes, "input": INPUT, "layer": "layer4", "weights": weights}
    (folder / name / "card.json").write_text(json.dumps(card), "utf-8")
    if url is None:
        (folder / name / "weights.safetensors").touch()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "orange").save(buffer, "PNG")
    return buffer.getvalue()


def explanation() -> dict[str, Any]:
    """One model's answer as workers write it."""
    tabby = {"index": 0, "name": "tabby, tabby cat", "probability": 0.812, "logit": 7.1}
    exactness = {"bias": 0.02, "score": 7.1, "residual": 4.3e-8, "tolerance": 1e-5, "exact": True}
    cam = {
        "method": "cam",
        "target": {"index": 0, "name": "tabby, tabby cat"},
        "contrast": None,
        "layer": "layer4",
        "grid": [7, 7],
        "artifacts": {k: f"animals.cam{v}" for k, v in (("raw", ".npy"), ("heatmap", ".h.png"), ("overlay", ".o.png"))},
        "range": [-3.1, 12.4],
        "exactness": exactness,
        "warnings": [],
    }
    return {
        "model": "animals",
        "prediction": {**tabby, "top": [tabby, {"index": 1, "name": "dog", "probability": 0.188, "logit": 5.6}]},
        "maps": [cam],
        "decision_path": decision_path(),
        "input": {"box": [5, 0, 35, 30], "size": 32},
    }


def decision_path() -> dict[str, Any]:
    def step(name: str, probability: float, path: float, *siblings: tuple[str, float]) -> dict[str, Any]:
        others = [{"node": f"n-{name}", "name": name, "probability": p} for name, p in siblings]
        base = {"node": f"n-{name}", "name": name, "probability": probability, "path_probability": path}
        return {**base, "entropy": 0.1, "siblings": others, "map": None}

    return {
        "mode": "soft",
        "prediction": {"index": 0, "name": "tabby, tabby cat"},
        "agrees_with_network": True,
        "weakest": 1,
        "weak_below": 0.9,
        "runner_up": None,
        "artifacts": {"tree": "animals.tree.svg"},
        "steps": [step("animal", 0.9934, 0.9934, ("vehicle", 0.0066)), step("tabby", 0.81, 0.8046, ("dog", 0.19))],
    }


def document(*explanations: dict[str, Any], warnings: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    model = {"weights_sha256": "ab" * 32, "input": INPUT, "hierarchy": "a small tree"}
    provenance = {"models": {"animals": model}, "options": JobOptions(("animals",), ("cam",)).to_dict(), "seed": 0}
    return {
        "explanations": list(explanations or [explanation()]),
        "provenance": {**provenance, "versions": {"torch": "2.13.0"}},
        "timings": {"compute_ms": 31.4},
        "warnings": list(warnings),
    }


def words(response: TestResponse) -> str:
    """What a reader sees of a page, in one line."""
    body = response.text.partition("<main ")[2].partition(">")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split()).replace(" .", ".").replace(" ,", ",")


# -- the form ----------------------------------------------------------------------------------------------------------


def test_the_form_offers_the_default_pair_first_and_chosen(house: House) -> None:
    box = r'<input type="checkbox" name="models" id="model-\d" value="(\w+)"( checked)?'
    boxes = re.findall(box, house.client.get("/").text)
    assert boxes == [("vehicles", " checked"), ("animals", " checked"), ("absent", "")]


def test_a_model_that_is_not_ready_cannot_be_chosen_and_says_how_to_mend_it(house: House) -> None:
    page = house.client.get("/")
    assert re.search(r'value="absent" disabled aria-describedby="why-3"', page.text)
    assert "The weights file weights.safetensors is not here. To bring it, run pathlight models fetch absent" in words(
        page
    )


def test_the_form_suggests_the_short_class_names_of_models_that_are_ready(house: House) -> None:
    assert re.findall(r'<option value="(\w+)">', house.client.get("/").text.partition("<datalist")[2])[:5] == [
        "dog", "ship", "tabby", "truck", "auto",
    ]  # fmt: skip


def test_without_any_ready_model_the_form_says_what_to_run(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry
) -> None:
    page = build(settings, store, blobs, Registry({"absent": registry.get("absent")})).client.get("/")
    assert "No model is ready yet. To make one ready, run: pathlight models fetch absent" in words(page)
    assert '<button type="submit" id="send" disabled>' in page.text


def test_a_sent_picture_becomes_a_job_and_leads_to_its_page(house: House) -> None:
    response = house.send(target=" tabby ", contrast="dog", tree="hard", models=["animals"], filename="a/b/cat.png")
    assert response.status_code == 303
    job = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert job.options == JobOptions(("animals",), ("cam",), target="tabby", contrast="dog", tree="hard")
    assert job.image == ImageRecord(job.image.sha256, 40, 30, "PNG", "cat.png")
    assert house.blobs.get(job.image.sha256) == png()
    assert house.bell.rings == 1


def test_empty_fields_mean_the_defaults(house: House) -> None:
    location = house.send(target=" ", contrast="").headers["Location"]
    assert house.store.get(location.removeprefix("/jobs/")).options == JobOptions(PAIR, ("cam",), target="sure")


@pytest.mark.parametrize(
    ("data", "fields", "status", "sentence"),
    [
        (b"GIF89a", {}, 415, "The file is not a JPEG, PNG or WebP picture."),
        (png()[:20], {}, 400, "The picture is damaged or incomplete and cannot be decoded."),
        (None, {"filename": ""}, 400, "Choose a picture first."),
        (None, {"models": []}, 422, "Models: name at least one model."),
        (None, {"models": ["nothing"]}, 422, "Models: 'nothing' is not a model; known are"),
        (None, {"models": ["absent"]}, 422, "Absent is not ready"),
        (None, {"target": "dodo"}, 422, "Target: 'dodo' is not a class of vehicles, animals"),
        (None, {"target": "x" * 201}, 422, "Target: String should have at most 200 characters."),
        (None, {"tree": "oak"}, 422, "Tree: 'oak' is not one of auto, soft, hard, marginal, off."),
    ],
)
def test_a_refused_form_comes_back_with_the_reason(
    house: House, data: bytes | None, fields: dict[str, Any], status: int, sentence: str
) -> None:
    response = house.send(data, **fields)
    assert response.status_code == status
    assert sentence in words(response)
    assert house.bell.rings == 0


def test_a_refused_form_comes_back_with_what_was_chosen(house: House) -> None:
    page = house.send(b"GIF89a", models=["vehicles"], target="ship", contrast="truck", tree="hard").text
    assert re.findall(r'value="(\w+)" checked', page) == ["vehicles"]
    assert re.search(r'name="target" [^>]*value="ship"', page)
    assert re.search(r'name="contrast" [^>]*value="truck"', page)
    assert '<option value="hard" selected>' in page
    assert '<details class="options" open>' in page


def test_a_picture_above_the_limit_is_refused_in_words(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry
) -> None:
    house = build(replace(settings, image_bytes=50), store, blobs, registry)
    response = house.send()
    assert response.status_code == 413
    assert "at most 50 are taken" in words(response)


def test_a_request_above_the_limit_is_refused_with_the_form(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry
) -> None:
    house = build(replace(settings, request_bytes=2000), store, blobs, registry)
    response = house.send(bytes(3000))
    assert response.status_code == 413
    assert "The picture is too large; at most 10 MiB are taken." in words(response)


def test_a_full_queue_asks_to_try_again_later(
    settings: Settings, make_store: Callable[..., JobStore], blobs: BlobStore, registry: Registry
) -> None:
    house = build(settings, make_store(queue_limit=1), blobs, registry)
    assert house.send().status_code == 303
    response = house.send()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert "1 jobs are waiting already; try again shortly." in words(response)


def test_several_pictures_become_a_job_each_and_lead_to_one_page(house: House) -> None:
    token = re.search(r'name="token" value="([^"]+)"', house.client.get("/").text)
    assert token is not None
    files = [(io.BytesIO(png()), f"{name}.png") for name in ("one", "two", "three")]
    form = {"token": token[1], "models": list(PAIR), "image": files}
    response = house.client.post("/", data=form, content_type="multipart/form-data")
    assert response.status_code == 303 and house.bell.rings == 1
    house.store.fail(house.claim(), JobError("internal", "it broke"))
    page = house.client.get(response.headers["Location"])
    assert words(page).startswith("3 pictures 1 of 3 are done. one.png It broke. two.png Waiting three.png Waiting")
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.text


def test_of_several_pictures_none_is_taken_where_one_is_broken(house: House) -> None:
    token = re.search(r'name="token" value="([^"]+)"', house.client.get("/").text)
    assert token is not None
    files = [(io.BytesIO(data), "a.png") for data in (png(), b"GIF89a")]
    form = {"token": token[1], "models": list(PAIR), "image": files}
    assert house.client.post("/", data=form, content_type="multipart/form-data").status_code == 415
    assert house.bell.rings == 0


def test_the_page_of_several_jobs_says_what_each_picture_is_of(house: House) -> None:
    job_id = house.answered(document())
    page = house.client.get(f"/several?job={job_id}")
    assert "1 of 1 are done. cat.png tabby 81.2% The animals" in words(page)
    assert "refresh" not in page.text and "<script" not in page.text
    small = house.client.get(f"/api/v1/jobs/{job_id}/artifacts/picture.jpg?width=16")
    assert Image.open(io.BytesIO(small.data)).size == (16, 12)


def test_a_job_that_is_not_kept_any_more_does_not_hide_those_sent_with_it(house: House) -> None:
    page = house.client.get(f"/several?job=nothing&job={house.submit()}")
    assert page.status_code == 200 and words(page).startswith("1 pictures 0 of 1 are done. cat.png Waiting")


def test_a_sample_is_explained_with_one_click(house: House) -> None:
    page = house.client.get("/").text
    assert re.findall(r'<button name="sample" value="(\w+)"[ >]', page) == list(SAMPLES)
    response = house.send(filename="", sample="chelsea")
    job = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert (job.image.filename, job.image.width, job.image.height) == ("chelsea.png", 451, 300)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_has_a_small_picture(house: House, name: str) -> None:
    thumbnail = house.client.get(f"/samples/{name}.jpg")
    assert thumbnail.mimetype == "image/jpeg" and len(thumbnail.data) < 20_000


def test_only_samples_can_be_asked_for_by_name(house: House) -> None:
    assert house.client.get("/samples/page.jpg").status_code == 404
    assert house.send(filename="", sample="../page").status_code == 404


# -- forged forms ------------------------------------------------------------------------------------------------------


def test_a_form_without_the_token_is_refused(house: House) -> None:
    response = house.send(token="")
    assert response.status_code == 403
    assert "This form was opened too long ago or elsewhere" in words(response)
    assert house.bell.rings == 0


def test_a_token_that_the_browser_does_not_hold_is_refused(house: House) -> None:
    assert house.send(token="A" * 43).status_code == 403
    assert house.send(token="é").status_code == 403


def test_a_form_of_a_browser_without_the_cookie_is_refused(house: House) -> None:
    house.client.get("/")
    house.client.delete_cookie(csrf.FORM)
    response = house.client.post("/", data={"token": "", "image": (io.BytesIO(png()), "cat.png")})
    assert response.status_code == 403


def test_the_token_is_kept_from_scripts_and_other_sites(house: House) -> None:
    cookie = house.client.get("/").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
    assert "Secure" in house.client.get("/", base_url="https://localhost").headers["Set-Cookie"]


def test_two_open_forms_share_one_token(house: House) -> None:
    first, second = (re.findall(r'name="token" value="([^"]+)"', house.client.get("/").text) for _ in range(2))
    assert first == second


# -- a job on its way --------------------------------------------------------------------------------------------------


def test_a_waiting_job_tells_its_place_and_reloads_with_and_without_scripts(house: House) -> None:
    house.submit()
    job_id = house.submit()
    page = house.client.get(f"/jobs/{job_id}")
    assert "Number 2 in the queue, less than a second to go." in words(page)
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.text
    assert f'data-job="/api/v1/jobs/{job_id}"' in page.text and "/assets/waiting.js?v=" in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_a_running_job_tells_how_far_it_is(house: House) -> None:
    job_id = house.submit()
    house.store.report([house.claim()], done=1, total=4, stage="cam")
    page = house.client.get(f"/jobs/{job_id}")
    assert "Drawing the map: Class activation map: 1 of 4" in words(page)
    assert '<h1 data-when="queued" hidden>' in page.text and '<h1 data-when="running">' in page.text


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (JobError("invalid_image", "the picture is damaged"), "The picture could not be read The picture is damaged."),
        (JobError("worker_lost", "Every worker stopped."), "The worker stopped Every worker stopped."),
        (JobError("internal", "it broke"), "Something went wrong It broke."),
    ],
)
def test_a_failed_job_says_why_in_words_and_by_code(house: House, error: JobError, title: str) -> None:
    job_id = house.submit()
    house.store.fail(house.claim(), error)
    page = house.client.get(f"/jobs/{job_id}")
    assert page.status_code == 200
    assert words(page).startswith(title)
    assert f"Code {error.code}, after 1 attempt" in words(page)
    assert "refresh" not in page.text and "<script" not in page.text


@pytest.mark.parametrize(
    ("status", "title"),
    [(JobStatus.CANCELLED, "This job was cancelled"), (JobStatus.EXPIRED, "This job waited too long")],
)
def test_a_stopped_job_says_so(house: House, status: JobStatus, title: str) -> None:
    job_id = house.submit()
    house.store.stop(house.claim(), status)
    page = house.client.get(f"/jobs/{job_id}")
    assert words(page).startswith(title) and f"Code {status}" in words(page)


def test_an_unknown_job_has_a_page_that_says_so(house: House) -> None:
    page = house.client.get("/jobs/nothing")
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert words(page).startswith("There is no such explanation There is no job with this id.")


def test_an_address_without_a_page_is_told_to_people_by_a_page_and_to_programs_by_a_document(house: House) -> None:
    person = {"Accept": "text/html,*/*;q=0.8"}
    for address, status in (("/nowhere", 404), ("/jobs/some/again", 405)):
        page = house.client.get(address, headers=person)
        assert (page.status_code, page.mimetype) == (status, "text/html")
        assert words(page).startswith("There is no such page Check the address")
        assert house.client.get(address).mimetype == "application/problem+json"
    assert house.client.get("/api/v1/nowhere", headers=person).mimetype == "application/problem+json"


def test_a_forgotten_job_has_a_page_that_says_so(
    settings: Settings, make_store: Callable[..., JobStore], blobs: BlobStore, registry: Registry
) -> None:
    house = build(settings, make_store(retention_seconds=0.001), blobs, registry)
    job_id = house.submit()
    house.store.cancel(job_id)
    time.sleep(0.01)
    collect(house.store)
    page = house.client.get(f"/jobs/{job_id}")
    assert page.status_code == 410
    assert words(page).startswith("This explanation is no longer kept")
    assert "Status 410, code gone" in words(page)


def test_a_lost_result_has_a_page_that_says_so(house: House) -> None:
    job_id = house.submit()
    house.store.succeed(house.claim(), "0" * 64, compute_ms=1.0)
    page = house.client.get(f"/jobs/{job_id}")
    assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (503, "text/html", "2")
    assert "Pathlight cannot answer just now" in words(page)


# -- an answer ---------------------------------------------------------------------------------------------------------


def test_an_answer_names_model_prediction_and_probability(house: House) -> None:
    page = house.client.get(f"/jobs/{house.answered(document())}")
    assert "The animals tabby 81.2% softmax probability, not calibrated" in words(page)
    assert "<title>tabby · Pathlight</title>" in page.text
    assert "refresh" not in page.text and re.findall(r"/assets/(\w+\.js)", page.text) == ["result.js"]


def test_a_calibrated_confidence_comes_before_the_softmax(house: House) -> None:
    entry = explanation()
    entry["prediction"]["confidence"] = 0.74
    page = house.client.get(f"/jobs/{house.answered(document(entry))}")
    assert "74.0% confident calibrated; the raw softmax is 81.2%" in words(page)


def test_a_map_is_told_in_words(house: House) -> None:
    page = house.client.get(f"/jobs/{house.answered(document())}")
    alt = 'alt="Map of the evidence for tabby; it is strongest in the upper left of what the network saw."'
    assert alt in page.text and 'alt="The picture cat.png"' in page.text
    seen = words(page)
    assert "0 to 12.4 logit units, dark to bright, scaled to this map’s maximum; negative evidence (down" in seen
    assert "(down to −3.10) is not shown." in seen
    assert "Strongest in the upper left. The network did not see the dimmed edges." in seen
    assert "the mean of its cells plus the bias is 7.10, off by 3e-7; rounding may reach 7e-5." in seen


@pytest.mark.parametrize("contrast", [False, True])
def test_a_scale_that_leaves_out_the_strongest_cells_says_so(house: House, contrast: bool) -> None:
    raw = np.linspace(-1, 1, 2500, dtype=np.float32).reshape(50, 50)
    raw[0, :20] = -90 if contrast else 90
    entry = explanation()
    low, high = float(raw.min()), float(raw.max())
    entry["maps"][0] |= {"range": [low, high], "contrast": {"index": 1, "name": "dog"} if contrast else None}
    page = house.client.get(f"/jobs/{house.answered(document(entry), raw=raw)}")
    seen, top = words(page), Scale.drawn(raw, contrast=contrast).top
    assert f'"top":{top}' in page.text and 0.9 < top < 1
    meaning = (
        f"−{top:.3f} to {top:.3f} logit units: red speaks for tabby, blue for dog."
        if contrast
        else f"0 to {top:.3f} logit units, dark to bright; negative evidence (down to {number(low)}) is not shown."
    )
    assert f"{meaning} Scaled without the few strongest cells, up to 90.0, which have the last colour." in seen


def test_a_contrast_names_both_classes_and_its_diverging_scale(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["target"], entry["maps"][0]["contrast"] = (
        {"index": 1, "name": "dog"},
        {"index": 0, "name": "tabby"},
    )
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "the evidence for dog rather than tabby Class activation map exact asked for; not the prediction" in seen
    assert "−12.4 to 12.4 logit units, scaled to this map’s largest value: red speaks for dog, blue for tabby." in seen
    assert "the difference of the network’s two scores: the mean of its cells plus the difference of the biases" in seen


def test_a_map_that_does_not_add_up_is_called_out(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["exactness"] |= {"exact": False, "residual": 0.1}
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "The map does not add up to the network’s score 7.10: it is off by 7e-1" in seen
    assert "The map adds up" not in seen


def test_a_map_without_positive_evidence_has_neither_a_scale_nor_anything_hot_to_hide(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["range"] = [-3.1, -0.1]
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "dark to bright" not in seen and "Hide the hottest region" not in seen


def test_the_most_probable_classes_have_bars_of_their_length(house: House) -> None:
    page = house.client.get(f"/jobs/{house.answered(document())}")
    assert "Most probable classes tabby 81.2% shown above dog 18.8% Explain this" in words(page)
    assert '<rect width="81.20" height="1"/>' in page.text and '<rect width="18.80" height="1"/>' in page.text


def test_the_path_goes_from_the_root_to_the_leaf_and_marks_its_weakest_step(house: House) -> None:
    seen = words(house.client.get(f"/jobs/{house.answered(document())}"))
    steps = "any class animal 99.3% vehicle 0.7% tabby 81.0% weakest step dog 19.0%"
    assert "the path to tabby" in seen
    assert f"{steps} Tree and network agree on tabby. All steps together: 80.5%." in seen


def test_a_weakest_step_that_is_not_weak_is_no_cause_for_doubt(house: House) -> None:
    entry = explanation()
    entry["decision_path"]["weak_below"] = 0.8
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "weakest step" not in seen and "Least sure" not in seen


def test_the_runner_up_of_the_weakest_step_says_where_it_would_have_led(house: House) -> None:
    entry = explanation()
    runner_up = {"at": 1, "node": "n-dog", "name": "canine", "leads_to": "dog", "probability": 0.19}
    entry["decision_path"]["runner_up"] = runner_up
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "19.0% runner-up; it would have led to dog" in seen
    assert "Least sure: tabby rather than canine." in seen


def test_a_map_in_another_unit_is_told_in_it(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["unit"] = "probability"
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "0 to 12.4 (probability), dark to bright" in seen


def test_pictures_that_are_taken_along_carry_their_scale(house: House) -> None:
    page = house.client.get(f"/jobs/{house.answered(document())}").text
    assert len(re.findall(r'href="[^"]+\.png\?bar=1" download', page)) == 2


def test_the_path_is_shown_as_a_tree_whose_address_can_be_opened(house: House) -> None:
    page = house.client.get(f"/jobs/{house.answered(document())}").text
    address = re.search(r'<a href="([^"]+/animals\.tree\.svg)">The tree as a picture', page)
    assert address is not None
    assert house.client.get(address[1]).mimetype == "image/svg+xml"


def test_every_decision_with_a_map_leads_to_it(house: House) -> None:
    entry = explanation()
    names = {"raw": "animals.cam.npy", "heatmap": "step-1.h.png", "overlay": "step-1.o.png"}
    entry["decision_path"]["steps"][0]["map"] = {"against": "n-vehicle", "artifacts": names, "range": [-2.0, 1.0]}
    page = house.client.get(f"/jobs/{house.answered(document(entry))}")
    link = (
        r'href="([^"]+step-1\.o\.png\?bar=1)" data-step=\'([^\']+)\' aria-label="Map of the decision animal rather than'
    )
    found = re.search(link, page.text)
    assert found is not None and house.client.get(found[1]).status_code == 200
    shown = json.loads(found[2])
    assert (shown["low"], shown["high"], shown["contrast"], shown["box"]) == ("−2.00", "2.00", True, [5, 0, 35, 30])
    assert house.client.get(shown["raw"]).data[:6] == b"\x93NUMPY"


def test_a_path_that_an_earlier_version_stored_is_shown_without_its_tree(house: House) -> None:
    entry = explanation()
    del entry["decision_path"]["artifacts"]
    page = house.client.get(f"/jobs/{house.answered(document(entry))}")
    assert "the path to tabby" in words(page) and ".tree.svg" not in page.text


def test_a_disagreement_of_tree_and_network_is_said(house: House) -> None:
    entry = explanation()
    entry["decision_path"] |= {"agrees_with_network": False, "prediction": {"index": 1, "name": "dog"}}
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "disagreement The tree says dog, the network says tabby." in seen


def test_of_many_siblings_the_likeliest_three_are_named(house: House) -> None:
    entry = explanation()
    chances = (0.1, 0.5, 0.2, 0.0, 0.3)
    siblings = [{"node": name, "name": name, "probability": p} for name, p in zip("abcde", chances, strict=True)]
    entry["decision_path"]["steps"][0]["siblings"] = siblings
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "animal 99.3% b 50.0% e 30.0% c 20.0% and 2 more" in seen


def test_an_answer_without_a_tree_has_no_path(house: House) -> None:
    entry = explanation() | {"decision_path": None}
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "Most probable classes" in seen and "Which decisions" not in seen


def test_warnings_stand_with_the_model_they_are_about(house: House) -> None:
    models = ("animals", "others")
    warnings = tuple[Any, ...]({"code": "w", "params": {}, "model": m, "text": f"Beware of {m}."} for m in models)
    seen = words(house.client.get(f"/jobs/{house.answered(document(warnings=warnings))}"))
    assert "Beware of animals." in seen and "Beware of others." not in seen


def test_an_answer_says_how_it_was_made(house: House) -> None:
    seen = words(house.client.get(f"/jobs/{house.answered(document())}"))
    assert f"weights {'ab' * 32} ; shorter side to 32, centre 32, network input 32 pixels; tree: a small tree" in seen
    assert "models: animals; methods: cam; target: predicted; tree: auto; trust: basic; seed: 0" in seen
    assert "torch 2.13.0" in seen and "computing 31 ms" in seen


def test_pictures_and_downloads_of_an_answer_are_there(house: House) -> None:
    page = house.client.get(f"/jobs/{house.answered(document())}").text
    addresses = {unescape(address) for address in re.findall(r'(?:src|href)="(/[^"]+)"', page)}
    assert len([address for address in addresses if "/artifacts/" in address]) == 6
    assert {house.client.get(address, follow_redirects=True, buffered=True).status_code for address in addresses} == {
        200
    }


@pytest.mark.parametrize(
    ("size", "expected"), [((451, 300), [451]), ((4000, 3000), [480, 960]), ((1000, 8000), [128]), ((8, 8), [16])]
)
def test_overlays_are_asked_for_no_larger_than_they_are_drawn(size: tuple[int, int], expected: list[int]) -> None:
    assert views.overlay_widths(*size) == expected


def proved(**figures: dict[str, Any]) -> dict[str, Any]:
    """An answer whose map was measured on its picture."""
    entry = explanation()
    entry["maps"][0] |= figures
    return entry


def test_what_was_measured_of_a_map_is_said_beside_its_number(house: House) -> None:
    faithful = {"percentile": 70.0, "random_maps": 20, "beats_blob": True, "text": "…"}
    steady = {"lowest": 0.61, "threshold": 0.8, "text": "…"}
    agreement = {"method": "occlusion", "correlation": 0.89, "text": "…"}
    entry = proved(faithfulness=faithful, stability=steady, agreement=agreement)
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "70% Hidden and shown part by part in the order of the map" in seen
    assert "share of 20 random maps, and than a plain blob in the middle does." in seen
    assert "0.61 The map does not keep its order" in seen and "below 0.8: unstable" in seen
    assert "0.89 Another method, Occlusion, orders the parts" in seen


def test_what_could_not_be_measured_of_a_map_says_why(house: House) -> None:
    faithful = {"percentile": None, "random_maps": 20, "beats_blob": None, "text": "There is no order."}
    entry = proved(
        faithfulness=faithful,
        stability={"lowest": None, "threshold": 0.8, "text": "The map points at nothing."},
        agreement={"method": "rise", "correlation": None, "text": "They cannot be compared."},
    )
    seen = words(house.client.get(f"/jobs/{house.answered(document(entry))}"))
    assert "– There is no order. – The map points at nothing. – They cannot be compared." in seen


# -- asking again ------------------------------------------------------------------------------------------------------


def again(house: House, job_id: str, **fields: Any) -> TestResponse:
    """Press a button of an answer's page, as a browser without scripts does."""
    token = re.search(r'name="token" value="([^"]+)"', house.client.get(f"/jobs/{job_id}").text)
    assert token is not None
    return house.client.post(f"/jobs/{job_id}/again", data={"token": token[1], **fields})


def test_another_class_can_be_asked_about_without_sending_the_picture_again(house: House) -> None:
    job_id = house.answered(document())
    page = house.client.get(f"/jobs/{job_id}").text
    assert '<button class="small" name="target" value="1" aria-label="Explain dog">' in page
    response = again(house, job_id, models="animals", target="1")
    assert response.status_code == 303 and house.bell.rings == 1
    asked = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert asked.options == JobOptions(("animals",), ("cam",), target="1")
    assert asked.image == house.store.get(job_id).image


def test_two_classes_can_be_contrasted(house: House) -> None:
    job_id = house.answered(document())
    page = words(house.client.get(f"/jobs/{job_id}"))
    assert "Why tabby and not something else?" in page and "Rather than" in page
    response = again(house, job_id, models="animals", target="0", contrast="dog")
    asked = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert asked.options == JobOptions(("animals",), ("cam",), target="0", contrast="dog")


def test_a_further_question_keeps_the_other_options_but_not_the_classes(house: House) -> None:
    options = JobOptions(("animals",), ("rise",), target="dog", contrast="tabby", tree="hard", trust="full")
    picture = ImageRecord(house.blobs.put(png()), 40, 30, "PNG", "cat.png")
    job_id = house.store.submit(Submission(options, picture))
    response = house.client.get(f"/jobs/{job_id}")
    asked = house.store.get(again(house, job_id).headers["Location"].removeprefix("/jobs/"))
    assert response.status_code == 200
    assert asked.options == JobOptions(("animals",), ("rise",), tree="hard", trust="full")


def test_a_question_that_no_model_can_answer_is_refused_in_words(house: House) -> None:
    response = again(house, house.answered(document()), models="animals", contrast="dodo")
    assert response.status_code == 422 and "'dodo' is not a class of animals" in words(response)


def test_a_forged_question_or_cancel_is_refused(house: House) -> None:
    job_id = house.submit()
    for action in ("again", "cancel"):
        assert house.client.post(f"/jobs/{job_id}/{action}", data={"token": "A" * 43}).status_code == 403
    assert house.store.get(job_id).status is JobStatus.QUEUED and house.bell.rings == 0


def test_a_waiting_job_can_be_cancelled_without_scripts_even_twice(house: House) -> None:
    job_id = house.submit()
    token = re.search(r'name="token" value="([^"]+)"', house.client.get(f"/jobs/{job_id}").text)
    assert token is not None
    for _ in range(2):
        response = house.client.post(f"/jobs/{job_id}/cancel", data={"token": token[1]}, follow_redirects=True)
        assert words(response).startswith("This job was cancelled")


def test_an_answer_tells_the_commands_that_ask_the_same(house: House) -> None:
    options = JobOptions(("animals",), ("cam", "rise"), target="dog", contrast="tabby, tabby cat", tree="hard")
    picture = ImageRecord(house.blobs.put(png()), 40, 30, "PNG", "my cat; asleep.png")
    job_id = house.store.submit(Submission(options, picture))
    result = Result(answer_of(document()), {"animals.cam": CAM})
    assert house.store.succeed(house.claim(), house.blobs.put(result.pack()), compute_ms=3.0)
    seen = words(house.client.get(f"/jobs/{job_id}"))
    classes = "--target dog --contrast 'tabby, tabby cat' --tree hard"
    assert f"pathlight explain 'my cat; asleep.png' --model animals --method cam --method rise {classes}" in seen
    asked = "-F methods=cam -F methods=rise -F target=dog -F 'contrast=tabby, tabby cat' -F tree=hard"
    file = """-F 'image=@"my cat; asleep.png"'"""  # without quotes of its own, curl would end the name at the semicolon
    assert f"curl {file} -F models=animals {asked} http://localhost/api/v1/jobs" in seen
    keyed = reproduce.curl_command(house.store.get(job_id), address="x", keyed=True)
    assert keyed.startswith(f'curl -H "X-API-Key: $PATHLIGHT_API_KEY" {file} ')


def test_an_answer_says_how_long_it_is_kept(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry
) -> None:
    house = build(replace(settings, retention_seconds=24 * 3600.0), store, blobs, registry)
    job_id = house.answered(document())
    ended = datetime.fromtimestamp((house.store.get(job_id).finished_ms or 0) / 1000, UTC)
    day = (ended + timedelta(days=1)).date().isoformat()
    assert f"can open this page at its address until {day}." in words(house.client.get(f"/jobs/{job_id}"))


def test_the_page_draws_with_the_colours_of_the_server(house: House) -> None:
    response = house.client.get("/colours/inferno.png")
    with Image.open(io.BytesIO(response.data)) as strip:
        assert strip.size == (257, 1) and strip.getpixel((0, 0)) == (0, 0, 4)
    assert house.client.get("/colours/nothing.png").status_code == 404


# -- what if -----------------------------------------------------------------------------------------------------------


def what_if(**changes: Any) -> dict[str, Any]:
    """What changed for the model "animals" against the answer of `explanation`."""
    shares = {"before": {"index": 0, "name": "tabby", "probability": 0.812}}
    shares["after"] = {"index": 1, "name": "dog", "probability": 0.6}
    difference = {
        "model": "animals",
        "prediction": {"changed": True, **shares},
        "top": [{"index": 0, "name": "tabby", "before": 0.812, "after": 0.4}],
        "maps": [{"method": "cam", "same_target": True, "correlation": 0.25, "shift": [3.0, 4.0]}],
        "decision_path": {
            "changed": True,
            "step": 1,
            "before": {"node": "n-tabby", "name": "tabby", "probability": 0.81},
            "after": {"node": "n-dog", "name": "dog", "probability": 0.7},
        },
    }
    return {**difference, **changes}


def test_the_hottest_region_is_hidden_with_one_button(house: House) -> None:
    job_id = house.answered(document())
    assert '<button class="quiet" name="hide" value="hottest">' in house.client.get(f"/jobs/{job_id}").text
    response = again(house, job_id, models="animals", target="0", hide="hottest", fill="grey")
    asked = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert (asked.options.fill, asked.options.parent, asked.options.target) == ("grey", job_id, "0")
    assert asked.options.mask is not None
    mask = np.asarray(Image.open(io.BytesIO(house.blobs.get(asked.options.mask))))
    assert mask.shape == (30, 40) and mask[6, 11] == 255  # over the strongest cell, at (1, 1) of 7 x 7 over 30 x 30
    assert 0.01 < (mask == 255).mean() < 0.1 and set(np.unique(mask)) == {0, 255}


def test_a_painted_mask_is_taken_and_kept_for_further_questions(house: House) -> None:
    job_id = house.answered(document())
    buffer = io.BytesIO()
    Image.new("L", (40, 30), 255).save(buffer, "PNG")
    painted = (io.BytesIO(buffer.getvalue()), "blob")
    response = again(house, job_id, models="animals", mask=painted, fill="mean")
    first = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert first.options.mask is not None and house.blobs.get(first.options.mask) == buffer.getvalue()
    response = again(house, first.id, models="animals", target="1")
    second = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert second.options == replace(first.options, target="1")


def test_a_map_without_positive_evidence_has_no_hottest_region(house: House) -> None:
    job_id = house.submit()
    result = Result(answer_of(document()), {"animals.cam": -np.ones((7, 7), np.float32)})
    assert house.store.succeed(house.claim(), house.blobs.put(result.pack()), compute_ms=3.0)
    response = again(house, job_id, models="animals", hide="hottest")
    assert response.status_code == 422 and "no positive evidence to hide" in words(response)


def test_a_what_if_says_what_changed_beside_the_answer_before(house: House) -> None:
    parent = house.answered(document())
    changed = document() | {"differences": {"parent": parent, "models": [what_if()]}}
    again(house, parent, models="animals", hide="hottest")
    claim = house.claim()
    packed = Result(answer_of(changed), {"animals.cam": CAM}).pack()
    assert house.store.succeed(claim, house.blobs.put(packed), compute_ms=3.0)
    page = house.client.get(f"/jobs/{claim.id}")
    seen = words(page)
    assert "What changed when a part was hidden the answer before Before: tabby" in seen and "Now: tabby" in seen
    assert "60.0% The answer changed from tabby (81.2%) to dog." in seen
    assert "0.25 The rank correlation of the map with the one before" in seen
    assert "2 The first step at which the path takes another way: dog instead of tabby." in seen
    assert "Class Before Now tabby 81.2% 40.0%" in seen
    assert f'href="/jobs/{parent}"' in page.text
    assert "--mask mask.png --fill blur" in seen
    assert f"-F mask=@mask.png -F fill=blur -F parent={parent}" in seen
    (mask,) = re.findall(r'href="([^"]+/mask\.png)" download', page.text)
    assert house.client.get(mask).content_type == "image/png"


def test_a_what_if_that_changes_nothing_says_so(house: House) -> None:
    same = {"index": 0, "name": "tabby", "probability": 0.81}
    quiet = what_if(
        prediction={"changed": False, "before": same, "after": same},
        decision_path={"changed": False, "step": None, "before": None, "after": None},
    )
    changed = document() | {"differences": {"parent": "gone", "models": [quiet]}}
    seen = words(house.client.get(f"/jobs/{house.answered(changed)}"))
    assert "The answer is still tabby; it had 81.0% before." in seen
    assert "Every decision of the path falls as before." in seen and "Before: tabby" not in seen


def test_maps_are_compared_on_one_scale_unless_one_is_a_contrast() -> None:
    first, second = ({"contrast": False, "top": top, "low": "0", "high": str(top)} for top in (2.0, 5.0))
    assert [one["high"] for one in stage.on_one_scale(first, second)] == ["5.00", "5.00"]
    contrast = {"contrast": True, "top": 9.0, "low": "−9", "high": "9"}
    assert stage.on_one_scale(first, contrast) == (first, contrast)


# -- all pages ---------------------------------------------------------------------------------------------------------


def test_what_users_wrote_is_escaped(house: House) -> None:
    evil = '"><script>alert(1)</script>.png'
    entry = explanation()
    entry["prediction"]["name"] = entry["maps"][0]["target"]["name"] = "<b>cat</b>"
    answered = house.client.get(f"/jobs/{house.answered(document(entry), filename=evil)}").text
    waiting = house.client.get(f"/jobs/{house.submit(filename=evil)}").text
    refused = house.send(target=evil).text
    for page in (answered, waiting, refused):
        assert "<script>alert" not in page and '""><' not in page
    assert "&lt;script&gt;alert(1)" in answered and "&lt;b&gt;cat" in answered and "&lt;script&gt;" in refused


def test_no_page_needs_more_than_its_policy_allows(house: House) -> None:
    waiting, answered = house.submit(), house.answered(document())
    for address in ("/", f"/jobs/{waiting}", f"/jobs/{answered}", "/jobs/nothing"):
        page = house.client.get(address)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        script = '<script(?![^>]* (?:src=|type="application/json"))'
        forbidden = rf'<style|\sstyle=|\son\w+=|javascript:|{script}|(src|href)="(?![/#])'
        assert not re.search(forbidden, page.text)


def test_files_are_kept_by_browsers_only_under_the_address_of_their_content(house: House) -> None:
    address = re.search(r'href="(/assets/pathlight\.css)\?v=(\w+)"', house.client.get("/").text)
    assert address is not None
    kept = house.client.get(f"{address[1]}?v={address[2]}", buffered=True)
    assert "immutable" in kept.headers["Cache-Control"]
    for query in ("", "?v=other"):
        assert "immutable" not in house.client.get(address[1] + query, buffered=True).headers["Cache-Control"]


def test_files_are_sent_compressed_to_browsers_that_take_it_and_not_again_when_they_have_them(house: House) -> None:
    plain = house.client.get("/assets/pathlight.css", buffered=True)
    packed = house.client.get("/assets/pathlight.css", headers={"Accept-Encoding": "gzip, br"}, buffered=True)
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed.data) == plain.data and len(packed.data) < len(plain.data) / 2
    headers = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert house.client.get("/assets/pathlight.css", headers=headers, buffered=True).status_code == 304
    page = house.client.get("/", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in page.headers  # it holds a secret


# -- phrases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "text"), [(3.04e-7, "3e-7"), (0, "0"), (0.5, "5e-1")])
def test_residuals_have_one_digit(value: float, text: str) -> None:
    assert filters.residual(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.2, "less than a second"), (2.4, "about 2 s"), (89, "about 89 s"), (200, "about 3 min")]
)
def test_durations_are_rounded(value: float, text: str) -> None:
    assert filters.duration(value) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [((3, 3), "in the centre"), ((0, 3), "at the top"), ((2, 3), "in the centre"), ((6, 0), "in the lower left")],
)
def test_the_strongest_cell_is_placed_by_its_middle(cell: tuple[int, int], text: str) -> None:
    raw = np.zeros((7, 7), np.float32)
    raw[cell] = 1
    assert stage.peak_position(raw) == text


@pytest.mark.parametrize(("text", "sentence"), [("it broke", "It broke."), ("Why?", "Why?"), ("", "")])
def test_sentences_begin_and_end_as_sentences(text: str, sentence: str) -> None:
    assert filters.sentence(text) == sentence
