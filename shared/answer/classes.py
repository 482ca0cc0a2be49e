"""Classes of a model, groups of them, and nodes of its tree, as an answer names them."""

from __future__ import annotations

from pydantic import Field

from shared.answer.record import Number, Record

SHORT_NAME = "As people say it; null in a result of an earlier version."


class ClassName(Record):
    """A class of a model."""

    index: int
    name: str


class ClassGroup(Record):
    """A class, or all classes below a node of the tree: what a map is of."""

    index: int | None = Field(default=None, description="Of the class; null for a node with several classes below it.")
    name: str
    node: str | None = Field(default=None, description="Its node in the tree; null for a model without one.")


class RankedClass(ClassName):
    """A class with its softmax probability, 0 to 1, and its logit."""

    short_name: str | None = Field(default=None, description=SHORT_NAME)
    probability: Number
    logit: Number


class ClassProbability(ClassName):
    """A class with its softmax probability, 0 to 1."""

    probability: Number


class NodeProbability(Record):
    """A node of the tree with the probability, 0 to 1, of choosing it at its parent."""

    node: str
    name: str
    probability: Number
