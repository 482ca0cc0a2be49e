"""Q6: whether class activation maps lie on the object, by the boxes of photos100, against maps of the centre."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.figures import Figure, estimate, ratio_of_means
from bench.quality import boxes
from bench.quality.context import PHOTOS, Context, Sizes, progress
from worker import maps
from worker.trust.faithfulness import enlarged

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
    return [
        _enrichment(raw, truth),
        _pointing(raw, truth),
        _box_accuracy(found, truth, side),
        _top1(found, right, truth, side),
    ]


def _enrichment(raw: Tensor, truth: Tensor) -> Figure:
    centre = boxes.centre_gaussian(raw.shape[-1], sd=CENTRE_SD).expand_as(raw)
    bell = ratio_of_means(boxes.shares(centre, truth).numpy())
    area = float(boxes.inside(truth, raw.shape[-1]).double().mean())
    return estimate(
        "Q6 enrichment",
        boxes.shares(raw, truth).numpy(),
        unit="x",
        statistic=ratio_of_means,
        target=f">= 1.35 and low > {bell:.4g}",
        controls={"centre Gaussian": bell, "highest possible": 1 / area},
        meaning="How much more of a map's positive mass lies in the object's box than the box's share of the picture.",
    )


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
