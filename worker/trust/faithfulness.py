"""Faithfulness of a map: does hiding what it marks lower the answer, and showing only that bring it back?

Deletion and insertion of arXiv 1806.07421. Pixels are taken in the order of the map, highest first. Deletion replaces
them by a baseline, step by step; insertion starts at the baseline and brings them back. Each gives the area under the
curve of the target's probability over the share of pixels taken, 0..1. A faithful map has a low deletion and a high
insertion area, so the difference, insertion - deletion, is the figure. It means little by itself: it depends on the
picture and the network. Hence it stands beside the same figure of random smooth maps and of a centre blob.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from shared.answer.maps import Faithfulness
from worker.methods.attribution import Watch
from worker.trust.defect import SENTENCES, Defect, defects

Score = Callable[[Tensor], Tensor]
"""The target's probability: M x 3 x S x S normalised inputs -> M values in 0..1."""

STEPS = 16  # shares of the pixels taken: 0, 1/16, ... 1
CHUNK = 64  # most inputs in one forward pass
RANDOM_MAPS = 20
RANDOM_GRID = 7  # cells a side of a random map before it is enlarged: about those of the shipped networks' maps
# Standard deviation of the blurred baseline, as a share of the side. On held-out pictures of both shipped models the
# confidence falls about as low as with the mean colour; a stronger blur takes hardly more, half of it hardly less.
BLUR = 1 / 4
BLOB = 1 / 4  # standard deviation of the centre blob, as a share of the side
TIE = 1e-6  # differences of areas this near are equal


@dataclass(frozen=True)
class Areas:
    """Deletion and insertion of M maps of one picture, and the score of the whole picture and of the baseline."""

    deletion: Tensor  # M, 0..1, low is faithful
    insertion: Tensor  # M, 0..1, high is faithful
    whole: float
    hidden: float

    @property
    def difference(self) -> Tensor:
        """M, -1..1: insertion - deletion."""
        return self.insertion - self.deletion


def faithfulness(score: Score, picture: Tensor, raw: Tensor, *, seed: int, watch: Watch) -> Faithfulness:
    """Faithfulness of one h x w map of a normalised 3 x S x S picture, against the blurred picture as baseline."""
    return faithfulness_of_maps(score, picture, [raw], seed=seed, watch=watch)[0]


def faithfulness_of_maps(
    score: Score, picture: Tensor, raws: Sequence[Tensor], *, seed: int, watch: Watch
) -> list[Faithfulness]:
    """The same for several maps of one picture and target, whatever their grids: they share the controls' passes."""
    flaws = [defects(raw[None])[0] for raw in raws]
    if all(flaws):
        return [_without_order(flaw) for flaw in flaws if flaw]
    side = picture.shape[-1]
    own = [enlarged(raw[None], side) for raw, flaw in zip(raws, flaws, strict=True) if flaw is None]
    controls = [random_maps(RANDOM_MAPS, side, seed=seed), centre_blob(side)[None]]
    stacked = torch.cat([*own, *(control.to(own[0]) for control in controls)])
    areas = deletion_insertion(score, picture, stacked, baseline=blurred(picture), seed=seed, watch=watch)
    places = iter(range(len(own)))
    return [_without_order(flaw) if flaw else _placed(areas, next(places), first=len(own)) for flaw in flaws]


def deletion_insertion(
    score: Score, picture: Tensor, raw: Tensor, *, baseline: Tensor, seed: int, watch: Watch, steps: int = STEPS
) -> Areas:
    """Areas of M x h x w maps of a 3 x S x S picture, hidden behind a 3 x S x S baseline.

    Maps are enlarged to the picture first. Equal cells are taken in an order drawn from the seed, so that they do not
    go from top to bottom. M (steps - 1) 2 + 2 inputs are scored, at most CHUNK at a time.
    """
    ranks = _ranks(enlarged(raw, picture.shape[-1]), seed=seed)  # M x S x S, 0 is taken first
    cuts = torch.arange(1, steps, device=picture.device) * ranks[0].numel() // steps
    jobs = torch.cartesian_prod(torch.arange(len(ranks)), torch.arange(steps - 1), torch.arange(2)).to(picture.device)
    ends = score(torch.stack([picture, baseline])).double().cpu()
    values: list[Tensor] = []
    for chunk in jobs.split(CHUNK):
        watch(len(values) * CHUNK, len(jobs))
        which, cut, inserting = chunk.unbind(1)
        taken = ranks[which] < cuts[cut].view(-1, 1, 1)
        shown = taken == inserting.bool().view(-1, 1, 1)
        values.append(score(torch.where(shown.unsqueeze(1), picture, baseline)).double().cpu())
    watch(len(jobs), len(jobs))
    inner = torch.cat(values).view(len(ranks), steps - 1, 2)
    middle = inner.sum(1) / steps + ends.mean() / steps  # trapezoids: both curves end at the same two scores
    return Areas(middle[:, 0], middle[:, 1], float(ends[0]), float(ends[1]))


def blurred(picture: Tensor) -> Tensor:
    """Baseline: the 3 x S x S picture under a Gaussian blur of BLUR of its side; past the border nothing is added."""
    rows, columns = (_blur_matrix(length, picture) for length in picture.shape[-2:])
    return rows @ picture @ columns.T


def mean_colour(picture: Tensor) -> Tensor:
    """Baseline: the picture's mean colour everywhere."""
    return picture.mean((1, 2), keepdim=True).expand_as(picture)


def noise(picture: Tensor, *, seed: int) -> Tensor:
    """Baseline: independent Gaussian pixels with the picture's mean and standard deviation in each channel."""
    drawn = torch.randn(picture.shape, generator=Generator().manual_seed(seed)).to(picture)
    centre = picture.mean((1, 2), keepdim=True)
    return centre + drawn * (picture - centre).square().mean((1, 2), keepdim=True).sqrt()


def random_maps(count: int, side: int, *, seed: int) -> Tensor:
    """count x side x side: Gaussian cells on a coarse grid, enlarged like a network's map."""
    drawn = torch.randn(count, RANDOM_GRID, RANDOM_GRID, generator=Generator().manual_seed(seed))
    return enlarged(drawn, side)


def centre_blob(side: int) -> Tensor:
    """side x side: a Gaussian in the middle, which a photographer's habit makes a strong control."""
    bump = torch.exp(-(((torch.arange(side) + 0.5) / side - 0.5) ** 2) / (2 * BLOB**2))
    return bump[:, None] * bump


def enlarged(raw: Tensor, side: int) -> Tensor:
    """M x h x w maps -> M x side x side, bilinear, as they are laid over the picture."""
    return functional.interpolate(raw.unsqueeze(1), size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def percentile(value: float, others: Tensor) -> float:
    """Place of a value among others, 0..100: the share below it, equal ones (within TIE) counted half."""
    below = (others < value - TIE).sum()
    equal = ((others - value).abs() <= TIE).sum()
    return float(100 * (below + 0.5 * equal) / len(others))


def _ranks(maps: Tensor, *, seed: int) -> Tensor:
    flat = maps.flatten(1)
    mixed = torch.randperm(flat.shape[1], generator=Generator().manual_seed(seed)).to(flat.device)
    order = mixed[flat[:, mixed].sort(dim=1, descending=True, stable=True).indices]
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view_as(maps)


def _blur_matrix(length: int, like: Tensor) -> Tensor:
    place = torch.arange(length, dtype=like.dtype, device=like.device)
    weights = torch.exp(-((place[:, None] - place) ** 2) / (2 * (BLUR * length) ** 2))
    return weights / weights.sum(1, keepdim=True)


def _placed(areas: Areas, index: int, *, first: int) -> Faithfulness:
    """Map `index` beside the controls, which start at `first`: the random maps, then the blob."""
    difference = areas.difference
    value, others, blob = float(difference[index]), difference[first : first + RANDOM_MAPS], float(difference[-1])
    beats_blob = value > blob + TIE
    return Faithfulness(
        deletion=float(areas.deletion[index]),
        insertion=float(areas.insertion[index]),
        difference=value,
        percentile=percentile(value, others),
        random_maps=RANDOM_MAPS,
        blob_difference=blob,
        beats_blob=beats_blob,
        whole=areas.whole,
        hidden=areas.hidden,
        text=_text(int((others < value - TIE).sum()), beats_blob=beats_blob),
    )


def _text(beaten: int, *, beats_blob: bool) -> str:
    """`beaten` are the random maps whose difference is smaller."""
    return (
        "Hidden and shown part by part in the order of the map, the picture moves the answer more clearly than "
        f"in the order of {beaten} of {RANDOM_MAPS} random maps; "
        f"the map does {'better' if beats_blob else 'no better'} than a plain blob in the middle."
    )


def _without_order(flaw: Defect) -> Faithfulness:
    text = f"There is no order in which to hide parts of the picture. {SENTENCES[flaw]}"
    return Faithfulness(random_maps=RANDOM_MAPS, reason=flaw.value, text=text)
