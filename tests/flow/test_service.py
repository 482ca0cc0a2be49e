"""The whole service as a person starts it: one photo's way, bad input, killed workers, a restarted Redis, Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import main
from shared.jobs import TERMINAL, JobStatus
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded, wait_for
from tests.documented import commands_of
from tests.flow.conftest import Service, running
from web.http.turns import share_of

JOBS = "/api/v1/jobs"


def submit(service: Service, data: bytes, **fields: Any) -> httpx.Response:
    return service.client.post(JOBS, data=fields, files={"image": ("photo.png", data)})


def ended(service: Service, job_id: str) -> dict[str, Any] | None:
    """The job where it has ended. A service that is just coming back counts as not ended."""
    try:
        response = service.client.get(f"{JOBS}/{job_id}")
    except httpx.HTTPError:
        return None
    job: dict[str, Any] = response.json()
    return job if job.get("status") in TERMINAL else None


def answer(service: Service, data: bytes, **fields: Any) -> dict[str, Any]:
    response = submit(service, data, **fields)
    assert response.status_code == 202, response.text
    job_id = response.json()["id"]
    wait_for(lambda: ended(service, job_id) is not None, seconds=60)
    job = ended(service, job_id)
    assert job is not None
    return job


def test_the_cat_goes_through_the_whole_system(shared_service: Service, photos: dict[str, Image.Image]) -> None:
    job = answer(shared_service, encoded(photos["chelsea"]))
    assert job["status"] == "succeeded"
    classifier, tree = job["result"]["explanations"]
    assert [step["name"] for step in tree["decision_path"]["steps"]] == ["animal", "chordate", "carnivore", "cat"]
    assert {"tabby, tabby cat", "Persian cat", "Egyptian cat"} & {c["name"] for c in classifier["prediction"]["top"]}
    for explanation in (classifier, tree):
        entry = explanation["maps"][0]
        assert entry["exactness"]["exact"]
        raw = np.load(io.BytesIO(shared_service.client.get(entry["artifacts"]["raw"]).content), allow_pickle=False)
        assert min(raw.shape) >= 7
        mean = float(raw.mean()) + entry["exactness"]["bias"]
        assert mean == pytest.approx(explanation["prediction"]["logit"], rel=1e-5, abs=1e-5)
        overlay = Image.open(io.BytesIO(shared_service.client.get(entry["artifacts"]["overlay"]).content))
        assert overlay.size == (451, 300)
    for step in tree["decision_path"]["steps"]:
        decision = step["map"]
        raw = np.load(io.BytesIO(shared_service.client.get(decision["artifacts"]["raw"]).content), allow_pickle=False)
        log_odds = np.log(step["probability"] / step["siblings"][0]["probability"])
        assert float(raw.mean()) + decision["exactness"]["bias"] == pytest.approx(log_odds, rel=1e-4, abs=1e-4)
        overlay = Image.open(io.BytesIO(shared_service.client.get(decision["artifacts"]["overlay"]).content))
        assert overlay.size == (451, 300)
    assert shared_service.client.get(job["links"]["page"]).status_code == 200


# Of a photograph of 3101 x 2069 pixels: the middle square, of which the ImageNet network sees seven eighths.
SEEN = {"efficientnet-lite0-imagenet": [645, 129, 2456, 1940], "nbdt-cifar10": [516, 0, 2585, 2069]}


def test_a_telephones_photograph_is_answered_like_a_small_one_and_its_places_are_told_in_its_own_pixels(
    shared_service: Service, photos: dict[str, Image.Image], large_photo: bytes
) -> None:
    small, large = (answer(shared_service, data) for data in (encoded(photos["coffee"]), large_photo))
    assert (large["image"]["width"], large["image"]["height"]) == (3101, 2069)
    explanations = zip(small["result"]["explanations"], large["result"]["explanations"], strict=True)
    for expected, found in explanations:
        assert found["prediction"]["name"] == expected["prediction"]["name"]
        assert found["prediction"]["logit"] == pytest.approx(expected["prediction"]["logit"], rel=0.05)
        assert found["input"]["box"] == pytest.approx(SEEN[found["model"]], abs=1)
        assert found["maps"][0]["exactness"]["exact"]
        drawn = [
            Image.open(io.BytesIO(shared_service.client.get(one["maps"][0]["artifacts"]["overlay"]).content))
            for one in (expected, found)
        ]
        assert drawn[1].size == (1024, 683)
        difference = np.asarray(drawn[1].resize(drawn[0].size)).astype(int) - np.asarray(drawn[0])
        assert np.abs(difference).mean() < 4, "of 255 levels"


def test_a_what_if_shows_how_the_answer_changes_when_the_cat_is_hidden(
    shared_service: Service, photos: dict[str, Image.Image]
) -> None:
    parent = answer(shared_service, encoded(photos["chelsea"]))
    mask = Image.new("L", photos["chelsea"].size)
    mask.paste(255, (90, 20, 360, 300))  # the face
    form = {"parent": parent["id"], "fill": "blur"}
    job_id = shared_service.client.post(JOBS, data=form, files={"mask": ("mask.png", encoded(mask))}).json()["id"]
    wait_for(lambda: ended(shared_service, job_id) is not None, seconds=60)
    job = ended(shared_service, job_id)
    assert job is not None and job["status"] == "succeeded", job
    assert job["image"] == parent["image"]
    options = job["result"]["provenance"]["options"]
    assert (options["parent"], options["fill"], len(options["mask"])) == (parent["id"], "blur", 64)
    differences = job["result"]["differences"]
    assert differences["parent"] == parent["id"]
    explanations = zip(parent["result"]["explanations"], job["result"]["explanations"], strict=True)
    for model, (before, after) in zip(differences["models"], explanations, strict=True):
        changed = model["prediction"]
        for one, found in ((before, changed["before"]), (after, changed["after"])):
            assert found == {name: one["prediction"][name] for name in ("index", "name", "probability")}
        cat = next(entry for entry in model["top"] if entry["index"] == before["prediction"]["index"])
        assert cat["before"] == pytest.approx(before["prediction"]["probability"], abs=1e-5)
        assert cat["after"] < 0.8 * cat["before"], "without its face it is less of a cat"
        assert -1 <= model["maps"][0]["correlation"] <= 1
        assert len(model["maps"][0]["shift"]) == 2
    nodes = [[step["node"] for step in one["decision_path"]["steps"]] for one in (before, after)]
    assert model["decision_path"]["changed"] == (nodes[0] != nodes[1])


def test_the_coffee_is_an_espresso(shared_service: Service, photos: dict[str, Image.Image]) -> None:
    job = answer(shared_service, encoded(photos["coffee"], "JPEG"))
    assert job["result"]["explanations"][0]["prediction"]["name"] == "espresso"


def test_bad_input_gets_its_documented_answer_and_the_worker_lives(
    shared_service: Service, photos: dict[str, Image.Image]
) -> None:
    jpeg = encoded(photos["chelsea"], "JPEG")
    before = shared_service.pid_of("worker-")
    truncated = answer(shared_service, jpeg[: len(jpeg) // 2])
    assert truncated["status"] == "failed"
    assert truncated["error"]["code"] == "invalid_image"
    for data, fields, status in (
        (b"no picture", {}, 415),
        (b"", {}, 400),
        (bytes(50 * 1024 * 1024), {}, 413),
        (jpeg, {"models": "nothing"}, 422),
        (jpeg, {"methods": "nothing"}, 422),
        (jpeg, {"target": "unicorn"}, 422),
    ):
        response = submit(shared_service, data, **fields)
        assert response.status_code == status, response.text
        assert response.headers["Content-Type"] == "application/problem+json"
    assert shared_service.client.get(f"{JOBS}/unknown").status_code == 404
    assert shared_service.pid_of("worker-") == before
    assert answer(shared_service, jpeg)["status"] == "succeeded"


def test_a_long_job_shows_its_progress_and_is_cancelled_within_two_seconds(
    shared_service: Service, photos: dict[str, Image.Image]
) -> None:
    fields = {"methods": ["rise", "scorecam"], "models": "resnet18-photos100", "trust": "full"}
    job_id = submit(shared_service, encoded(photos["astronaut"]), **fields).json()["id"]

    def stage() -> str | None:
        progress = shared_service.client.get(f"{JOBS}/{job_id}").json()["progress"]
        return progress["stage"] if progress else None

    wait_for(lambda: stage() in ("scorecam", "rise"), seconds=30)
    began = time.monotonic()
    assert shared_service.client.post(f"{JOBS}/{job_id}/cancel").status_code == 200
    wait_for(lambda: ended(shared_service, job_id) is not None, seconds=10)
    job = ended(shared_service, job_id)
    assert job is not None and job["status"] == "cancelled" and job["progress"] is None
    assert time.monotonic() - began < 2
    assert answer(shared_service, encoded(photos["rocket"]))["status"] == "succeeded"


def test_full_event_streams_leave_threads_for_everybody_and_each_tells_its_job_to_the_end(
    shared_service: Service, photos: dict[str, Image.Image]
) -> None:
    fields = {"methods": "rise", "models": "resnet18-photos100", "trust": "full"}
    job = submit(shared_service, encoded(photos["coffee"]), **fields).json()
    most = share_of(Settings().event_streams)
    with ExitStack() as open_streams:
        client = shared_service.client

        def follow() -> httpx.Response:
            stream = client.stream("GET", job["links"]["events"], timeout=30)
            return open_streams.enter_context(stream)

        streams = [follow() for _ in range(most)]
        assert [stream.status_code for stream in streams] == [200] * most
        refused = client.get(job["links"]["events"])
        assert refused.status_code == 429 and refused.headers["Retry-After"]
        assert all(client.get("/healthz").status_code == 200 for _ in range(20))
        events = (json.loads(line.removeprefix("data: ")) for line in streams[0].iter_lines() if line[:5] == "data:")
        for event in events:
            if event["progress"]:
                client.post(job["links"]["cancel"])
        assert event["status"] == "cancelled"
        for stream in streams[1:]:
            stream.read()
    assert client.get(job["links"]["events"]).status_code == 200


def many_pictures(count: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [encoded(Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8))) for _ in range(count)]


@contextmanager
def stopped(group: int) -> Iterator[None]:
    """A group of processes that does nothing meanwhile."""
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


@pytest.mark.parametrize(
    "strike",
    [
        pytest.param(lambda service: service.kill_group("worker-"), id="the worker is killed"),
        pytest.param(lambda service: service.kill_group("redis-server"), id="Redis is killed"),
        pytest.param(lambda service: os.kill(service.pid_of("redis-server"), signal.SIGTERM), id="Redis is restarted"),
    ],
)
def test_forty_jobs_all_succeed_once_when(strike: Callable[[Service], None], service: Service, tmp_path: Path) -> None:
    store = JobStore.connect(Settings(home=tmp_path / "home"))
    with stopped(service.pid_of("worker-")):
        ids = [submit(service, data).json()["id"] for data in many_pictures(40)]
    wait_for(lambda: store.counts().get("succeeded", 0) > 0, seconds=60, pause=0.005)
    assert store.counts()["succeeded"] < 40, "the strike must come in the middle"
    strike(service)
    began = time.monotonic()
    wait_for(lambda: all(ended(service, job_id) for job_id in ids), seconds=60, pause=0.5)
    jobs = [ended(service, job_id) for job_id in ids]
    assert {job["status"] for job in jobs if job} == {"succeeded"}
    assert all(job["attempts"] <= 3 for job in jobs if job)
    again = [ended(service, job_id) for job_id in ids]
    assert jobs == again
    assert time.monotonic() - began < 60


def test_ctrl_c_ends_everything_within_ten_seconds_and_nothing_is_lost(tmp_path: Path) -> None:
    home = tmp_path / "home"
    began = time.monotonic()
    with running(home, tmp_path / "log1") as first:
        first_start = time.monotonic() - began
        ids = [submit(first, data).json()["id"] for data in many_pictures(20)]
        group = [first.pid_of(words) for words in ("redis-server", "worker-", "fetcher-", "web.app")]
        began = time.monotonic()
        first.stop()
        assert time.monotonic() - began < 10
    assert not any(alive(pid) for pid in group)
    began = time.monotonic()
    with running(home, tmp_path / "log2") as second:
        # Nothing of the first is waited for. How long a start takes depends on what else the machine does.
        assert time.monotonic() - began < max(15, 2 * first_start)
        wait_for(lambda: all(ended(second, job_id) for job_id in ids), seconds=60, pause=0.5)
        jobs = [ended(second, job_id) for job_id in ids]
        assert {job["status"] for job in jobs if job} == {"succeeded"}


def alive(group: int) -> bool:
    """Whether any process of a group is left; one that has ended and waits to be reaped by init is not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            return True
    return False


def test_a_port_that_another_instance_has_is_refused_with_a_sentence(shared_service: Service, tmp_path: Path) -> None:
    port = shared_service.client.base_url.port
    second = subprocess.run(
        [sys.executable, "-m", "cli", "run"],
        cwd=REPOSITORY,
        env={**os.environ, "PATHLIGHT_HOME": str(tmp_path / "home"), "PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    sentence = f"Error: PORT={port} is taken by another program; stop that one, or choose another port\n"
    assert (second.stdout, second.stderr) == ("", sentence)


def test_a_second_instance_on_the_same_folder_is_refused_with_a_sentence(shared_service: Service) -> None:
    home = shared_service.log.parent / "home"
    second = subprocess.run(
        [sys.executable, "-m", "cli", "run"],
        cwd=REPOSITORY,
        env={**os.environ, "PATHLIGHT_HOME": str(home), "PORT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "another Pathlight runs on" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_readmes_commands_speak_to_the_service(
    shared_service: Service, photos: dict[str, Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photo.jpg", tmp_path / "photos" / "chelsea.jpg"):
        photos["chelsea"].save(path)
    monkeypatch.chdir(tmp_path)
    address, home = shared_service.client.base_url, shared_service.log.parent / "home"
    environment = {"PORT": str(address.port), "PATHLIGHT_HOME": str(home), "COLUMNS": "200"}

    def run(words: list[str]) -> str:
        done = CliRunner(env=environment).invoke(main, words)
        assert done.exit_code == 0, done.output
        return done.output

    (curl,) = (line for line in commands_of("README.md") if line.startswith("curl"))
    words = shlex.split(curl.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{address.port}"))
    accepted = json.loads(subprocess.run([*words, "--silent"], capture_output=True, check=True).stdout)
    wait_for(lambda: ended(shared_service, accepted["id"]) is not None, seconds=60)
    lines = [line for line in commands_of("README.md") if "pathlight" in line and " explain " not in line]
    printed = {words[1]: run(words[1:]) for words in map(shlex.split, lines)}
    assert printed.keys() == {"submit", "bulk", "models", "doctor"}
    assert "Prediction: cat // Decisions: animal (" in printed["submit"]
    assert {"results.csv", "report.html"} <= {path.name for path in (tmp_path / "report").iterdir()}
    assert "nbdt-cifar10" in printed["models"] and "workers heard" in printed["doctor"]
    job_id = printed["submit"].split()[1]
    assert run(["status", job_id]).startswith(f"{job_id}  succeeded")


def test_redis_url_names_the_redis_that_is_used(tmp_path: Path, store: JobStore, settings: Settings) -> None:
    with running(tmp_path / "elsewhere", tmp_path / "log", REDIS_URL=settings.store_url) as service:
        job_id = submit(service, many_pictures(1)[0]).json()["id"]
        wait_for(lambda: ended(service, job_id) is not None, seconds=60)
        assert store.get(job_id).status is JobStatus.SUCCEEDED
        assert not (tmp_path / "elsewhere" / "redis").exists()
    store.ping()  # a Redis that is not ours is left running
