"""Models that come, change and go while the service runs: it takes note within seconds, and whatever was accepted is
answered by the models of then."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from cli.main import main
from shared.cards.versions import CARD
from shared.settings import Settings
from tests.conftest import encoded, wait_for
from tests.flow.conftest import Service, running
from tests.flow.test_service import JOBS, ended, stopped
from tests.shared.slow_server import SlowServer
from worker.engine.architectures import build

HEEDED_SECONDS = 5.0
TINY, NAMES = "timm/test_resnet", ["cat", "dog", "owl"]
VERSIONS = 3  # of the weights; the last layer makes each prefer a class of its own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of three versions of one network, each of which says another class whatever it sees."""
    folder = tmp_path_factory.mktemp("live")
    torch.manual_seed(0)
    state = build(TINY, len(NAMES)).state_dict()
    for version in range(VERSIONS):
        bias = torch.zeros(len(NAMES))
        bias[version] = 100.0
        save_file(state | {"fc.bias": bias}, folder / f"{version}.safetensors")
    (folder / "names.txt").write_text("\n".join(NAMES), "utf-8")
    pathlight(folder, *adding(folder, "pets", 0))
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with running(folder / "home", folder / "log", PATHLIGHT_CLASSIFIER="pets", NO_PROXY="*") as started:
        yield started


@pytest.fixture
def photo(photos: dict[str, Image.Image]) -> bytes:
    return encoded(photos["chelsea"].resize((90, 60)))


@pytest.fixture(autouse=True)
def first_version(folder: Path, service: Service) -> None:
    """Every test begins with the first version of `pets`, and with no other model of one's own."""
    home = Settings(home=folder / "home")
    if "birds" in home.own_models.read_text("utf-8"):
        pathlight(folder, "models", "remove", "birds")
    if not prefers(service, "pets", 0):
        pathlight(folder, *adding(folder, "pets", 0))
        wait_for(lambda: prefers(service, "pets", 0), seconds=HEEDED_SECONDS, pause=0.1)


def pathlight(folder: Path, *words: str) -> str:
    runner = CliRunner(env={"PATHLIGHT_HOME": str(folder / "home"), "COLUMNS": "200"})
    done = runner.invoke(main, words)
    assert done.exit_code == 0, done.output
    return done.output


def adding(folder: Path, name: str, version: int, *more: str) -> list[str]:
    files = ["--weights", str(folder / f"{version}.safetensors"), "--classes", str(folder / "names.txt")]
    return ["models", "add", name, "--architecture", TINY, *files, "--size", "64", "--force", *more]


def models(service: Service) -> dict[str, Any]:
    return {one["name"]: one for one in service.client.get("/api/v1/models").json()["models"]}


def prefers(service: Service, name: str, version: int) -> bool:
    """Whether the web server has the model with the weights of this version, as its list says."""
    listed = models(service).get(name)
    return listed is not None and listed["facts"]["source"]["file"] == f"{version}.safetensors"


def submit(service: Service, photo: bytes, model: str = "pets", **fields: str) -> Any:
    return service.client.post(JOBS, data={"models": model, **fields}, files={"image": ("a.png", photo)})


def result_of(service: Service, job_id: str) -> dict[str, Any]:
    wait_for(lambda: ended(service, job_id) is not None, seconds=120, pause=0.1)
    job = ended(service, job_id)
    assert job is not None and job["status"] == "succeeded", job
    result: dict[str, Any] = job["result"]
    return result


def answer_of(service: Service, job_id: str) -> str:
    """The class that the model says, which names the version that has answered."""
    return str(result_of(service, job_id)["explanations"][0]["prediction"]["name"])


def shaded(number: int) -> bytes:
    return encoded(Image.new("RGB", (70, 70), (number % 256, number // 256, 99)))


def test_a_model_that_is_added_is_served_within_seconds_and_one_that_is_removed_is_not(
    service: Service, folder: Path, photo: bytes
) -> None:
    said = pathlight(folder, *adding(folder, "birds", 1))
    assert "A running service takes note within seconds." in said
    wait_for(lambda: "birds" in models(service), seconds=HEEDED_SECONDS, pause=0.1)
    job = submit(service, photo, "birds")
    assert job.status_code == 202, job.text
    assert answer_of(service, job.json()["id"]) == "dog"
    assert 'value="birds"' in service.client.get("/").text and 'id="birds"' in service.client.get("/models").text
    assert 'pathlight_model_ready{default="no",model="birds"} 1.0' in service.client.get("/metrics").text
    pathlight(folder, "models", "remove", "birds")
    wait_for(lambda: submit(service, photo, "birds").status_code == 422, seconds=HEEDED_SECONDS, pause=0.1)
    assert 'value="birds"' not in service.client.get("/").text


def test_jobs_and_batches_are_answered_by_the_version_that_was_current_when_they_were_accepted(
    service: Service, folder: Path, photo: bytes
) -> None:
    with stopped(service.pid_of("worker-")):
        first = submit(service, photo).json()["id"]
        files = [("image", (f"{n}.png", shaded(n))) for n in range(3)]
        batch = service.client.post("/api/v1/batches", data={"models": "pets"}, files=files).json()["id"]
        pathlight(folder, *adding(folder, "pets", 1, "--title", "another entry"))
        wait_for(lambda: prefers(service, "pets", 1), seconds=HEEDED_SECONDS, pause=0.1)
        second = submit(service, photo).json()["id"]
        pathlight(folder, *adding(folder, "pets", 2, "--title", "another entry"))
        wait_for(lambda: prefers(service, "pets", 2), seconds=HEEDED_SECONDS, pause=0.1)
        third = submit(service, photo).json()["id"]
        pathlight(folder, "models", "remove", "pets")
        wait_for(lambda: submit(service, photo).status_code == 422, seconds=HEEDED_SECONDS, pause=0.1)
        assert pathlight(folder, "gc").startswith("removed 0 files")
    assert [answer_of(service, job_id) for job_id in (first, second, third)] == NAMES
    made = [result_of(service, job_id)["provenance"]["models"]["pets"] for job_id in (first, second, third)]
    versions = {one["version"] for one in made}
    assert len(versions) == 3
    wait_for(lambda: service.client.get(f"/api/v1/batches/{batch}").json()["status"] == "finished", seconds=60)
    members = service.client.get(f"/api/v1/batches/{batch}/members").json()["members"]
    assert [one["result"]["explanations"][0]["prediction"]["name"] for one in members] == ["cat"] * 3


def test_jobs_that_are_sent_while_the_model_is_replaced_removed_and_added_all_end_well(
    service: Service, folder: Path
) -> None:
    accepted: list[str] = []
    changes = [
        adding(folder, "pets", 1),
        adding(folder, "pets", 2, "--title", "other"),
        ["models", "remove", "pets"],
        adding(folder, "pets", 0),
    ]
    number = 0
    for words in changes:
        command = threading.Thread(target=pathlight, args=(folder, *words))
        command.start()
        while command.is_alive():
            number += 1
            response = submit(service, shaded(number))
            assert response.status_code in (202, 422), response.text
            if response.status_code == 202:
                accepted.append(response.json()["id"])
            time.sleep(0.02)
    assert len(accepted) > 20
    for job_id in accepted:
        assert answer_of(service, job_id) in NAMES


def card_of(folder: Path, name: str, *, url: str) -> bytes:
    """Puts the card of a model that is fetched into the running service's registry; returns the weights."""
    home = Settings(home=folder / "home")
    card = json.loads(next((home.registry / "pets").glob(f"v-*/{CARD}")).read_text("utf-8"))
    del card["declared"]
    content = (folder / "2.safetensors").read_bytes()
    weights = {"file": "far.safetensors", "sha256": sha256(content).hexdigest(), "url": url}
    (home.registry / name).mkdir(exist_ok=True)
    (home.registry / name / "card.partial").write_text(json.dumps({**card, "name": name, "weights": weights}), "utf-8")
    (home.registry / name / "card.partial").rename(home.registry / name / CARD)
    return content


def click(service: Service, name: str) -> Any:
    """The button on the page, as a browser without scripts sends it."""
    page = service.client.get("/models")
    token = page.text.partition('name="token" value="')[2].partition('"')[0]
    return service.client.post(f"/models/{name}/fetch", data={"token": token})


def test_a_model_is_fetched_from_the_page_with_progress_and_jobs_go_on_meanwhile(
    service: Service, folder: Path, photo: bytes
) -> None:
    with SlowServer((folder / "2.safetensors").read_bytes()) as server:
        content = card_of(folder, "far", url=server.url)
        wait_for(lambda: "far" in models(service), seconds=HEEDED_SECONDS, pause=0.1)
        server.hold_at(len(content) // 2)
        assert click(service, "far").status_code == 303
        wait_for(lambda: (models(service)["far"]["fetch"] or {}).get("done", 0) > 0, seconds=60, pause=0.2)
        fetch = models(service)["far"]["fetch"]
        assert fetch["state"] == "running" and fetch["total"] == len(content) and fetch["error"] is None
        assert "<progress value=" in service.client.get("/models").text
        assert click(service, "far").status_code == 303, "it joins"
        assert answer_of(service, submit(service, photo).json()["id"]) == "cat"
        refused = submit(service, photo, "far")
        assert refused.status_code == 422 and refused.json()["code"] == "model_unavailable"
        server.let_go()
        wait_for(lambda: models(service)["far"]["ready"], seconds=60, pause=0.1)
        assert answer_of(service, submit(service, photo, "far").json()["id"]) == "owl"
        assert server.asked == 1
    assert service.client.post("/api/v1/models/far/fetch").status_code == 409


def test_a_command_that_fetches_is_noted_within_seconds(service: Service, folder: Path, photo: bytes) -> None:
    with SlowServer((folder / "2.safetensors").read_bytes()) as server:
        card_of(folder, "farther", url=server.url)
        assert "A running service takes note within seconds." in pathlight(folder, "models", "fetch", "farther")
    wait_for(lambda: models(service).get("farther", {}).get("ready"), seconds=HEEDED_SECONDS, pause=0.1)
    assert answer_of(service, submit(service, photo, "farther").json()["id"]) == "owl"


def test_a_host_that_cannot_be_reached_is_one_sentence_on_the_page(service: Service, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    card_of(folder, "nowhere", url=f"http://127.0.0.1:{port}/far.safetensors")
    wait_for(lambda: "nowhere" in models(service), seconds=HEEDED_SECONDS, pause=0.1)
    assert service.client.post("/api/v1/models/nowhere/fetch").status_code == 202
    wait_for(lambda: models(service)["nowhere"]["fetch"]["state"] == "failed", seconds=60, pause=0.2)
    assert models(service)["nowhere"]["fetch"]["error"].startswith("127.0.0.1 cannot be reached: Connection refused")
    page = service.client.get("/models").text
    assert "127.0.0.1 cannot be reached: Connection refused" in page and "/models/nowhere/fetch" in page
    assert models(service)["pets"]["ready"]
