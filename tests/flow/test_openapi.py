"""The running service and its OpenAPI document agree, whatever is asked: schemathesis probes every operation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.conftest import encoded
from tests.flow.conftest import Service
from tests.flow.test_service import answer

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_no_request_breaks_the_service_or_its_description(
    shared_service: Service, photos: dict[str, Image.Image], tmp_path: Path
) -> None:
    assert answer(shared_service, encoded(photos["chelsea"]))["status"] == "succeeded"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{shared_service.client.base_url}/api/v1/openapi.json"),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--mode", "all"),
        *("--seed", "1", "--max-examples", "6", "--workers", "2", "--continue-on-failure", "--no-shrink"),
        *("--request-timeout", "60", "--no-color"),  # a batch's report takes its time
    ]
    probe = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert probe.returncode == 0, probe.stdout[-20_000:] + probe.stderr[-2000:]
    assert shared_service.is_ready()
