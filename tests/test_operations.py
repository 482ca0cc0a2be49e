"""docs/operations.md is true: its commands run, its routes answer, and the settings that it names are there."""

from __future__ import annotations

import logging
import re
import shlex
import subprocess
from dataclasses import fields

import pytest
import yaml
from click.testing import CliRunner
from flask.testing import FlaskClient

from cli.main import main
from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.logs import Structured
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from shared.tracing import Trace, tracing
from tests.documented import commands, inline_code
from tests.web.test_access import make_app

PAGE = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
COMMANDS = [shlex.split(command) for command in commands(PAGE)]


@pytest.fixture
def client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    return make_app(settings, store, blobs, registry).test_client()


def test_the_page_has_no_command_that_is_not_tried_here() -> None:
    assert {words[0].rpartition("/")[2] for words in COMMANDS} == {"pathlight", "curl", "docker"}


def test_the_doctors_command_ends_as_the_page_says(store: JobStore, settings: Settings) -> None:
    (words,) = (words[1:] for words in COMMANDS if words[0].endswith("pathlight"))
    environment = settings.to_environment()
    ill = CliRunner(env=environment).invoke(main, words)
    assert ill.exit_code == 1 and "MEND 0 workers heard" in ill.output
    store.heartbeat("worker@here")
    store.reap()
    sound = CliRunner(env=environment).invoke(main, words)
    assert sound.exit_code == 0 and "MEND" not in sound.output, sound.output


def test_the_routes_answer(client: FlaskClient, store: JobStore) -> None:
    paths = [words[1].partition(":8000")[2] for words in COMMANDS if words[0] == "curl"]
    assert paths == ["/readyz", "/metrics"]
    assert client.get("/readyz").status_code == 503 and "no worker" in client.get("/readyz").get_json()["detail"]
    store.heartbeat("worker@here")
    assert [client.get(path).status_code for path in paths] == [200, 200]


def test_the_line_that_the_page_looks_for_is_what_the_log_writes() -> None:
    (words,) = (words for words in COMMANDS if words[0] == "docker")
    with tracing(Trace(request_id="one-request")):
        line = Structured().format(logging.LogRecord("a", logging.INFO, "f", 1, "hello", (), None))
    found = subprocess.run(words[words.index("|") + 1 :], input=line, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == line
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))["services"]
    assert {"web", "worker"} <= services.keys() & set(words)


def test_the_settings_that_the_page_names_are_there() -> None:
    named = {name for code in inline_code(PAGE) for name in re.findall(r"PATHLIGHT_\w+", code)}
    assert named and named <= {f"PATHLIGHT_{field.name.upper()}" for field in fields(Settings)}


def test_the_scrape_settings_read_the_rules_under_the_name_that_they_expect() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    configuration = yaml.safe_load(text)
    (job,) = configuration["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in (REPOSITORY / "deploy" / configuration["rule_files"][0]).read_text()
    assert list(job["http_headers"]) == ["X-API-Key"]
