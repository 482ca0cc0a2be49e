"""A group of a model's classes: one class, or all classes below a node of its tree. What a map can be asked about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """`node` is the id of its node in the tree; None for a class of a model without a tree."""

    name: str
    classes: tuple[int, ...]  # indices, ascending; at least one
    node: str | None = None

    @property
    def index(self) -> int | None:
        """Of its class, where it is a single one."""
        return self.classes[0] if len(self.classes) == 1 else None
