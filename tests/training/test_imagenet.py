"""The folder of the ImageNet network is written again as it was committed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shared.settings import REPOSITORY
from tests.training.trees.nouns import needs_wordnet, real_wordnet
from training import imagenet
from training.imagenet import NAME, class_names, main

COMMITTED = REPOSITORY / "models" / NAME


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command writes, with the measured part of the committed card in it."""
    folder = tmp_path / "models" / NAME
    folder.mkdir(parents=True)
    card = json.loads((COMMITTED / "card.json").read_text("utf-8"))
    (folder / "card.json").write_text(json.dumps({"verdict": card["verdict"]}), "utf-8")
    monkeypatch.setattr(imagenet, "REPOSITORY", tmp_path)
    return folder


@needs_wordnet
def test_the_command_gives_the_committed_files_byte_for_byte(written: Path) -> None:
    result = CliRunner().invoke(main, [], catch_exceptions=False)
    assert result.exit_code == 0 and "1000 classes" in result.output
    for name in ("card.json", "hierarchy.json"):
        assert (written / name).read_bytes() == (COMMITTED / name).read_bytes()


@needs_wordnet
def test_weights_other_than_those_of_the_card_are_refused(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "sha256_of", lambda path: "0" * 64)
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1 and f"has SHA-256 {'0' * 64}, not the one of the card" in result.output


@needs_wordnet
def test_two_classes_of_the_same_first_word_say_which_of_them_is_meant() -> None:
    bird, machine, tench = "n02012849", "n03126707", "n01440764"
    names = class_names([bird, machine, tench], real_wordnet())
    assert names == ["crane (wading bird)", "crane (lifting device)", "tench, Tinca tinca"]
    with pytest.raises(click.ClickException, match="two classes have the same name"):
        class_names([bird, bird], real_wordnet())


def test_only_what_others_measured_is_kept_of_an_earlier_card(tmp_path: Path) -> None:
    assert imagenet._measured(tmp_path / "card.json") == {}
    shutil.copy(COMMITTED / "card.json", tmp_path / "card.json")
    assert set(imagenet._measured(tmp_path / "card.json")) == {"verdict"}
