"""Q6: whether class activation maps lie on the object, by the boxes of photos100, against maps of the centre."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.figures import Figure, estimate, ratio_of_means, show
from bench.quality import boxes
from bench.quality.context import PHOTOS, Context, Sizes, progress
from worker.algebra import maps
from worker.trust.faithfulness import enlarged

SMALL = 0.5  # of the picture: a box that covers less leaves a map something to find
DRAWN = "the boxes themselves on the grid of the maps"
CENTRE_SD = 16.0  # pixels of a picture of 64
PUBLISHED_TOP1 = 40.55  # per cent; CAM on Tiny ImageNet (paperswithcode), setup unknown


def localisation(context: Context, n: Sizes) -> list[Figure]:
    """Q6, on the maps of the labelled class."""
    held = context.held_out(PHOTOS)
    if held.pictures.boxes is None:
        return [Figure("Q6 localisation", None, reason="the pictures at hand have no boxes")]
    features, side = held.features(n["pictures"]), held.pictures.images.shape[-1]
    truth, labels = held.pictures.boxes[: len(features)], held.labels[: len(features)]
    raw = enlarged(maps.linear_maps(features, held.model.weight[labels]), side)
    found = torch.cat(
        [
            boxes.found_by_threshold(part, box)
            for part, box in progress(list(zip(raw.split(50), truth.split(50), strict=True)), "boxes of the maps")
        ]
    )
    right = held.logits[: len(features)].argmax(1) == labels
    small = boxes.inside(truth, side).double().mean((1, 2)) < SMALL
    grid = features.shape[-1]
    enriched, accuracy = _enrichment(raw, truth, grid), _box_accuracy(found, truth, side)
    out = [_pointing(raw, truth), _top1(found, right, truth, side)]
    if not small.any():
        return [enriched, accuracy, *out]
    of_small = _enrichment(raw[small], truth[small], grid), _box_accuracy(found[small], truth[small], side)
    return [
        enriched.explained(_why_enriched(raw, truth, right, enriched, of_small[0])),
        accuracy.explained(_why_accurate(accuracy, of_small[1])),
        *(
            replace(figure, name=f"{figure.name}, objects under half of the picture", target=None)
            for figure in of_small
        ),
        *out,
    ]


def _enrichment(raw: Tensor, truth: Tensor, grid: int) -> Figure:
    """`grid` cells a side are what the maps had before they were enlarged."""
    centre = boxes.centre_gaussian(raw.shape[-1], sd=CENTRE_SD).expand_as(raw)
    bell = ratio_of_means(boxes.shares(centre, truth).numpy())
    inside = boxes.inside(truth, raw.shape[-1])
    coarse = functional.adaptive_avg_pool2d(inside.double().unsqueeze(1), grid)[:, 0]
    return estimate(
        "Q6 enrichment",
        boxes.shares(raw, truth).numpy(),
        unit="x",
        statistic=ratio_of_means,
        target=f">= 1.35 and low > {bell:.4g}",
        controls={
            "centre Gaussian": bell,
            DRAWN: ratio_of_means(boxes.shares(enlarged(coarse, raw.shape[-1]), truth).numpy()),
            "highest possible": 1 / float(inside.double().mean()),
        },
        meaning="How much more of a map's positive mass lies in the object's box than the box's share of the picture.",
    )


def _why_enriched(raw: Tensor, truth: Tensor, right: Tensor, whole: Figure, small: Figure) -> str:
    highest, blob = whole.controls["highest possible"], "centre Gaussian"
    return (
        f"Maps drawn from the boxes themselves on the same grid reach {whole.controls[DRAWN]:.3f}, and one blob in the "
        f"middle of every picture {whole.controls[blob]:.3f}, since the boxes cover {1 / highest:.0%} of these "
        f"pictures. Where an object covers less than half of its picture the maps reach {show(small.value)} against "
        f"{small.controls[blob]:.3f} of the blob. Where the network answers rightly, on "
        f"{right.double().mean():.0%} of the pictures, they reach {_among(raw, truth, right)}; where it errs, "
        f"{_among(raw, truth, ~right)}."
    )


def _among(raw: Tensor, truth: Tensor, which: Tensor) -> str:
    return show(ratio_of_means(boxes.shares(raw[which], truth[which]).numpy())) if which.any() else "nothing"


def _pointing(raw: Tensor, truth: Tensor) -> Figure:
    centre = boxes.centre_gaussian(raw.shape[-1], sd=CENTRE_SD).expand_as(raw)
    middle = 100 * float(boxes.hits(centre, truth).double().mean())
    return estimate(
        "Q6 pointing game",
        100 * boxes.hits(raw, truth).double().numpy(),
        unit="%",
        target=f"> {middle:.4g} and low > {middle:.4g}",
        controls={"centre point": middle},
        meaning="Share of pictures where the highest point of the map lies in the object's box.",
    )


def _box_accuracy(found: Tensor, truth: Tensor, side: int) -> Figure:
    best = int(found.double().mean(0).argmax())
    box, fixed = boxes.best_centre_box(truth, side)
    return estimate(
        "Q6 MaxBoxAcc",
        100 * found[:, best].double().numpy(),
        unit="%",
        target=f"> {100 * fixed:.4g} and low > {100 * fixed:.4g}",
        controls={"best fixed centre box": 100 * fixed, "threshold": float(boxes.THRESHOLDS[best])},
        meaning="Share of pictures where the box around the map's largest region, at the best of 20 thresholds, "
        "overlaps the object's box by half of their union.",
    )


def _why_accurate(whole: Figure, small: Figure) -> str:
    fixed = "best fixed centre box"
    return (
        "A fixed box in the middle is a strong control, because most boxes nearly fill the picture: it finds "
        f"{whole.controls[fixed]:.1f} %, which the maps' interval of {show(whole.low)} to {show(whole.high)} holds. "
        f"Of the {small.n:,} of {whole.n:,} pictures whose object covers less than half, the maps find "
        f"{show(small.value)} % ({show(small.low)} to {show(small.high)}), the best fixed box for those pictures "
        f"{small.controls[fixed]:.1f} %."
    )


def _top1(found: Tensor, right: Tensor, truth: Tensor, side: int) -> Figure:
    best = int(found.double().mean(0).argmax())
    box, _ = boxes.best_centre_box(truth, side)
    centred = (boxes.overlaps(box, truth) >= boxes.OVERLAP) & right
    return estimate(
        "Q6 top-1 localisation",
        100 * (found[:, best] & right).double().numpy(),
        unit="%",
        controls={
            "best fixed centre box": 100 * float(centred.double().mean()),
            "right class": 100 * float(right.double().mean()),
            "published for Tiny ImageNet, setup unknown": PUBLISHED_TOP1,
        },
        meaning="Share of pictures whose class is right and whose object is found at the same threshold.",
    )
