"""The worker's engine in this process: what explaining adds to the bare network, and whole jobs to the sum of their
parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bench.figures import Figure, estimate, median
from bench.quality.context import Sizes
from bench.speed.race import Race, race
from bench.speed.subjects import MODELS, files, large_file, model, precision
from shared.answer.answer import Answer
from shared.blobs.blob_store import BlobStore
from shared.drawing.maps import Style, overlay, png_bytes
from shared.images.decode import Limits, Photo, decode, decode_reduced
from shared.images.seeing import crop_box, visible_square
from shared.results import Result
from shared.settings import Settings
from worker.algebra import maps
from worker.algebra.decisions import decision_maps
from worker.algebra.tree import TreeMode, infer
from worker.engine.inputs import to_tensors
from worker.engine.models import Model
from worker.engine.threads import side_by_side
from worker.explain.explanations import Explained, explain, tree_mode
from worker.explain.forward import Question

BATCHES = (1, 8, 32)
LIMITS = Limits.of(Settings())
STYLE = Style()
TELEPHONE = (4032, 3024)  # pixels of a photograph


def engine(n: Sizes) -> list[Figure]:
    """Every architecture at every size of batch."""
    with TemporaryDirectory() as folder:
        blobs = BlobStore(Path(folder))
        return [
            _reduced(n),
            *(
                figure
                for name in MODELS[: n["models"]]
                for batch in BATCHES[: n["batches"]]
                for figure in _figures(name, batch, blobs, n)
            ),
        ]


def _reduced(n: Sizes) -> Figure:
    """From the file of a large photograph to a network's input, on one thread."""
    given, spec = large_file(*TELEPHONE), model(MODELS[0], precision="fp32").card.input
    found = race(
        {
            "reduced": lambda: visible_square(decode_reduced(given, LIMITS), spec),
            "whole": lambda: visible_square(Photo.whole(decode(given, LIMITS)), spec),
        },
        rounds=n["rounds"],
        images=1,
        title="a large photograph",
    )
    return found.speed(
        "reduced",
        beside="whole",
        figure="engine: a photograph of 12 megapixels, read with a quarter of its pixels beside all",
        meaning="Speed from the bytes of a JPEG to what a network sees of it.",
    )


def _figures(name: str, batch: int, blobs: BlobStore, n: Sizes) -> list[Figure]:
    subject, given = model(name, precision=precision()), files(batch)
    in_fp32 = model(name, precision="fp32")
    mode = tree_mode(subject.card, "auto")
    inputs = to_tensors(decoded(given), subject.card.input)
    explanations = _explained(subject, given, mode)
    found = race(
        {
            "forward": lambda: subject.features(inputs),
            "forward in fp32": lambda: in_fp32.features(inputs),
            "decode": lambda: to_tensors(decoded(given), subject.card.input),
            "draw": lambda: _drawn(subject, given, explanations),
            "store": lambda: _stored(blobs, explanations),
            "job": lambda: _stored(blobs, _explained(subject, given, mode)),
            "job with overlay": lambda: _job_with_overlay(subject, given, mode, blobs),
        },
        rounds=n["rounds"],
        images=batch,
        title=f"{name}, batch {batch}",
    )
    beside = race(
        {"forward": lambda: subject.features(inputs), "explained": lambda: _mapped(subject, inputs, mode)},
        rounds=n["pairs"],
        images=batch,
        title=f"{name}, batch {batch}, forward and explained",
    )
    at = f"{name}, batch {batch}"
    bulk = batch > 1
    return [
        found.speed(
            "forward",
            beside="forward in fp32",
            figure=f"engine: bare forward in {subject.precision} beside fp32, {at}",
            meaning="Speed of the network alone, in the precision that the engine uses here.",
        ),
        beside.speed(
            "explained",
            beside="forward",
            figure=f"engine: forward, map and tree beside the bare forward in {subject.precision}, {at}",
            target=">= 0.95" if bulk else None,
            meaning="Speed of predicting, mapping the class and every decision on the path, from decoded tensors.",
        ).explained(
            _what_follows(subject, inputs, mode, rounds=n["pairs"])
            + f" In fp32 the pass takes {batch * found.ms('forward in fp32'):.1f} ms."
        ),
        _whole(found, "job", ("decode", "forward"), f"engine: whole job beside its parts, {at}", bulk=bulk),
        _whole(
            found,
            "job with overlay",
            ("decode", "forward", "draw"),
            f"engine: whole job with an overlay beside its parts, {at}",
            bulk=bulk,
        ),
    ]


def _whole(found: Race, job: str, parts: tuple[str, ...], figure: str, *, bulk: bool) -> Figure:
    """How much of a job's time its parts alone explain."""
    alone = sum(found.seconds[part] for part in parts)
    rest = found.ms(job) - sum(map(found.ms, parts))
    whole = estimate(
        figure,
        alone / found.seconds[job],
        unit="x",
        statistic=median,
        target=">= 0.9" if bulk else None,
        controls={f"{name}, images/s": float(found.images / median(found.seconds[name])) for name in (*parts, job)},
        meaning="From the files' bytes to stored results: the time that "
        + ", ".join(parts)
        + " take alone, relative to that of the whole.",
    )
    return whole.explained(
        f"Of {found.ms(job):.2f} ms an image {rest:.2f} are neither of these: {found.ms('store'):.2f} for packing and "
        f"storing the result, {rest - found.ms('store'):.2f} for the prediction, the maps and their certificates, the "
        f"path and the trust figures. In fp32, where the pass takes {found.ms('forward in fp32'):.2f} ms, the same "
        f"would be {_share_in_fp32(found, job, parts):.2f}."
    )


def _share_in_fp32(found: Race, job: str, parts: tuple[str, ...]) -> float:
    """What the share would be if only the forward pass took the time that it takes in fp32."""
    slower = found.ms("forward in fp32") - found.ms("forward")
    return (sum(map(found.ms, parts)) + slower) / (found.ms(job) + slower)


@torch.inference_mode()
def _mapped(subject: Model, inputs: Tensor, mode: TreeMode | None) -> None:
    """The prediction, the class's map and those of all decisions: tensors only."""
    _explain_features(subject, mode, subject.features(inputs))


def _explain_features(subject: Model, mode: TreeMode | None, features: Tensor) -> None:
    logits = subject.logits(features)
    maps.linear_maps(features, subject.weight.index_select(0, logits.argmax(1)))
    if mode is not None and subject.matrices is not None and subject.tree_head is not None:
        inference = infer(logits, subject.matrices, mode=mode)
        decision_maps(features, logits, subject.tree_head, subject.matrices, inference)


def _multiply_features(subject: Model, mode: TreeMode | None, features: Tensor) -> None:
    """Only what of this multiplies features or the head's weights: the pooled features by the head, and the maps of a
    class and of the decisions, whichever they are. No implementation can do without."""
    subject.logits(features)
    maps.linear_maps(features, subject.weight[:1].expand(len(features), -1))
    if mode is None or subject.matrices is None:
        return
    (classes, channels), steps = subject.weight.shape, subject.matrices.paths.shape[1]
    rows = features.new_ones(len(features), steps, channels)
    if mode is TreeMode.MARGINAL:  # each decision weighs the classes by their logits
        rows = features.new_ones(len(features), steps, classes) @ subject.weight
    maps.weighted(features, rows)


@torch.inference_mode()
def _what_follows(subject: Model, inputs: Tensor, mode: TreeMode | None, *, rounds: int) -> str:
    """Where the time goes right behind a pass, which leaves nothing of this in the caches."""
    taken: dict[str, list[float]] = {"pass": [], "all": [], "products": []}
    for _ in range(rounds):
        for name, follow in (("all", _explain_features), ("products", _multiply_features)):
            began = time.perf_counter()
            features = subject.features(inputs)
            passed = time.perf_counter()
            follow(subject, mode, features)
            taken["pass"].append(passed - began)
            taken[name].append(time.perf_counter() - passed)
    seen = {name: float(1000 * median(np.array(seconds))) for name, seconds in taken.items()}
    calls = _Calls()
    with calls:
        _explain_features(subject, mode, features)
    return (
        f"The head, the class's map, the tree and the maps of its decisions take {seen['all']:.2f} ms behind a pass of "
        f"{seen['pass']:.1f} ms over the whole batch. They are {calls.count} calls of PyTorch, "
        f"{1000 * seen['all'] / calls.count:.0f} microseconds each. The products of features and head alone, without "
        f"which there is no answer, take {seen['products']:.2f} ms: with nothing else it would be "
        f"{seen['pass'] / (seen['pass'] + seen['products']):.3f}."
    )


class _Calls(TorchFunctionMode):
    """Counts the calls of PyTorch, but for looks at a tensor's attributes."""

    count: int = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.__name__ != "__get__"
        return func(*args, **(kwargs or {}))


def decoded(given: Sequence[bytes]) -> list[Photo]:
    """Decoded side by side, as the worker's drain does."""
    return side_by_side(partial(decode_reduced, limits=LIMITS), given, threads=torch.get_num_threads())


def _explained(subject: Model, given: list[bytes], mode: TreeMode | None) -> list[Explained]:
    photos = decoded(given)
    return explain(subject, photos, [Question(tree=mode)] * len(photos))


def _stored(blobs: BlobStore, explanations: list[Explained]) -> None:
    for explanation in explanations:
        answer = Answer(explanations=(explanation.explanation,), warnings=explanation.warnings)
        blobs.put(Result(answer, explanation.maps).pack())


def _drawn(subject: Model, given: list[bytes], explanations: list[Explained]) -> None:
    pairs = list(zip(given, explanations, strict=True))
    side_by_side(lambda one: _overlay(subject, *one), pairs, threads=torch.get_num_threads())


def _job_with_overlay(subject: Model, given: list[bytes], mode: TreeMode | None, blobs: BlobStore) -> None:
    explanations = _explained(subject, given, mode)
    _stored(blobs, explanations)
    _drawn(subject, given, explanations)


def _overlay(subject: Model, file: bytes, explanation: Explained) -> bytes:
    photo = decode_reduced(file, LIMITS)
    return png_bytes(laid_over(photo, explanation, subject))


def laid_over(photo: Photo, explanation: Explained, subject: Model) -> Image.Image:
    """The photo with the map of its class."""
    place = photo.scaled_box(crop_box(*photo.size, subject.card.input))
    return overlay(photo.pixels, explanation.maps[f"{subject.card.name}.cam"], place, style=STYLE)
