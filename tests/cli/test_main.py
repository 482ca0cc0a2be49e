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
from tests.shared.servers import Heard, answer, serving

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
    said = "https://example.org/x.png  refused: invalid_option: image_url: this service fetches no pictures\n"
    assert (done.exit_code, done.output) == (1, said)


def test_one_picture_that_is_refused_does_not_hold_up_the_others(
    runner: CliRunner, chelsea: Path, tmp_path: Path
) -> None:
    for name in ("b.heic", "c.png"):
        (tmp_path / name).write_bytes(chelsea.read_bytes())
    pictures = [str(tmp_path / name) for name in ("chelsea.png", "absent.jpg", "b.heic", "c.png")]

    def reply(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        if b'filename="b.heic"' in heard.body:
            refusal = {"code": "invalid_image", "detail": "it is no picture"}
            return answer(400, json.dumps(refusal).encode())(handler, heard)
        if heard.path.endswith("/events"):
            return answer(404)(handler, heard)
        job_id = "j1" if b'filename="chelsea.png"' in heard.body or heard.path.endswith("j1") else "j3"
        job = {"id": job_id, "links": {"page": f"/jobs/{job_id}"}, "error": None, "queue": None, "result": None}
        if heard.method == "POST":
            return answer(202, json.dumps({**job, "status": "queued"}).encode())(handler, heard)
        return answer(200, json.dumps({**job, "status": "succeeded"}).encode())(handler, heard)

    with serving(reply) as server:
        done = runner.invoke(main, ["submit", *pictures, "--wait", "--server", f"http://127.0.0.1:{server.port}"])
    lines = done.output.splitlines()
    assert done.exit_code == 1
    assert lines[0].startswith(f"{pictures[0]}  j1  queued")
    assert lines[1] == f"{pictures[1]}  refused: it cannot be read: No such file or directory"
    assert lines[2] == f"{pictures[2]}  refused: invalid_image: it is no picture"
    assert lines[3].startswith(f"{pictures[3]}  j3  queued")
    assert [line for line in lines if line.endswith("succeeded")] == ["j1  succeeded", "j3  succeeded"]


def test_explanation_json_has_what_the_terminal_says(runner: CliRunner, chelsea: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = ("--model", "nbdt-cifar10", "--model", "resnet18-photos100", "--target", "tabby")
    done = runner.invoke(main, ["explain", str(chelsea), *both, "--out", str(out)])
    documents = [json.loads(path.read_text("utf-8")) for path in sorted(out.rglob("explanation.json"))]
    assert [one["code"] for one in documents[0]["warnings"]] == ["class_not_in_model"]
    for document in documents:
        assert document["agreement"]
        for warning in document["warnings"]:
            assert f"note on {document['model']}: {warning['text']}" in done.output
        for pair in document["agreement"]:
            assert f"Together: {pair['text']}" in done.output


def test_a_second_answer_into_the_same_folder_leaves_nothing_of_the_first(
    runner: CliRunner, chelsea: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    both = ("--model", "nbdt-cifar10", "--model", "resnet18-photos100", "--method", "cam", "--method", "gradcam")
    assert runner.invoke(main, ["explain", str(chelsea), *both, "--out", str(out)]).exit_code == 0
    (out / "notes.txt").write_text("mine")
    (out / "other").mkdir()
    (out / "other" / "cam.npy").write_bytes(b"mine")
    done = runner.invoke(main, ["explain", str(chelsea), *TREE, "--method", "layercam", "--out", str(out)])
    assert done.exit_code == 0, done.output
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert left == ["explanation.json", "heatmap.png", "layercam.npy", "notes.txt", "other/cam.npy", "overlay.png"]
    assert not (out / "resnet18-photos100").exists()


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
