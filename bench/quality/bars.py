"""The bars by number: what each is called, what measures it, and on how many pictures, in full and in a quick trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.figures import Figure
from bench.quality import (
    calibration,
    contrast,
    cost,
    exactness,
    faithfulness,
    localisation,
    mosaics,
    naming,
    photographs,
    randomisation,
    stability,
    sure,
    trees,
    verdicts,
)
from bench.quality.context import IMAGENET, SHIPPED, Context, Sizes


@dataclass(frozen=True)
class Bar:
    """One quality bar. The sizes are chosen so that all bars together take about 30 minutes on two cores."""

    title: str
    measure: Callable[[Context, Sizes], list[Figure]]
    full: Sizes
    quick: Sizes
    cards: tuple[str, ...] = ()  # models whose whole cards it depends on, with their limits, and not on weights alone


BARS: Mapping[str, Bar] = {
    "Q1": Bar("CAM exactness", exactness.classes, {"pictures": 1000}, {"pictures": 4}),
    "Q2": Bar(
        "Decision exactness",
        exactness.decisions,
        {"pictures": 200, "imagenet pictures": 4},
        {"pictures": 2, "imagenet pictures": 1},
    ),
    "Q3": Bar("Parity with nbdt", trees.parity, {"pictures": 10_000, "random": 512}, {"pictures": 8, "random": 8}),
    "Q4": Bar("Accuracy of the tree", trees.accuracy, {"pictures": 10_000}, {"pictures": 16}),
    "Q5": Bar(
        "Faithfulness",
        faithfulness.faithfulness,
        {"photos": 150, "cifar pictures": 200},
        {"photos": 1, "cifar pictures": 1},
    ),
    "Q6": Bar("Localisation", localisation.localisation, {"pictures": 5000}, {"pictures": 8}),
    "Q7": Bar(
        "Grid pointing",
        mosaics.grid_pointing,
        {"mosaics": 250, "guided mosaics": 50},
        {"mosaics": 1, "guided mosaics": 1},
    ),
    "Q8": Bar(
        "Randomisation",
        randomisation.randomisation,
        {"pictures": 200, "guided pictures": 40, "seeds": 5},
        {"pictures": 2, "guided pictures": 2, "seeds": 1},
    ),
    "Q9": Bar(
        "Stability",
        stability.robustness,
        {"cifar pictures": 500, "photos": 2500},  # of photos few maps are unstable
        {"cifar pictures": 4, "photos": 4},
    ),
    "Q10": Bar("Calibration", calibration.calibration, {"pictures": 10_000}, {"pictures": 32}),
    "Q11": Bar("Contrast maps", contrast.contrast, {"pictures": 500}, {"pictures": 4}),
    "Q12": Bar("Names of decisions", naming.naming, {"hash seeds": 10}, {"hash seeds": 1}),
    "Q13": Bar(
        "Cost",
        cost.cost,
        {"batch": 32, "rounds": 7, "rows": 1024, "walks": 3, "scorecam side": 224, "scorecams": 2},
        {"batch": 2, "rounds": 1, "rows": 8, "walks": 1, "scorecam side": 32, "scorecams": 1},
    ),
    "Q15": Bar(
        "Photographs",
        photographs.photographs,
        {"photographs": 500, "photographs for maps": 100, "photographs for nodes": 50},
        {"photographs": 8, "photographs for maps": 2, "photographs for nodes": 1},
        (IMAGENET,),
    ),
    "Q16": Bar(
        "Sure answers",
        sure.sure_answers,
        {"held-out images": 1000, "splits": 20},
        {"held-out images": 8, "splits": 2},
        (IMAGENET, *SHIPPED),
    ),
    "Q17": Bar(
        "Verdicts",
        verdicts.verdicts,
        {"photographs": 500, "generated": 50, "small images": 200},
        {"photographs": 8, "generated": 1, "small images": 2},
        (IMAGENET, *SHIPPED),
    ),
}
