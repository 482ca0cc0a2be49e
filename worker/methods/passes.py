"""Forward passes in counted chunks, for the methods that need hundreds of them for one picture."""

from __future__ import annotations

from torch import Tensor

from worker.algebra.score import Score
from worker.methods.attribution import Network, Watch

CHUNK = 8
"""Inputs in one forward pass. A CPU gains nothing from more, and a watch hears of each chunk, so it bounds both the
memory and the time that a cancelled job still takes."""


class Passes:
    """Runs inputs through trunk and head, and tells the watch after each chunk how many of all are done."""

    def __init__(self, network: Network, *, total: int, watch: Watch) -> None:
        self._network = network
        self._total = total
        self._watch = watch
        self._done = 0

    def logits(self, inputs: Tensor) -> Tensor:
        """N x 3 x S x S -> N x K. Raises what the watch raises."""
        logits = self._network.logits(self._network.trunk(inputs))
        self._done += len(inputs)
        self._watch(self._done, self._total)
        return logits

    def more(self, count: int) -> None:
        """So many are to come that nobody had counted on."""
        self._total += count

    def scores(self, score: Score, inputs: Tensor) -> Tensor:
        """N x 3 x S x S -> N, the scores of one question."""
        return score.of_logits(self.logits(inputs))
