"""The pictures of a batch: their files are fetched here, and decoded in other processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from shared.blobs.blob_store import BlobStore
from shared.cards.card import ModelCard
from shared.errors import PathlightError
from shared.images.decode import Limits
from shared.images.masking import explained_picture
from shared.images.sandbox.decoders import Decoders, Look
from shared.images.seeing import Squares
from shared.jobs import Claim
from worker.engine.threads import side_by_side
from worker.explain.query import Query

TOGETHER_BYTES = 2**19  # of files that a decoder is given at once: giving takes as long as decoding a small picture

Cards = Callable[[Claim], Mapping[str, ModelCard]]
"""The models that are to answer a job, by name; each says what it sees of a picture. Raises PathlightError."""


@dataclass(frozen=True)
class Files:
    """A job with the files of its picture."""

    claim: Claim
    cards: Mapping[str, ModelCard]
    look: Look


def with_pictures(
    claims: Sequence[Claim], blobs: BlobStore, decoders: Decoders, *, cards: Cards, limits: Limits
) -> list[Query | PathlightError]:
    """What each job asks, with its picture, in order; or why it has none."""

    def decoded(share: Sequence[Files]) -> list[Squares | PathlightError]:
        return decoders.read_squares([one.look for one in share])

    fetch = partial(_files, blobs=blobs, cards=cards, limits=limits)
    fetched = side_by_side(fetch, claims, threads=decoders.count)
    shares = list(_shares([one for one in fetched if isinstance(one, Files)], decoders.count))
    photos = chain.from_iterable(side_by_side(decoded, shares, threads=decoders.count))
    return [_query(one, next(photos)) if isinstance(one, Files) else one for one in fetched]


def _files(claim: Claim, *, blobs: BlobStore, cards: Cards, limits: Limits) -> Files | PathlightError:
    try:
        found = cards(claim)
        read = partial(Look, inputs=[card.input for card in found.values()])
        return Files(claim, found, explained_picture(blobs, claim.image, claim.options, limits=limits, read=read))
    except PathlightError as error:
        return error


def _shares(files: Sequence[Files], count: int) -> Iterator[Sequence[Files]]:
    """What is decoded together: small pictures, as many of them as leave no decoder idle; a large one alone."""
    most = math.ceil(len(files) / count)
    share: list[Files] = []
    size = 0
    for one in files:
        if share and (len(share) == most or size + one.look.size > TOGETHER_BYTES):
            yield share
            share, size = [], 0
        share.append(one)
        size += one.look.size
    if share:
        yield share


def _query(one: Files, photo: Squares | PathlightError) -> Query | PathlightError:
    return photo if isinstance(photo, PathlightError) else Query(photo, one.claim.options, one.cards)
