"""Decision paths: every step with its siblings, its map and the map's certificate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.answer.classes import ClassName, NodeProbability
from shared.answer.maps import DecisionMap, MapArtifacts
from shared.answer.path import DecisionPath, RunnerUp, Step, TreeArtifacts
from shared.cards.card import ModelCard
from shared.cards.hierarchy import Hierarchy
from worker.algebra import maps
from worker.algebra.decisions import DecisionMaps, chosen_and_rivals, decision_maps
from worker.algebra.tree import TreeMode, infer
from worker.engine.models import Model


@dataclass(frozen=True)
class DecisionPaths:
    """The paths of a batch under one mode. Their maps need a linear head."""

    card: ModelCard
    tree: Hierarchy
    mode: TreeMode
    predictions: list[int]
    edges: list[list[int]]  # N x S, the edge chosen at each step; E past the end of a path
    rivals: list[list[int]]  # N x S, the strongest other edge; the chosen one where there is none
    edge_p: list[list[float]]  # N x E
    maps: NDArray[np.float32] | None  # N x S x h x w
    statistics: list[list[list[float]]]  # N x S x 7 of the maps: see `_statistics`

    @classmethod
    def of(cls, model: Model, features: Tensor, logits: Tensor, *, mode: TreeMode) -> DecisionPaths:
        """From the features and N x K logits of N images."""
        tree, matrices = model.card.hierarchy, model.matrices
        assert tree is not None and matrices is not None, "a tree was asked of a model without one"
        inference = infer(logits, matrices, mode=mode)
        if model.tree_head is None:
            found, (edges, rivals) = None, chosen_and_rivals(matrices, inference)
        else:
            found = decision_maps(features, logits, model.tree_head, matrices, inference)
            edges, rivals = found.edges, found.rivals
        return cls(
            model.card,
            tree,
            mode,
            inference.prediction.tolist(),
            edges.tolist(),
            rivals.tolist(),
            inference.edge_log_p.exp().tolist(),
            found.maps.cpu().numpy() if found else None,
            _statistics(found) if found else [],
        )

    def path(self, i: int, *, network_class: int, weak_below: float) -> DecisionPath:
        """The path of image i; a decision less probable than `weak_below` is weak."""
        leaf = self.predictions[i]
        steps = self._steps(i)
        weakest = min(range(len(steps)), key=lambda step: steps[step].probability)
        return DecisionPath(
            mode=self.mode.value,
            prediction=ClassName(index=leaf, name=self.card.classes[leaf]),
            agrees_with_network=leaf == network_class,
            weakest=weakest,
            runner_up=self._runner_up(i, weakest),
            artifacts=TreeArtifacts(tree=f"{self.card.name}.tree.svg"),
            steps=tuple(steps),
            weak_below=weak_below,
        )

    def arrays(self, i: int) -> dict[str, NDArray[np.float32]]:
        """The raw maps of image i's steps, by artifact name."""
        if self.maps is None:
            return {}
        return {self._map_name(step): raw for step, raw in enumerate(self.maps[i]) if self._rival(i, step) is not None}

    def _steps(self, i: int) -> list[Step]:
        path_p, steps = 1.0, []
        for number, edge in enumerate(self.edges[i]):
            if edge == len(self.tree.edges):
                break
            path_p *= self.edge_p[i][edge]
            parent = self.tree.edges[edge][0]
            branches = [self.tree.edge_into[child] for child in self.tree.by_id[parent].children]
            steps.append(
                Step(
                    **dict(self._node(i, edge)),
                    path_probability=path_p,
                    entropy=_entropy([self.edge_p[i][branch] for branch in branches]),
                    siblings=tuple(self._node(i, branch) for branch in branches if branch != edge),
                    map=self._map(i, number),
                )
            )
        return steps

    def _node(self, i: int, edge: int) -> NodeProbability:
        node = self.tree.edges[edge][1]
        return NodeProbability(node=node, name=self.card.node_name(node), probability=self.edge_p[i][edge])

    def _map(self, i: int, step: int) -> DecisionMap | None:
        """The map of one decision; None where there was nothing to decide, or the head is not linear."""
        rival = self._rival(i, step)
        if rival is None or self.maps is None:
            return None
        mean, low, high, constant, margin, entropy_term, terms = self.statistics[i][step]
        tolerance = maps.TOLERANCE[torch.float32]
        return DecisionMap(
            against=self.tree.edges[rival][1],
            grid=self.maps.shape[2:],
            artifacts=MapArtifacts.named(self._map_name(step)),
            range=(low, high),
            entropy_term=entropy_term,
            exactness=maps.certify(mean, terms=terms, constant=constant, score=margin, tolerance=tolerance),
        )

    def _rival(self, i: int, step: int) -> int | None:
        """The strongest other edge, where there was something to decide."""
        rival = self.rivals[i][step]
        return None if rival == self.edges[i][step] else rival

    def _map_name(self, step: int) -> str:
        return f"{self.card.name}.step-{step + 1}"

    def _runner_up(self, i: int, weakest: int) -> RunnerUp | None:
        """The branch that nearly won at the weakest step, and the class to which its best children lead."""
        rival = self._rival(i, weakest)
        if rival is None:
            return None
        node = self.tree.by_id[self.tree.edges[rival][1]]
        while node.leaf is None:
            node = self.tree.by_id[max(node.children, key=lambda child: self.edge_p[i][self.tree.edge_into[child]])]
        return RunnerUp(at=weakest, **dict(self._node(i, rival)), leads_to=self.card.classes[node.leaf])


def _statistics(decisions: DecisionMaps) -> list[list[list[float]]]:
    """What is said of every map, N x S x 7: the mean of its cells, its range, constant, margin, entropy term and terms.
    Of a whole batch at once, since each look at a tensor takes its time."""
    cells, said = decisions.maps.double().flatten(2), decisions
    of_cells = (cells.mean(2), cells.amin(2), cells.amax(2))
    values = (*of_cells, said.constants, said.margins, said.entropies, said.terms)
    found: list[list[list[float]]] = torch.stack([one.double() for one in values], dim=2).tolist()
    return found


def _entropy(probabilities: Sequence[float]) -> float:
    """In nats."""
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0)
