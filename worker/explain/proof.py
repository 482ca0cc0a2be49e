"""Full proof of one image's maps: does the answer follow the map, does the map stay, does another method agree?

Every figure is measured on this very picture and costs passes through the network; that is why it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from shared.answer.maps import Faithfulness, MapAgreement, Stability
from shared.answer.record import Caution
from worker.explain.forward import SEED, Forward
from worker.explain.progress import OnProgress
from worker.methods import METHODS
from worker.methods.attribution import Subject, Watch
from worker.trust.agreement import agreement
from worker.trust.faithfulness import faithfulness_of_maps
from worker.trust.stability import stability
from worker.trust.warnings import stability_warnings

UNREPEATED = ("scorecam", "rise")  # hundreds of passes for one map: three more maps would take too long
SECOND = "occlusion"  # the method that others are held against: it looks at answers alone
SECOND_OF_SECOND = ("gradcam", "integrated-gradients")  # the first that the model can do


@dataclass(frozen=True)
class Proof:
    """What was measured of one map. `stability` is None for the methods that are too long to be repeated."""

    faithfulness: Faithfulness
    stability: Stability | None
    agreement: MapAgreement

    def warnings(self) -> list[Caution]:
        """What to warn of: a map that is not stable."""
        return stability_warnings(self.stability) if self.stability else []


def prove(forward: Forward, i: int, raws: Mapping[str, Tensor], *, progress: OnProgress) -> dict[str, Proof]:
    """Proof of image i's maps (h x w each), by method."""
    faithful = faithfulness_of_maps(
        partial(_answer, forward, i),
        forward.inputs[i],
        list(raws.values()),
        seed=SEED,
        watch=partial(progress, "faithfulness"),
    )
    able = forward.model.card.methods
    other = next(method for method in SECOND_OF_SECOND if method in able)
    seconds = {method: other if method == SECOND else SECOND for method in raws}
    others = {
        second: raws[second]
        if second in raws
        else _maps(forward, i, second, forward.inputs[[i]], watch=partial(progress, second))[0]
        for second in set(seconds.values())
    }
    found = {}
    for (method, raw), one in zip(raws.items(), faithful, strict=True):
        steady = None if method in UNREPEATED else _stability(forward, i, method, raw, progress=progress)
        found[method] = Proof(one, steady, agreement(raw, others[seconds[method]], method=seconds[method]))
    return found


def _answer(forward: Forward, i: int, inputs: Tensor) -> Tensor:
    """M probabilities of the target; of the target against the other group alone where one is contrasted."""
    logits, score = forward.model.logits(forward.model.features(inputs)), forward.score[[i]]
    if forward.contrasts[i] is None:
        return score.probabilities(logits)
    return score.of_logits(logits).sigmoid()


def _stability(forward: Forward, i: int, method: str, raw: Tensor, *, progress: OnProgress) -> Stability:
    std = forward.model.card.input.std
    again = partial(_maps, forward, i, method, watch=partial(progress, f"stability of {method}"))
    return stability(again, forward.inputs[[i]], raw[None], std=std, seed=SEED)[0]


def _maps(forward: Forward, i: int, method: str, inputs: Tensor, *, watch: Watch) -> Tensor:
    """The map that a method draws of other inputs (1 x 3 x S x S) for image i's target."""
    with torch.no_grad():
        features = forward.model.features(inputs)
        subject = Subject(forward.model, inputs, features, forward.model.logits(features), forward.score[[i]])
    return METHODS[method](subject, seed=SEED, watch=watch).maps
