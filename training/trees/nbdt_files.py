"""The data files of nbdt 0.0.4 (MIT, Copyright (c) 2020 Alvin Wan): WordNet ids of data sets and trees over them.

They are read from the installed package. None of its code is: importing it runs a shell command and needs NLTK.

The induced trees of TinyImagenet200 put classes together as if their leaves stood in the order of sorted wnids, while
their leaves have the ids in the order of the wnids file: where orange and lemon ought to be, they say obelisk and
beaker. They are good for comparing rules, not for reading.
"""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec, module_from_spec

from shared.cards.hierarchy import Hierarchy
from shared.distribution import install
from shared.errors import InvalidHierarchy

LICENCE = "MIT, Copyright (c) 2020 Alvin Wan"


def nbdt_wnids(dataset: str) -> tuple[str, ...]:
    """The WordNet ids of CIFAR10, CIFAR100, TinyImagenet200 or Imagenet1000, in the order of their classes."""
    return tuple((_folder() / "wnids" / f"{dataset}.txt").read_text("utf-8").split())


def nbdt_hierarchy(dataset: str, graph: str) -> Hierarchy:
    """A tree that nbdt ships, such as `induced-ResNet18` of TinyImagenet200."""
    file = f"hierarchies/{dataset}/graph-{graph}.json"
    data = json.loads((_folder() / file).read_text("utf-8"))
    origin = f"nbdt 0.0.4: {file}"
    return Hierarchy.from_node_link(data, leaf_ids=list(nbdt_wnids(dataset)), origin=origin, licence=LICENCE)


def _folder() -> Traversable:
    spec = find_spec("nbdt")
    if spec is None:
        raise InvalidHierarchy(f"nbdt's files are not here; run: {install('test')}")
    return files(module_from_spec(spec))  # a module that has not been run
