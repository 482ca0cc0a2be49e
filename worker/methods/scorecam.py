"""Score-CAM (arXiv 1910.01279): a channel weighs what the class scores where only that channel's place is seen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from worker.algebra.maps import linear_maps
from worker.algebra.score import Score
from worker.methods.attribution import Attribution, Guarantee, Subject, Watch
from worker.methods.passes import CHUNK, Passes


@torch.no_grad()
def attribute(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """One map for each image, N x h x w, a weighted mean of the channels: in units of the features.

    A channel, scaled to [0, 1] and enlarged to the input's size, masks the input; hidden is the mean colour. The
    weight of channel d is the softmax over channels of the class's logit under mask d. As the softmax takes no notice
    of a constant, the paper's baseline score drops out. A contrast is the map of the target less that of the other
    class. The paper's rectification changes nothing where features are not negative, and is left to the drawing.

    A channel that is the same in all cells has an empty mask: whatever the picture, it leaves the blank input. One
    forward pass of that serves all such channels, and the map is what it would be with all of them run.
    """
    features = subject.features
    low, high = features.amin((2, 3)), features.amax((2, 3))
    varying = high > low  # N x D
    passes = Passes(subject.network, total=1 + int(varying.sum()), watch=watch)
    blank = passes.logits(torch.zeros_like(subject.inputs[:1]))  # 1 x K
    weights = []
    for n, image in enumerate(subject.inputs):
        logits = blank.repeat(features.shape[1], 1)  # D x K
        channels = varying[n].nonzero()[:, 0]
        for start in range(0, len(channels), CHUNK):
            chunk = channels[start : start + CHUNK]
            bottom, top = low[n, chunk, None, None], high[n, chunk, None, None]
            masks = _enlarged((features[n, chunk] - bottom) / (top - bottom), like=image)
            logits[chunk] = passes.logits(image * masks)
        weights.append(_weights(logits, subject.score[[n]]))
    return Attribution(linear_maps(features, torch.stack(weights)), "activation", Guarantee.APPROXIMATE)


def _weights(logits: Tensor, score: Score) -> Tensor:
    """D weights of the channels, from D x K logits under their masks."""
    target, contrast = score.target, score.contrast
    own = Score(target, torch.zeros_like(target)).of_logits(logits).softmax(0)
    if not contrast.any():
        return own
    return own - Score(contrast, torch.zeros_like(contrast)).of_logits(logits).softmax(0)


def _enlarged(masks: Tensor, *, like: Tensor) -> Tensor:
    """B x h x w -> B x 1 x S x S, with the last two sides of `like`."""
    return functional.interpolate(masks[:, None], size=like.shape[-2:], mode="bilinear", align_corners=False)
