"""The small dictionary, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.trees.nouns import write_nouns
from training.trees.wordnet import WordNet


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    return WordNet.load(write_nouns(tmp_path))
