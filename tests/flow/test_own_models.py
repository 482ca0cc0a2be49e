"""Networks of three libraries, added as docs/models.md says and explained by the command and by a worker."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from PIL import Image
from safetensors.torch import save_file

from cli.main import main
from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.cards.methods import METHODS
from shared.jobs import ImageRecord, JobOptions, JobStatus
from shared.results import Result as JobResult
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore, Submission
from tests.conftest import encoded
from web.app import create_app
from worker.engine.architectures import build
from worker.queue.tasks import build_drain

PAGE = (REPOSITORY / "docs" / "models.md").read_text("utf-8")
PETS, BIRDS = ["cat", "dog", "owl"], ["robin", "hen", "goose", "owl"]
TREE = {
    "origin": "by hand",
    "nodes": [
        {"id": "b", "name": "bird", "children": ["w", "l"]},
        {"id": "w", "name": "wild bird", "children": ["robin", "owl"]},
        {"id": "l", "name": "livestock", "children": ["hen", "goose"]},
        *({"id": name, "name": name, "class": index} for index, name in enumerate(BIRDS)),
    ],
}


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    return [shlex.split(line.split("  #")[0])[1:] for block in blocks for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Image.Image]) -> Path:
    """What somebody has who reads the page: weights, class names, a tree and a photograph."""
    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    torch.save(build("torchvision/mobilenet_v3_small", len(PETS)).state_dict(), folder / "pets.pth")
    save_file(build("timm/test_resnet", len(BIRDS)).state_dict(), folder / "birds.safetensors")
    torch.save({"state_dict": build("pytorchcv/mobilenetv2_wd4", len(BIRDS)).state_dict()}, folder / "tiny.pth")
    (folder / "pets.txt").write_text("\n".join(PETS), "utf-8")
    (folder / "birds.txt").write_text("\n".join(BIRDS), "utf-8")
    (folder / "birds-tree.json").write_text(json.dumps(TREE), "utf-8")
    (folder / "photo.jpg").write_bytes(encoded(photos["chelsea"], "JPEG"))
    for name, photo in zip(BIRDS, photos.values(), strict=True):
        (folder / "bird-pictures" / name).mkdir(parents=True)
        for side in (64, 96, 128):
            small = photo.resize((side, side))
            (folder / "bird-pictures" / name / f"{side}.jpg").write_bytes(encoded(small, "JPEG"))
    return folder


@pytest.fixture(scope="module")
def settings_of_three(folder: Path) -> Settings:
    return Settings(home=folder / "home", classifier="pets", tree_model="birds")


@pytest.fixture(scope="module")
def printed(folder: Path, settings_of_three: Settings) -> Iterator[dict[str, Result]]:
    """What each command of the page prints, all but the last, which removes a model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runner = CliRunner(env={"PATHLIGHT_HOME": str(settings_of_three.home), "REDIS_URL": "", "COLUMNS": "200"})
        yield {" ".join(words): runner.invoke(main, words) for words in commands() if "remove" not in words}


def test_every_command_of_the_page_works(printed: dict[str, Result]) -> None:
    for command, result in printed.items():
        assert result.exit_code == 0, f"{command}: {result.output}"
    said = "\n".join(result.output for result in printed.values())
    assert "pets is ready: torchvision/mobilenet_v3_small, 3 classes, 224 px" in said
    assert "not explained by cam: its last feature map is followed by more than" in said
    assert "birds is ready: timm/test_resnet, 4 classes" in said and "tree: 3 decisions" in said
    assert "birds-tree is ready" in said and "right of 4 pictures that were not trained on" in said
    assert "maps of features.final_block are exact: all add up to their logits" in said


def test_the_command_writes_maps_of_all_three(printed: dict[str, Result], folder: Path) -> None:
    gradcam = json.loads((folder / "pets" / "explanation.json").read_text("utf-8"))
    assert gradcam["maps"][0]["layer"] == "features" and gradcam["maps"][0]["claim"] == "approximate"
    birds = json.loads((folder / "birds" / "explanation.json").read_text("utf-8"))
    assert birds["maps"][0]["exactness"]["exact"]
    assert birds["decision_path"]["mode"] == "marginal" and birds["decision_path"]["agrees_with_network"]
    assert all(step["map"]["exactness"]["exact"] for step in birds["decision_path"]["steps"])
    tiny = np.load(folder / "birds" / "tiny" / "cam.npy", allow_pickle=False)
    assert tiny.shape == (7, 7)


@pytest.fixture
def client(printed: dict[str, Result], settings_of_three: Settings, store: JobStore, blobs: BlobStore) -> FlaskClient:
    bell = Bell(make_celery(settings_of_three))
    registry = Registry.load(settings_of_three)
    return create_app(settings_of_three, store=store, blobs=blobs, bell=bell, registry=registry).test_client()


def test_the_list_says_what_each_can_do_and_why_not_more(client: FlaskClient) -> None:
    models = {model["name"]: model for model in client.get("/api/v1/models").get_json()["models"]}
    assert models["pets"]["ready"] and "cam" not in models["pets"]["methods"] and "gradcam" in models["pets"]["methods"]
    assert models["pets"]["reason"].startswith("not explained by cam: its last feature map is followed by more than")
    assert models["birds"]["reason"] is None and models["birds"]["tree_modes"] == ["soft", "hard", "marginal"]


def test_the_page_of_models_shows_them(client: FlaskClient) -> None:
    page = client.get("/models?lang=en").text
    assert "torchvision/mobilenet_v3_small" in page and "not explained by cam: its last feature map" in page


def test_cam_alone_of_a_model_without_it_is_refused_naming_what_is_allowed(client: FlaskClient, folder: Path) -> None:
    with (folder / "photo.jpg").open("rb") as photo:
        form = {"image": (photo, "photo.jpg"), "models": "pets", "methods": "cam"}
        response = client.post("/api/v1/jobs", data=form)
    assert response.status_code == 422
    detail = response.get_json()["detail"]
    assert detail.startswith("methods: 'cam' cannot be computed (pets is not explained by cam: its last feature map")
    assert detail.endswith(f"allowed are {', '.join(METHODS[1:])}")


def test_without_a_method_each_model_is_explained_by_the_best_that_it_can_do(
    client: FlaskClient, folder: Path, settings_of_three: Settings
) -> None:
    with (folder / "photo.jpg").open("rb") as photo:
        response = client.post("/api/v1/jobs", data={"image": (photo, "photo.jpg"), "models": "pets"})
    assert response.status_code == 202 and response.get_json()["options"]["methods"] == ["gradcam"]
    runner = CliRunner(env={"PATHLIGHT_HOME": str(settings_of_three.home), "REDIS_URL": "", "COLUMNS": "200"})
    photo_path, out = str(folder / "photo.jpg"), str(folder / "by-default")
    done = runner.invoke(main, ["explain", photo_path, "--model", "pets", "--model", "tiny"])
    assert done.exit_code == 0, done.output
    assert " by gradcam, " in done.output and " by cam, " in done.output
    done = runner.invoke(main, ["bulk", photo_path, "--model", "pets", "--out", out, "--local"])
    assert done.exit_code == 0, done.output


def test_the_form_offers_what_the_default_models_can_do(client: FlaskClient) -> None:
    """Here `pets`, which has no `cam`, and `birds`."""
    checked = re.findall(r'name="methods" id="[^"]+" value="([^"]+)" checked', client.get("/").text)
    assert checked == ["cam", "gradcam"]


def test_a_worker_explains_all_three_and_says_what_one_cannot_do(
    printed: dict[str, Result], settings_of_three: Settings, settings: Settings, store: JobStore, folder: Path
) -> None:
    blobs = BlobStore(settings_of_three.blobs)
    image = ImageRecord(blobs.put((folder / "photo.jpg").read_bytes()), 451, 300, "JPEG", "photo.jpg")
    options = JobOptions(("pets", "birds", "tiny"), methods=("cam", "layercam"))
    job_id = store.submit(Submission(options=options, image=image))
    shared_redis = replace(settings_of_three, redis_url=settings.store_url)
    build_drain(shared_redis, Bell(make_celery(shared_redis))).run()
    job = store.get(job_id)
    assert job.status is JobStatus.SUCCEEDED and job.result_ref is not None
    document = JobResult.unpack(blobs.get(job.result_ref)).document
    methods = {one["model"]: [entry["method"] for entry in one["maps"]] for one in document["explanations"]}
    assert methods == {"pets": ["layercam"], "birds": ["cam", "layercam"], "tiny": ["cam", "layercam"]}
    (warning,) = [one for one in document["warnings"] if one["code"] == "method_not_in_model"]
    assert (warning["model"], warning["params"]["method"]) == ("pets", "cam")


def test_a_path_of_a_network_without_a_linear_head_has_no_maps(
    printed: dict[str, Result], settings_of_three: Settings, folder: Path, tmp_path: Path
) -> None:
    runner = CliRunner(env={"PATHLIGHT_HOME": str(settings_of_three.home), "REDIS_URL": ""})
    (tmp_path / "tree.json").write_text(
        json.dumps(
            {
                "nodes": [
                    {"id": "pet", "name": "pet", "children": ["mammal", "owl"]},
                    {"id": "mammal", "name": "mammal", "children": ["cat", "dog"]},
                    *({"id": name, "name": name, "class": index} for index, name in enumerate(PETS)),
                ]
            }
        ),
        "utf-8",
    )
    added = ["models", "add", "treed", "--architecture", "torchvision/mobilenet_v3_small", "--size", "64"]
    files = ["--weights", "pets.pth", "--classes", "pets.txt", "--hierarchy", str(tmp_path / "tree.json")]
    assert runner.invoke(main, [*added, *files]).exit_code == 0
    for tree in ("marginal", "soft"):
        words = ["explain", "photo.jpg", "--model", "treed", "--method", "gradcam", "--tree", tree]
        done = runner.invoke(main, [*words, "--out", str(tmp_path / tree)])
        assert done.exit_code == 0, done.output
        path = json.loads((tmp_path / tree / "explanation.json").read_text("utf-8"))["decision_path"]
        assert path["mode"] == tree and path["steps"] and all(step["map"] is None for step in path["steps"])
        assert path["steps"][-1]["path_probability"] > 0


def test_a_trained_tree_that_is_checked_again_keeps_its_accuracies(
    printed: dict[str, Result], folder: Path, settings_of_three: Settings
) -> None:
    before = Registry.load(settings_of_three).ready("birds-tree").facts["accuracy"]
    runner = CliRunner(env={"PATHLIGHT_HOME": str(settings_of_three.home), "REDIS_URL": ""})
    assert runner.invoke(main, ["models", "add", "birds-tree"]).exit_code == 0
    assert Registry.load(settings_of_three).ready("birds-tree").facts["accuracy"] == before


def test_the_last_command_removes_a_model(
    printed: dict[str, Result], folder: Path, settings_of_three: Settings
) -> None:
    (words,) = [words for words in commands() if "remove" in words]
    done = CliRunner(env={"PATHLIGHT_HOME": str(settings_of_three.home)}).invoke(main, words)
    assert done.exit_code == 0 and "tiny was removed" in done.output
    assert "tiny" not in Registry.load(settings_of_three).cards
