"""What-if submissions over a real store: a mask, what fills it, and the job it is compared with."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded
from tests.shared.submissions import collect, raw_client
from tests.web.test_api import JOBS, TREE_MODEL, refused, run_one

SIZE = (80, 60)
PICTURE = encoded(Image.new("RGB", SIZE, "red"))


def painted(size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = (0, 0, 40, 60)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def pixels(picture: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(picture)))


MASK = encoded(painted())


@pytest.fixture
def ask(client: FlaskClient) -> Callable[..., TestResponse]:
    """Submit by form: the red picture, unless another or none."""

    def submit(image: bytes | None = PICTURE, mask: bytes | None = None, headers: Any = None, **fields: str) -> Any:
        files = {"image": image, "mask": mask}
        form = {name: (io.BytesIO(data), f"{name}.png") for name, data in files.items() if data is not None}
        return client.post(JOBS, data={"models": TREE_MODEL, **form, **fields}, headers=headers)

    return submit


@pytest.fixture
def parent(ask: Callable[..., TestResponse], store: JobStore, blobs: BlobStore) -> str:
    """A job that has succeeded."""
    job_id: str = ask().get_json()["id"]
    run_one(store, blobs)
    return job_id


def test_a_mask_is_part_of_the_question_and_reaches_the_worker(
    ask: Callable[..., TestResponse], parent: str, store: JobStore, blobs: BlobStore
) -> None:
    response = ask(mask=MASK, fill="grey", parent=parent)
    assert response.status_code == 202, response.text
    options = response.get_json()["options"]
    assert (options["fill"], options["parent"]) == ("grey", parent)
    assert blobs.get(options["mask"]) == MASK
    (claim,) = store.claim(1, claim_id="x")
    assert claim.options.to_dict() == options


def test_without_a_mask_the_options_say_so(ask: Callable[..., TestResponse]) -> None:
    options = ask().get_json()["options"]
    assert (options["mask"], options["fill"], options["parent"]) == (None, "blur", None)


def test_json_says_the_same_as_a_form(client: FlaskClient, ask: Callable[..., TestResponse], parent: str) -> None:
    fields = {"models": [TREE_MODEL], "fill": "mean", "parent": parent}
    body = {"mask_base64": base64.b64encode(MASK).decode(), **fields}
    by_json = client.post(JOBS, json=body).get_json()
    by_form = ask(mask=MASK, fill="mean", parent=parent).get_json()
    assert (by_json["options"], by_json["image"]["sha256"]) == (by_form["options"], by_form["image"]["sha256"])


def test_a_parent_lends_its_picture(client: FlaskClient, ask: Callable[..., TestResponse], parent: str) -> None:
    job = ask(image=None, mask=MASK, parent=parent).get_json()
    assert job["image"] == client.get(f"{JOBS}/{parent}").get_json()["image"]


def test_an_empty_field_of_a_form_is_no_mask(client: FlaskClient) -> None:
    form = {"image": (io.BytesIO(PICTURE), "a.png"), "mask": (io.BytesIO(b""), ""), "models": TREE_MODEL}
    assert client.post(JOBS, data=form).get_json()["options"]["mask"] is None


def test_mask_fill_and_parent_each_make_another_question(
    ask: Callable[..., TestResponse], parent: str, store: JobStore, blobs: BlobStore
) -> None:
    other = encoded(painted(box=(0, 0, 10, 10)))
    asked: list[dict[str, Any]] = [
        {},
        {"mask": MASK},
        {"mask": other},
        {"mask": MASK, "fill": "grey"},
        {"mask": MASK, "parent": parent},
    ]
    first = [ask(**fields).get_json() for fields in asked]
    assert [job["cached"] for job in first] == [True, False, False, False, False]
    for _ in asked[1:]:
        run_one(store, blobs)
    assert all(ask(**fields).get_json()["cached"] for fields in asked)
    key = {"Idempotency-Key": "k"}
    again = [ask(mask=MASK, headers=key).get_json()["id"] for _ in range(2)]
    assert again[0] == again[1]
    refused(ask(mask=other, headers=key), 409, "conflict")


@pytest.mark.parametrize(
    ("mask", "status", "code", "named"),
    [
        (b"", 400, "invalid_image", "mask: the file is empty"),
        (b"text", 415, "unsupported_image", "mask: "),
        (encoded(painted(), "JPEG"), 415, "unsupported_image", "mask: it is a JPEG picture; send a PNG"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, 400, "invalid_image", "mask: "),
        (encoded(painted((80, 61))), 422, "invalid_option", "mask: it has 80 x 61 pixels, the picture 80 x 60"),
        (encoded(Image.new("1", (9000, 1))), 413, "image_too_large", "mask: the picture has 9000 x 1 pixels"),
    ],
)
def test_an_unfit_mask_is_refused(
    mask: bytes, status: int, code: str, named: str, ask: Callable[..., TestResponse]
) -> None:
    assert named in refused(ask(mask=mask), status, code)


def test_an_unfit_parent_or_fill_is_refused(
    client: FlaskClient, ask: Callable[..., TestResponse], parent: str, settings: Settings, store: JobStore
) -> None:
    assert "parent: there is no job" in refused(ask(parent="unknown"), 422, "invalid_option")
    another = encoded(Image.new("RGB", SIZE, "blue"))
    assert "another picture" in refused(ask(another, parent=parent), 422, "invalid_option")
    assert "is not one of blur, mean, grey" in refused(ask(mask=MASK, fill="pink"), 422, "invalid_option")
    waiting = ask(another).get_json()["id"]
    assert "parent: " in refused(ask(another, parent=waiting), 409, "conflict")
    refused(ask(image=None, mask=MASK), 400, "malformed")
    refused(client.post(JOBS, json={"mask_base64": "?", "parent": parent}), 400, "invalid_image")
    refused(
        client.post(JOBS, data={"image": (io.BytesIO(PICTURE), "a"), "x": (io.BytesIO(b"x"), "x")}), 400, "malformed"
    )
    with raw_client(settings) as raw:
        raw.zadd("pathlight:expiry", {parent: 1})
    collect(store)
    assert "parent: there is no job" in refused(ask(parent=parent), 422, "invalid_option")


def test_the_mask_can_be_downloaded_as_the_commands_name_it(
    client: FlaskClient, ask: Callable[..., TestResponse]
) -> None:
    """Encoded anew, so that nothing that hides in an upload is served; it asks for the same picture."""
    job_id = ask(mask=MASK + b"<script>", fill="grey").get_json()["id"]
    served = client.get(f"{JOBS}/{job_id}/artifacts/mask.png")
    assert served.content_type == "image/png" and served.headers["ETag"]
    assert b"script" not in served.data
    assert np.array_equal(pixels(served.data), pixels(MASK))
    again = ask(mask=served.data, fill="grey").get_json()["id"]
    pictures = [client.get(f"{JOBS}/{one}/artifacts/picture.jpg").data for one in (job_id, again)]
    assert pictures[0] == pictures[1]
    refused(client.get(f"{JOBS}/{ask().get_json()['id']}/artifacts/mask.png"), 404, "not_found")


def test_the_mask_is_in_the_bundle_and_its_loss_is_told(
    client: FlaskClient, ask: Callable[..., TestResponse], parent: str, store: JobStore, blobs: BlobStore
) -> None:
    job = ask(mask=MASK, parent=parent).get_json()
    run_one(store, blobs)
    address = f"{JOBS}/{job['id']}/bundle.zip"
    with zipfile.ZipFile(io.BytesIO(client.get(address).data)) as bundle:
        assert np.array_equal(pixels(bundle.read("artifacts/mask.png")), pixels(MASK))
    blobs.discard(job["options"]["mask"])
    refused(client.get(address), 503, "storage")


def test_the_mask_is_kept_as_long_as_a_job_names_it(
    ask: Callable[..., TestResponse], settings: Settings, store: JobStore
) -> None:
    job = ask(mask=MASK).get_json()
    mask = job["options"]["mask"]
    assert store.referenced([mask]) == {mask}
    store.cancel(job["id"])
    with raw_client(settings) as raw:
        raw.zadd("pathlight:expiry", {job["id"]: 1})
    assert collect(store) == [job["id"]]
    assert store.referenced([mask]) == set()


def test_pictures_of_a_what_if_show_what_was_explained(
    client: FlaskClient, ask: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    def shown(job_id: str) -> tuple[str, np.ndarray[Any, Any]]:
        response = client.get(f"{JOBS}/{job_id}/artifacts/picture.jpg")
        return response.headers["ETag"], np.asarray(Image.open(io.BytesIO(response.data))).astype(int)

    plain, masked = ask().get_json()["id"], ask(mask=MASK, fill="grey").get_json()["id"]
    (plain_etag, whole), (masked_etag, hidden) = shown(plain), shown(masked)
    assert np.abs(hidden[30, 10] - 128).max() < 6 and np.abs(hidden[30, 70] - whole[30, 70]).max() < 6
    assert whole[30, 10, 0] > 240 > whole[30, 10, 1]
    assert plain_etag != masked_etag
