"""The command line in one process: sentences instead of tracebacks, files as promised."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import main
from tests.conftest import encoded
from tests.shared.servers import answer, serving

TREE = ("--model", "nbdt-cifar10")


@pytest.fixture
def runner(tmp_path: Path) -> CliRunner:
    return CliRunner(env={"PATHLIGHT_HOME": str(tmp_path / "home"), "REDIS_URL": "", "PORT": "1"})


@pytest.fixture
def chelsea(tmp_path: Path, photos: dict[str, Image.Image]) -> Path:
    path = tmp_path / "chelsea.png"
    path.write_bytes(encoded(photos["chelsea"]))
    return path


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The temporary folder, served over HTTP on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_explain_writes_a_raw_map_that_adds_up_to_the_logit(runner: CliRunner, chelsea: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = runner.invoke(main, ["explain", str(chelsea), *TREE, "--out", str(out)])
    assert done.exit_code == 0, done.output
    document = json.loads((out / "explanation.json").read_text("utf-8"))
    raw = np.load(out / "cam.npy", allow_pickle=False)
    bias = document["maps"][0]["exactness"]["bias"]
    assert float(raw.mean()) + bias == pytest.approx(document["prediction"]["logit"], rel=1e-5, abs=1e-5)
    with Image.open(out / "overlay.png") as overlay:
        assert overlay.size == (451, 300)
    assert document["provenance"]["models"]["nbdt-cifar10"]["weights_sha256"]


def test_explain_takes_an_address(runner: CliRunner, chelsea: Path, address: str) -> None:
    done = runner.invoke(main, ["explain", f"{address}/{chelsea.name}", *TREE])
    assert done.exit_code == 0, done.output
    assert "Prediction: cat // Decisions: animal (" in done.output


def test_explain_takes_a_target_and_a_contrast(runner: CliRunner, chelsea: Path) -> None:
    done = runner.invoke(main, ["explain", str(chelsea), *TREE, "--target", "dog", "--contrast", "cat"])
    assert "Map: dog rather than cat by cam, 8 x 8 cells, exact" in done.output
    lines = done.output.splitlines()
    (best,) = (place for place, line in enumerate(lines) if line.endswith("  cat"))
    assert lines[best - 1].endswith("% confident, calibrated; the raw softmax:"), (
        "what warnings tell is not what follows"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["explain", "absent.png"], "absent.png cannot be read"),
        (["explain", "http://127.0.0.1:1/x.png"], "cannot be fetched"),
        (["explain", "README.md", *TREE], "not a JPEG, PNG or WebP"),
        (["explain", "README.md", *TREE, "--target", "unicorn"], "'unicorn' is not a class of nbdt-cifar10"),
        (["explain", "README.md", "--model", "nothing"], "'nothing' is not a model"),
        (["explain", "README.md", "--model", "resnet18-imagenet"], "pathlight models fetch resnet18-imagenet"),
        (["models", "fetch", "nbdt-cifar10"], "comes with the repository"),
        (["status", "abc"], "is it running?"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(arguments: list[str], sentence: str, runner: CliRunner) -> None:
    done = runner.invoke(main, arguments)
    assert done.exit_code == 1
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_submit_tells_how_a_picture_is_given(runner: CliRunner) -> None:
    nothing, misplaced = (runner.invoke(main, ["submit", *files]) for files in ((), ("https://x/y.png",)))
    assert nothing.exit_code == misplaced.exit_code == 2
    assert "give a picture: a file, or an address with --image-url URL" in nothing.output
    assert "give it as --image-url https://x/y.png" in " ".join(misplaced.output.split())


def test_submit_sends_files_and_addresses_and_says_whom_to_tell(runner: CliRunner, chelsea: Path) -> None:
    job = {"id": "j1", "status": "queued", "links": {"page": "/jobs/j1"}}
    hook = "https://example.org/hook?secret"
    with serving(answer(202, json.dumps(job).encode())) as server:
        words = [str(chelsea), "--image-url", "https://example.org/[b]x.png", "--webhook", hook]
        done = runner.invoke(main, ["submit", *words, "--server", f"http://127.0.0.1:{server.port}"])
    assert done.exit_code == 0, done.output
    upload, address = server.heard
    assert hook.encode() in upload.body and b'filename="chelsea.png"' in upload.body
    assert json.loads(address.body)["image_url"] == "https://example.org/[b]x.png"
    assert json.loads(address.body)["webhook"] == hook
    assert "https://example.org/[b]x.png  j1  queued" in done.output and "secret" not in done.output


def test_what_the_service_refuses_is_said_in_its_own_sentence(runner: CliRunner) -> None:
    problem = {"code": "invalid_option", "detail": "image_url: this service fetches no pictures"}
    with serving(answer(422, json.dumps(problem).encode())) as server:
        words = ["--image-url", "https://example.org/x.png", "--server", f"http://127.0.0.1:{server.port}"]
        done = runner.invoke(main, ["submit", *words])
    assert (done.exit_code, done.output) == (1, "Error: invalid_option: image_url: this service fetches no pictures\n")


def test_a_setting_that_cannot_be_used_is_named(runner: CliRunner) -> None:
    done = runner.invoke(main, ["models"], env={"PATHLIGHT_BATCH_SIZE": "many"})
    assert done.exit_code == 1
    assert "PATHLIGHT_BATCH_SIZE='many'" in done.output


def test_models_says_which_are_ready_and_how_to_mend_the_others(runner: CliRunner) -> None:
    shown = " ".join(runner.invoke(main, ["models"], env={"COLUMNS": "120"}).output.split())
    assert "nbdt-cifar10 yes 10 supervised" in shown
    assert "pathlight models fetch wrn28-10-cifar10" in shown


def test_doctor_finds_a_service_that_does_not_run_and_says_how_to_start_it(runner: CliRunner) -> None:
    done = runner.invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert "model nbdt-cifar10 is ready" in done.output
    assert "start it with: pathlight run" in " ".join(done.output.split())


def test_explain_hides_what_a_mask_says(runner: CliRunner, chelsea: Path, tmp_path: Path) -> None:
    mask, grey = tmp_path / "mask.png", tmp_path / "grey.png"
    with Image.open(chelsea) as picture:
        mask.write_bytes(encoded(Image.new("L", picture.size, 255)))
        grey.write_bytes(encoded(Image.new("RGB", picture.size, (128, 128, 128))))
    hidden = ["explain", str(chelsea), *TREE, "--fill", "grey", "--mask", str(mask), "--out", str(tmp_path / "hidden")]
    for asked in (hidden, ["explain", str(grey), *TREE, "--out", str(tmp_path / "plain")]):
        done = runner.invoke(main, asked)
        assert done.exit_code == 0, done.output
    for name in ("cam.npy", "overlay.png"):
        assert (tmp_path / "hidden" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    mask.write_bytes(encoded(Image.new("L", (3, 3), 255)))
    assert "mask: it has not the size of the picture" in runner.invoke(main, hidden).output


def test_a_tree_that_only_retells_the_network_has_a_line_of_its_own(runner: CliRunner, chelsea: Path) -> None:
    retold = runner.invoke(main, ["explain", str(chelsea), *TREE, "--tree", "marginal"]).output.splitlines()
    assert retold[1] == "Prediction: cat"
    assert retold[2].startswith("Decisions: animal (")
    without = runner.invoke(main, ["explain", str(chelsea), *TREE, "--tree", "off"]).output
    assert "Decisions" not in without
