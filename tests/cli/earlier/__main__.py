"""Makes a backup of this version for the tests of later ones: python -m tests.cli.earlier VERSION

It starts a service, asks small questions of every kind, and backs it up into this folder, beside what was answered.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from PIL import Image

from cli.main import main
from pathlight_client import Pathlight
from shared.settings import Settings
from tests.conftest import encoded, wait_for
from tests.flow.conftest import running

FOLDER = Path(__file__).parent
MODEL = "nbdt-cifar10"


def picture(seed: int) -> bytes:
    """64 x 48 pixels of smooth colours."""
    colours = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return encoded(Image.fromarray(colours).resize((64, 48), Image.Resampling.BICUBIC))


def mask() -> bytes:
    """Hides the left half."""
    hidden = Image.new("L", (64, 48))
    hidden.paste(255, (0, 0, 30, 48))
    return encoded(hidden)


def ask(pathlight: Pathlight) -> dict[str, Any]:
    """Ended jobs by what is asked, and the id of a batch that has ended."""
    plain = pathlight.submit(picture(1), models=[MODEL])
    pathlight.wait(plain["id"])
    asked = {
        "plain": plain,
        "methods": pathlight.submit(picture(2), models=[MODEL], methods=["cam", "gradcam", "occlusion"], trust="full"),
        "contrast": pathlight.submit(picture(3), models=[MODEL], target="cat", contrast="dog", tree="hard"),
        "what-if": pathlight.submit(picture(1), models=[MODEL], mask=mask(), fill="mean", parent=plain["id"]),
        "pair": pathlight.submit(picture(4)),
        "failed": pathlight.submit(picture(5)[:-600], models=[MODEL]),
    }
    batch = pathlight.submit_batch([picture(seed) for seed in (10, 11, 12)], models=[MODEL])["id"]
    wait_for(lambda: bool(pathlight.batch(batch)["status"] == "finished"), seconds=60)
    ended = {name: pathlight.wait(job["id"]) for name, job in asked.items()}
    kept = {name: {key: job[key] for key in ("id", "status", "result")} for name, job in ended.items()}
    return {"jobs": kept, "batch": batch}


if __name__ == "__main__":
    version = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with running(home, Path(folder) / "log") as service, Pathlight(str(service.client.base_url)) as pathlight:
            answered = ask(pathlight)
            environment = Settings(home=home).to_environment()
            done = CliRunner(env=environment).invoke(main, ["backup", str(FOLDER / f"pathlight-{version}.tar")])
            print(done.output)
    (FOLDER / f"pathlight-{version}.json").write_text(json.dumps(answered, separators=(",", ":")) + "\n", "utf-8")
