"""The file hierarchy.json of a model: its text, a safe way to write it, and what it holds in one line."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from shared.cards.hierarchy import Hierarchy
from shared.errors import StorageFailed
from training.trees.node_names import is_generic

FILE = "hierarchy.json"
LISTED = 5  # how many generic names a description lists


def to_text(tree: Hierarchy) -> str:
    """JSON with one line for each node."""
    data = tree.to_dict()
    nodes = ",\n".join(f"  {json.dumps(node, ensure_ascii=False)}" for node in data.pop("nodes"))
    head = "".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n" for key, value in data.items())
    return f'{{\n{head} "nodes": [\n{nodes}\n ]\n}}\n'


def write_tree(tree: Hierarchy, folder: Path) -> Path:
    """Put the tree into a model's folder, whole or not at all. Raises StorageFailed."""
    path = folder / FILE
    try:
        handle, partial = tempfile.mkstemp(prefix=".hierarchy-", suffix=".partial", dir=folder)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(to_text(tree))
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror}") from error
    return path


def describe(tree: Hierarchy) -> str:
    """One line on the tree's shape and names."""
    depth = max(len(tree.path_to(leaf)) for leaf in range(tree.class_count))
    widest = max(len(node.children) for node in tree.decisions)
    names = [node.name for node in tree.decisions]
    generic = [name for name in names if name is not None and is_generic(name)]
    listed = ", ".join(generic[:LISTED]) + (", …" if len(generic) > LISTED else "")
    return (
        f"{len(names)} decisions over {tree.class_count} classes, {depth} deep and {widest} wide at most; "
        f"generic names: {len(generic)}{f' ({listed})' if generic else ''}; without a name: {names.count(None)}"
    )
