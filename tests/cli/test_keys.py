"""`pathlight keys`: made, listed and revoked from the command line, against a real Redis."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.keys import Scope
from tests.documented import commands_of


@pytest.fixture
def runner(settings: Settings) -> CliRunner:
    return CliRunner(env=settings.to_environment())


def test_a_key_is_made_shown_once_listed_and_revoked(runner: CliRunner, store: JobStore) -> None:
    made = runner.invoke(main, ["keys", "create", "laptop"])
    assert made.exit_code == 0, made.output
    token = made.output.splitlines()[-1]
    key = store.keys.find(token)
    assert key is not None and key.scopes == {Scope.SUBMIT, Scope.READ}
    listed = runner.invoke(main, ["keys", "list"]).output
    assert "laptop" in listed and key.id in listed and "read, submit" in listed
    assert token not in listed and token[16:] not in listed
    assert runner.invoke(main, ["keys", "revoke", "laptop"]).exit_code == 0
    assert store.keys.find(token) is None
    assert "pathlight keys create" in runner.invoke(main, ["keys", "list"]).output


def test_the_commands_of_the_page_make_the_keys_that_it_says(runner: CliRunner, store: JobStore) -> None:
    made = {}
    for words in map(shlex.split, commands_of("docs/security.md")):
        done = runner.invoke(main, words[1:])
        assert done.exit_code == 0, done.output
        if words[2] == "create":
            made[words[3]] = store.keys.find(done.output.splitlines()[-1])
        if words[2] == "list":
            assert all(name in done.output for name in made)
    assert {name: set(key.scopes) for name, key in made.items() if key} == {
        "laptop": {Scope.SUBMIT, Scope.READ},
        "shop": {Scope.SUBMIT},
        "me": {Scope.ADMIN},
    }
    assert {key.name for key in store.keys.all()} == {"shop", "me"}


def test_what_cannot_be_done_is_said_in_a_sentence(runner: CliRunner, store: JobStore) -> None:
    assert runner.invoke(main, ["keys", "create", "a", "--scope", "admin"]).exit_code == 0
    for words, sentence in (
        (["create", "a"], "there is a key named a already"),
        (["create", "a b"], "must be letters"),
        (["revoke", "b"], "there is no key named b"),
        (["create", "c", "--scope", "all"], "'submit', 'read', 'admin'"),
    ):
        done = runner.invoke(main, ["keys", *words])
        assert done.exit_code != 0 and sentence in done.output, done.output


def test_without_redis_the_remedy_is_named(tmp_path: Path) -> None:
    away = CliRunner(env=Settings(home=tmp_path).to_environment())
    done = away.invoke(main, ["keys", "list"])
    assert done.exit_code == 1 and "Redis does not answer" in done.output
