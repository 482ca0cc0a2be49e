"""Every command of README and docs is run by a test, or its page says that it is not run here; those within a sentence
are there."""

from __future__ import annotations

import ast
import re
import shlex
from importlib.util import find_spec

import click
import pytest

from cli.main import main
from shared.settings import REPOSITORY
from tests.documented import PAGES, commands_of, inline_code

ITSELF, NOT_HERE = "what runs the tests", "not run here"
# How commands of a page begin, and the test that takes them from the page and runs them.
RUN = {
    "README.md": {
        "make run": "tests/test_readme.py::test_make_run_starts_what_the_flow_tests_start",
        "make test": ITSELF,
        "curl ": "tests/flow/test_service.py::test_the_readmes_commands_speak_to_the_service",
        ".venv/bin/pathlight explain photo.jpg --out": (
            "tests/test_readme.py::test_the_readmes_explain_command_prints_the_tutorials_lines_and_writes_its_files"
        ),
        ".venv/bin/pathlight explain photo.jpg --model": (
            "tests/test_readme.py::test_the_readmes_command_for_another_method_prints_its_proof"
        ),
        **{
            f".venv/bin/pathlight {name}": "tests/flow/test_service.py::test_the_readmes_commands_speak_to_the_service"
            for name in ("submit", "bulk", "models", "doctor")
        },
    },
    "docs/bulk.md": {
        "pathlight bulk": "tests/flow/test_bulk.py::test_the_commands_of_the_page_do_what_it_says",
        "curl ": "tests/flow/test_bulk.py::test_the_pages_request_makes_a_batch",
    },
    "docs/client.md": {
        "pip install ./client": "tests/test_distribution.py::test_the_pages_command_installs_the_client_alone",
    },
    "docs/maintenance.md": {
        **dict.fromkeys(
            ("export ", "pathlight verify", "unzip "),
            "tests/cli/test_verify.py::test_a_real_answer_is_signed_and_comes_out_again_by_the_commands_of_the_page",
        ),
        **dict.fromkeys(
            ("pathlight backup", "PATHLIGHT_HOME=/new/place pathlight restore"),
            "tests/cli/test_backup.py::test_without_a_running_service_the_pages_commands_save_and_bring_back_too",
        ),
        "PATHLIGHT_HOME=/new/place pathlight run": "tests/flow/conftest.py::running",
        "docker ": NOT_HERE,
    },
    "docs/models.md": {
        **dict.fromkeys(
            ("pathlight models add", "pathlight explain", "pathlight train-tree"),
            "tests/flow/test_own_models.py::test_every_command_of_the_page_works",
        ),
        "pathlight models remove": "tests/flow/test_own_models.py::test_the_last_command_removes_a_model",
        "pathlight models": "tests/flow/test_own_models.py::test_every_command_of_the_page_works",
    },
    "docs/operations.md": {
        ".venv/bin/pathlight doctor": "tests/test_operations.py::test_the_doctors_command_ends_as_the_page_says",
        "curl ": "tests/test_operations.py::test_the_routes_answer",
        "docker ": NOT_HERE,
    },
    "docs/scaling.md": {
        **dict.fromkeys(
            (".venv/bin/pip ", "export PATHLIGHT_BLOBS", "pathlight doctor"),
            "tests/shared/test_bucket.py::test_the_pages_commands_name_a_bucket_and_say_whether_it_answers",
        ),
        **dict.fromkeys(
            ("PATHLIGHT_POOL=", "pathlight pools"),
            "tests/cli/test_pools.py"
            "::test_the_pages_worker_takes_the_jobs_of_its_pool_and_leaves_others_which_are_reported",
        ),
    },
    "docs/security.md": {
        "pathlight keys": "tests/cli/test_keys.py::test_the_commands_of_the_page_make_the_keys_that_it_says",
    },
    "docs/trees.md": {
        "pathlight tree build": (
            "tests/cli/test_tree.py::test_the_trees_that_ship_are_what_the_commands_of_the_page_build"
        ),
    },
    "docs/webhooks.md": dict.fromkeys(
        ("export ", "curl "), "tests/web/test_webhook.py::test_the_pages_commands_switch_webhooks_on_and_name_one"
    ),
}
LINES = [(page, line) for page in PAGES for line in commands_of(page)]
TESTS = sorted({test for found in RUN.values() for test in found.values()} - {ITSELF, NOT_HERE})


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line[:40]}" for page, line in LINES])
def test_a_command_is_run_by_a_test_or_its_page_says_that_it_is_not(page: str, line: str) -> None:
    found = [test for beginning, test in RUN.get(page, {}).items() if line.startswith(beginning)]
    assert found
    assert found != [NOT_HERE] or NOT_HERE in " ".join((REPOSITORY / page).read_text("utf-8").split())


@pytest.mark.parametrize("test", TESTS)
def test_the_test_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def is_there(line: str) -> bool:
    """Whether a command of the running text could be given: its name, and its options."""
    program, *words = shlex.split(line)
    if program == "make":
        return re.search(rf"^{words[0]}:", (REPOSITORY / "Makefile").read_text("utf-8"), re.M) is not None
    if program == "python":
        return words[0] == "-m" and find_spec(words[1]) is not None
    command: click.Command = main
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    asked = {word for word in words if word.startswith("--")}
    return command is not main and asked <= known and not (isinstance(command, click.Group) and set(words) - asked)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_a_sentence_are_there_and_those_for_docker_are_said_not_to_be_run_here(page: str) -> None:
    text = (REPOSITORY / page).read_text("utf-8")
    lines = {code for code in inline_code(text) if " " in code}
    ours = {line for line in lines if line.split()[0] in ("pathlight", "make", "python")}
    assert [line for line in sorted(ours) if not is_there(line)] == []
    assert NOT_HERE in " ".join(text.split()) or not any(line.startswith(("docker ", "kubectl ")) for line in lines)


def test_a_command_that_there_is_not_would_be_found() -> None:
    lines = "pathlight tree build NAME", "pathlight gc --dry-run", "make quality", "python -m bench.scaling"
    assert all(map(is_there, lines))
    gone = "pathlight treebuild", "pathlight gc --dry", "pathlight tree grow", "make haste", "python -m bench.gone"
    assert not any(map(is_there, gone))


def test_no_entry_is_left_over() -> None:
    assert RUN.keys() == {page for page, _ in LINES}
    for page, found in RUN.items():
        assert all(any(line.startswith(beginning) for line in commands_of(page)) for beginning in found), page
