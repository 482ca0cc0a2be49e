"""The decision path of an answer: one step for each decision, and what is said of it wherever it is shown."""

from __future__ import annotations

from pydantic import Field

from shared.answer.classes import ClassName, NodeProbability
from shared.answer.maps import DecisionMap
from shared.answer.record import Number, Record

WEAK_BELOW = 0.6  # of a decision's probability, where the model's card states no measured threshold


class Step(NodeProbability):
    """One decision: the node that was chosen among its siblings."""

    path_probability: Number = Field(description="Of all decisions up to this one.")
    entropy: Number = Field(description="Of the decision, in nats.")
    siblings: tuple[NodeProbability, ...] = ()
    map: DecisionMap | None = None

    @property
    def likelier_branch(self) -> NodeProbability | None:
        """The likeliest sibling, where it is likelier than the chosen node. A path leads to the likeliest class, which
        may lie below a branch whose classes together are less likely."""
        found = max(self.siblings, key=lambda sibling: sibling.probability, default=None)
        return found if found is not None and found.probability > self.probability else None

    @property
    def rival(self) -> NodeProbability | None:
        """The sibling that the step's map sets the chosen node against."""
        against = self.map.against if self.map else None
        return next((sibling for sibling in self.siblings if sibling.node == against), None)


class RunnerUp(Record):
    """The sibling that nearly won at the weakest step, and the class to which it would have led."""

    at: int
    node: str
    name: str
    leads_to: str
    probability: Number


class TreeArtifacts(Record):
    """The drawing of the path (.svg), by its name or its address."""

    tree: str


class DecisionPath(Record):
    """The decisions from the root of the tree to one class."""

    mode: str
    prediction: ClassName
    agrees_with_network: bool
    weakest: int = Field(description="The least probable step, counted from 0.")
    runner_up: RunnerUp | None = None
    artifacts: TreeArtifacts | None = Field(default=None, description="Null in a result of an earlier version.")
    steps: tuple[Step, ...]
    weak_below: float | None = Field(
        default=None, description="A step less probable than this is weak. Null in a result of an earlier version."
    )

    @property
    def weak_threshold(self) -> float:
        """The probability below which a decision of this path is weak."""
        return WEAK_BELOW if self.weak_below is None else self.weak_below

    def is_weak(self, number: int) -> bool:
        """Whether a step, counted from 0, is the weakest of the path, and weak: a weakest step of 99 % is none to
        doubt."""
        return number == self.weakest and self.steps[number].probability < self.weak_threshold
