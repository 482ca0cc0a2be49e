"""Trees and names are the same in every process, whatever the hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from shared.settings import REPOSITORY
from tests.training.trees.nouns import (
    BEAST,
    BIRD_CRANE,
    CAT,
    DOG,
    DRUM,
    GREY_CRANE,
    HAMSTER,
    MAMMAL,
    TABBY,
    TOM,
    TOWER_LIFT,
    installed,
    wnid,
    write_extract,
    write_nouns,
)
from training.trees.nbdt_files import nbdt_wnids

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from training.trees.induced_tree import Leaf, induced_hierarchy
from training.trees.node_names import name_nodes, with_names
from training.trees.tree_file import to_text
from training.trees.wordnet import WordNet
from training.trees.wordnet_tree import wordnet_hierarchy

for folder, wnids in json.loads(sys.argv[1]).items():
    wordnet = WordNet.load(Path(folder))
    print(to_text(wordnet_hierarchy(wnids, wordnet)))
    rows = np.random.default_rng(0).normal(size=(len(wnids), 8))
    tree = induced_hierarchy(rows, [Leaf(wnid, wordnet.name(wnid)) for wnid in wnids], normalise=True)
    print(to_text(with_names(tree, name_nodes(tree, wnids, wordnet))))
"""


def output(cases: dict[str, list[str]], *, seed: int) -> str:
    """What a fresh process makes of classes, by the folder of their dictionary."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_trees_and_names_are_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    offsets = (DOG, TABBY, TOM, CAT, HAMSTER, BIRD_CRANE, GREY_CRANE, TOWER_LIFT, 121, DRUM, BEAST, MAMMAL)
    cases = {str(write_nouns(tmp_path)): [wnid(offset) for offset in offsets]}
    if installed():
        (tmp_path / "real").mkdir()
        wnids = nbdt_wnids("TinyImagenet200")
        cases[str(write_extract(tmp_path / "real", wnids))] = list(wnids)
    outputs = [output(cases, seed=seed) for seed in (0, 1, 2)]
    assert "entity (" in outputs[0]
    assert set(outputs) == {outputs[0]}
