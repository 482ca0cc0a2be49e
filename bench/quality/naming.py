"""Q12: whether the inner nodes of trees have real, unique and true names, on four families of trees that come without.

    python -m bench.quality.naming

prints a digest of all names, which must not depend on the process's hash seed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from bench.figures import Figure
from bench.quality.context import Context, Sizes, progress
from shared.settings import REPOSITORY
from training.trees.naming_figures import NamingFigures, naming_figures
from training.trees.nbdt_files import nbdt_hierarchy, nbdt_wnids
from training.trees.node_names import name_nodes
from training.trees.wordnet import WordNet

FAMILIES = {
    "CIFAR10": "induced-wrn28_10_cifar10",
    "CIFAR100": "induced-wrn28_10_cifar100",
    "TinyImagenet200": "induced-ResNet18",
    "Imagenet1000": "induced-efficientnet_b7b",
}
NAMED_ALL = "CIFAR10"  # the family that must be named wholly


def naming(context: Context, n: Sizes) -> list[Figure]:
    """Q12. The trees are nbdt's; without our names they show 9 of 9, 0 of 99, 0 of 199 and 0 of 999 real ones."""
    wordnet, figures = WordNet.load(), []
    for dataset, graph in FAMILIES.items():
        tree = nbdt_hierarchy(dataset, graph)
        before = sum(node.name is not None for node in tree.decisions)
        figures.append(_family(dataset, naming_figures(tree, nbdt_wnids(dataset), wordnet), before))
    return [*figures, _determinism(n["hash seeds"])]


def _family(dataset: str, found: NamingFigures, before: int) -> Figure:
    return Figure(
        f"Q12 named nodes, {dataset}",
        100 * found.named,
        "%",
        n=found.decisions,
        target=">= 100" if dataset == NAMED_ALL else ">= 90",
        controls={
            "named in nbdt's file": 100 * before / found.decisions,
            "very general": 100 * found.generic,
            "all unique": float(found.unique),
            "all true of their leaves": float(found.consistent),
        },
        meaning="Share of the tree's decisions with a name from WordNet or from the file; 1 for unique says that no "
        "two share a name, 1 for true that every class below a node is a kind of what its name says.",
    )


def _determinism(seeds: int) -> Figure:
    digests = {_digest_under(seed) for seed in progress(range(seeds), "names under hash seeds")}
    return Figure(
        "Q12 different namings under different hash seeds",
        len(digests),
        n=seeds,
        target="<= 1",
        meaning="The names come out the same in every process.",
    )


def _digest_under(seed: int) -> str:
    return subprocess.run(
        [sys.executable, "-m", "bench.quality.naming"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def digest() -> str:
    """SHA-256 of the names of all families."""
    wordnet, state = WordNet.load(), hashlib.sha256()
    for dataset, graph in FAMILIES.items():
        state.update(repr(name_nodes(nbdt_hierarchy(dataset, graph), nbdt_wnids(dataset), wordnet)).encode())
    return state.hexdigest()


if __name__ == "__main__":
    print(digest())
