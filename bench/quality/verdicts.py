"""Q17: whether verdicts keep what they promise, with both default models asked together, and what a narrow model's
verdicts are worth alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.figures import Figure, estimate, share, wilson
from bench.quality import nonsense
from bench.quality.context import CIFAR, IMAGENET, PHOTOS, Context, Sizes
from bench.quality.seen import BOUND
from bench.quality.truth import holds, true_class
from shared.cards.class_names import short_name
from shared.cards.verdicts import Level
from shared.images.decode import Photo
from worker.algebra.kinship import Kinships, synset
from worker.explain.agreement import ModelAnswer, agreements
from worker.explain.verdicts import verdict

PROMISED = {Level.BELIEVE: ">= 97", Level.GUESS: "<= 50"}  # how often the first answer is right
WIDE = {Level.BELIEVE: "<= 5", Level.FOREIGN: ">= 70"}  # of the tree model, on images of none of its classes
ACCEPTED = ">= 85"  # of the tree model, on images of its classes
NEVER_BELIEVED = "<= 2"
ACCEPTS = (Level.BELIEVE, Level.CARE)


@dataclass(frozen=True)
class Judged:
    """One model's verdict on an image, and what is true."""

    level: Level
    own: bool  # whether the image shows one of the model's classes
    first: bool  # whether the first answer is right
    sure: bool  # whether the sure answer is right; where the model vouches for nothing, it is

    @property
    def fits(self) -> bool:
        """Whether the verdict accepts a right first answer, or does not accept a wrong one."""
        return (self.level in ACCEPTS) == self.first


def judged(
    answers: Sequence[ModelAnswer], beside: Sequence[ModelAnswer] | None, wnids: Sequence[str], kinships: Kinships
) -> list[Judged]:
    """The verdicts on one model's answers to images of `wnids`; `beside` are another model's to the same images."""
    shown = {wnid: true_class(answers[0].card, wnid) for wnid in set(wnids)} if answers else {}
    out = []
    for i, (answer, wnid) in enumerate(zip(answers, wnids, strict=True)):
        level = Level(verdict(answer, agreements([beside[i], answer], kinships) if beside else []).level)
        truth = shown[wnid]
        sure = answer.sure is None or answer.sure.is_root or holds(answer.sure.group, wnid, shown=truth)
        out.append(Judged(level, truth is not None, answer.predicted == truth, sure))
    return out


def verdicts(context: Context, n: Sizes) -> list[Figure]:
    """Q17."""
    return [
        *_broad(context, n["photographs"]),
        *_narrow(context, CIFAR, n["photographs"], wide=WIDE, accepted=ACCEPTED),
        *_narrow(context, PHOTOS, n["photographs"], wide={}, accepted=None),
        *_on_nonsense(context, n["generated"]),
        *(figure for name in (CIFAR, PHOTOS) for figure in _on_small_images(context, name, n["small images"])),
    ]


def _photograph_wnids(context: Context) -> list[str]:
    wnids = context.registry.get(IMAGENET).wnids
    return [wnids[label] for label in context.photographs.labels.tolist()]


def _broad(context: Context, count: int) -> list[Figure]:
    """The ImageNet network. No model at hand is broader, so that a narrow one beside it changes nothing."""
    answers, wnids = context.answers_to_photographs(IMAGENET)[:count], _photograph_wnids(context)[:count]
    found = judged(answers, None, wnids, context.kinships)
    return _levels(found, None, f"{IMAGENET}, photographs", note=BOUND)


def _narrow(
    context: Context, name: str, count: int, *, wide: Mapping[Level, str], accepted: str | None
) -> list[Figure]:
    """A narrow model beside the ImageNet network, with the same model alone as the control."""
    answers, wnids = context.answers_to_photographs(name)[:count], _photograph_wnids(context)[:count]
    together = judged(answers, context.answers_to_photographs(IMAGENET)[:count], wnids, context.kinships)
    alone = judged(answers, None, wnids, context.kinships)
    where = f"{name} beside {IMAGENET}, photographs"
    out = _levels(together, alone, where, note=BOUND)
    for own, which in ((True, "of its classes"), (False, "of none of its classes")):
        kept = [i for i, one in enumerate(together) if one.own is own]
        if not kept:
            continue
        both = [together[i] for i in kept], [alone[i] for i in kept]
        out += _shares(*both, f"{where} {which}", targets={} if own else wide, note=BOUND)
        if own:
            out.append(_accepted(*both, f"{where} {which}", target=accepted, note=BOUND))
    return [*out, _fits(together, alone, where, target="> 0 and low > 0", seed=context.seed, note=BOUND)]


def _levels(found: Sequence[Judged], alone: Sequence[Judged] | None, where: str, *, note: str) -> list[Figure]:
    """Of each level the share of the images, and how often the answers with it are right."""
    out = _shares(found, alone, where, targets={}, note=note)
    for level in Level:
        for measure, value, meaning in _measures(level):
            hits = [value(one) for one in found if one.level is level]
            before = [value(one) for one in alone or () if one.level is level]
            if hits:
                out.append(
                    share(
                        f"Q17 {level}, {measure}, {where}",
                        hits,
                        target=PROMISED.get(level) if measure == FIRST else None,
                        controls=_as_controls(before),
                        meaning=f"{meaning} {note}",
                    )
                )
    return out


FIRST = "first answer right"


def _measures(level: Level) -> list[tuple[str, Callable[[Judged], bool], str]]:
    """What the answers with a level are measured by: a name, the measure, and its meaning."""
    sure = (
        "sure answer right",
        lambda one: one.sure,
        "Of the images with this verdict, how many are what the sure answer says; the root counts as right.",
    )
    if level is Level.FOREIGN:
        meaning = "Of the images with this verdict, how many show none of the model's classes."
        return [("none of its classes", lambda one: not one.own, meaning), sure]
    return [(FIRST, lambda one: one.first, "Of the images with this verdict, how many are of the first answer."), sure]


def _shares(
    found: Sequence[Judged],
    alone: Sequence[Judged] | None,
    where: str,
    *,
    targets: Mapping[Level, str],
    note: str,
) -> list[Figure]:
    return [
        share(
            f"Q17 {level}, share, {where}",
            [one.level is level for one in found],
            target=targets.get(level),
            controls=_as_controls([one.level is level for one in alone or ()]),
            meaning=f"Share of the images that get this verdict. {note}",
        )
        for level in Level
    ]


def _accepted(found: Sequence[Judged], alone: Sequence[Judged], where: str, *, target: str | None, note: str) -> Figure:
    return share(
        f"Q17 believe or care, share, {where}",
        [one.level in ACCEPTS for one in found],
        target=target,
        controls={
            **_as_controls([one.level in ACCEPTS for one in alone]),
            "first answer right": 100 * float(np.mean([one.first for one in found])),
        },
        meaning=f"Share of the images whose answer the verdict accepts, with or without a condition. {note}",
    )


def _as_controls(alone: Sequence[bool]) -> dict[str, float]:
    """The same of the narrow model alone, with its interval; nothing where there is no image."""
    if not alone:
        return {}
    hits, n = sum(alone), len(alone)
    low, high = wilson(hits, n)
    return {"alone": 100 * hits / n, "alone, low": 100 * low, "alone, high": 100 * high, "alone, n": n}


def _fits(
    found: Sequence[Judged], alone: Sequence[Judged], where: str, *, target: str | None, seed: int, note: str
) -> Figure:
    rows = np.array([[one.fits, other.fits] for one, other in zip(found, alone, strict=True)], dtype=np.float64)
    return estimate(
        f"Q17 verdicts that fit, lead over the model alone, {where}",
        100 * (rows[:, 0] - rows[:, 1]),
        unit="points",
        target=target,
        controls={"beside": 100 * float(rows[:, 0].mean()), "alone": 100 * float(rows[:, 1].mean())},
        seed=seed,
        meaning="A verdict fits where it is believe or care and the first answer is right, or neither. The lead says "
        f"how many more verdicts fit where the broader model is asked too. {note}",
    )


def _on_nonsense(context: Context, count: int) -> list[Figure]:
    """Images of no object, with all models."""
    kinds = generated_and_installed(count, seed=context.seed)
    photos = [photo for some in kinds.values() for photo in some]
    kind_of = [kind for kind, some in kinds.items() for _ in some]
    broad = context.answers(IMAGENET, photos)
    levels = _judged_nonsense(broad, None, context)
    believed = [answer for answer, level in zip(broad, levels, strict=True) if level is Level.BELIEVE]
    out = [_never_believed(levels, None, IMAGENET, kind_of).explained(_what_is_believed(believed))]
    for name in (CIFAR, PHOTOS):
        answers = context.answers(name, photos)
        together, alone = (_judged_nonsense(answers, beside, context) for beside in (broad, None))
        out.append(_never_believed(together, alone, f"{name} beside {IMAGENET}", kind_of))
    return out


def generated_and_installed(count: int, *, seed: int) -> dict[str, list[Photo]]:
    return {**nonsense.generated(count, seed=seed), "scikit-image": list(nonsense.installed().values())}


def _judged_nonsense(
    answers: Sequence[ModelAnswer], beside: Sequence[ModelAnswer] | None, context: Context
) -> list[Level]:
    return [
        Level(verdict(answer, agreements([beside[i], answer], context.kinships) if beside else []).level)
        for i, answer in enumerate(answers)
    ]


def _never_believed(
    found: Sequence[Level], alone: Sequence[Level] | None, where: str, kind_of: Sequence[str]
) -> Figure:
    believed = [level is Level.BELIEVE for level in found]
    of_kind = {kind: [hit for hit, one in zip(believed, kind_of, strict=True) if one == kind] for kind in kind_of}
    return share(
        f"Q17 believe, share, {where}, images of no object",
        believed,
        target=NEVER_BELIEVED,
        controls={
            **_level_shares(found, ""),
            **{f"believe of {kind}": 100 * sum(hits) / len(hits) for kind, hits in of_kind.items()},
            **(_level_shares(alone, "alone: ") if alone else {}),
        },
        meaning="Noise, pages of text, textures and micrograph-like images, generated by seed, and the images of "
        f"scikit-image that show no object ({', '.join(nonsense.INSTALLED)}). The controls are the shares of the "
        "verdicts, and what is believed of each kind.",
    )


def _what_is_believed(answers: Sequence[ModelAnswer]) -> str:
    counts = Counter(short_name(answer.card.classes[answer.predicted]) for answer in answers)
    return f"Believed is {', '.join(f'{name} ({count})' for name, count in counts.most_common())}."


def _level_shares(levels: Sequence[Level], prefix: str) -> dict[str, float]:
    return {f"{prefix}{level}": 100 * sum(one is level for one in levels) / len(levels) for level in Level}


def _on_small_images(context: Context, name: str, count: int) -> list[Figure]:
    """Held-out images of a narrow model's own kind, which the ImageNet network sees enlarged."""
    held = context.held_out(name)
    chosen = held.measured(count)
    tree = context.registry.get(name).hierarchy
    assert tree is not None, f"{name} ships without a tree"
    wnids = [synset(tree.leaf_ids[int(held.labels[i])]) for i in chosen]
    photos = [Photo.whole(held.picture(i)) for i in chosen]
    answers = context.answers_to_held_out(name, count)
    together = judged(answers, context.answers(IMAGENET, photos), wnids, context.kinships)
    alone = judged(answers, None, wnids, context.kinships)
    where = f"{name} beside {IMAGENET}, its own small held-out images"
    note = f"The images have {photos[0].size[0]} pixels a side; the ImageNet network was trained on larger ones."
    return [
        *_levels(together, alone, where, note=note),
        _accepted(together, alone, where, target=None, note=note),
        _fits(together, alone, where, target=None, seed=context.seed, note=note),
    ]
