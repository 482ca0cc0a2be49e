"""Deletion and insertion: areas within bounds, and the true map of a network whose evidence is known comes first."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worker.trust import faithfulness as module
from worker.trust.defect import Defect
from worker.trust.faithfulness import (
    CHUNK,
    RANDOM_MAPS,
    blurred,
    centre_blob,
    deletion_insertion,
    faithfulness,
    faithfulness_of_maps,
    mean_colour,
    noise,
    percentile,
    random_maps,
)

SIDE = 28
LIT = (slice(4, 8), slice(20, 24))  # row 1, column 5 of a 7 x 7 grid: where all evidence of the planted network is


def planted(inputs: Tensor) -> Tensor:
    """The brightness of the lit cell, and nothing else."""
    return inputs[:, 0, *LIT].mean((1, 2)).clamp(0, 1)


def lit_picture() -> Tensor:
    picture = torch.zeros(3, SIDE, SIDE)
    picture[0, *LIT] = 1
    return picture


def true_map() -> Tensor:
    raw = torch.zeros(7, 7)
    raw[1, 5] = 1
    return raw


def ignore(done: int, total: int) -> None: ...


def test_the_true_map_beats_the_random_maps_and_the_blob() -> None:
    found = faithfulness(planted, lit_picture(), true_map(), seed=0, watch=ignore)
    assert found.percentile is not None and found.percentile >= 95
    assert found.beats_blob
    assert found.deletion is not None and found.insertion is not None and found.whole == 1
    assert found.deletion < 0.2 and found.insertion > 0.8
    assert f"{RANDOM_MAPS} of {RANDOM_MAPS} random maps" in found.text and "does better than a plain blob" in found.text


def test_the_inverted_map_is_at_the_bottom() -> None:
    found = faithfulness(planted, lit_picture(), -true_map(), seed=0, watch=ignore)
    assert found.percentile is not None and found.percentile <= 5
    assert not found.beats_blob
    assert "of 0 of 20 random maps" in found.text and "no better than a plain blob" in found.text


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(2, 12))
def test_areas_lie_between_nothing_and_all(seed: int, steps: int, side: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    weights, picture = torch.randn(3, side, side, generator=rng), torch.randn(3, side, side, generator=rng)
    maps = torch.randn(3, 4, 5, generator=rng)

    def score(inputs: Tensor) -> Tensor:
        return (inputs * weights).sum((1, 2, 3)).sigmoid()

    areas = deletion_insertion(score, picture, maps, baseline=blurred(picture), seed=seed, watch=ignore, steps=steps)
    assert ((areas.deletion >= 0) & (areas.deletion <= 1)).all()
    assert ((areas.insertion >= 0) & (areas.insertion <= 1)).all()
    assert areas.difference.abs().max() <= 1


def test_deletion_of_a_map_is_insertion_of_its_reverse() -> None:
    maps = torch.randn(2, 7, 7, generator=torch.Generator().manual_seed(3))
    maps = torch.stack([maps[0], -maps[0]])
    picture = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    areas = deletion_insertion(
        lambda x: x.mean((1, 2, 3)), picture, maps, baseline=torch.zeros_like(picture), seed=0, watch=ignore
    )
    assert float(areas.deletion[0]) == pytest.approx(float(areas.insertion[1]), abs=1e-3)
    assert float(areas.deletion[1]) == pytest.approx(float(areas.insertion[0]), abs=1e-3)


def test_an_area_is_the_trapezoid_of_its_curve() -> None:
    """A score that counts the pixels shown falls along a straight line, whatever the map: half of all."""
    picture = torch.ones(3, 8, 8)
    areas = deletion_insertion(
        lambda x: x.mean((1, 2, 3)),
        picture,
        torch.rand(2, 8, 8),
        baseline=torch.zeros_like(picture),
        seed=0,
        watch=ignore,
    )
    assert areas.deletion.tolist() == pytest.approx([0.5, 0.5])
    assert areas.insertion.tolist() == pytest.approx([0.5, 0.5])
    assert (areas.whole, areas.hidden) == (1, 0)


def test_maps_measured_together_get_what_each_gets_alone_and_a_rescaled_map_the_same() -> None:
    maps = [true_map(), torch.rand(7, 7, generator=torch.Generator().manual_seed(1)), torch.rand(3, 5)]
    together = faithfulness_of_maps(planted, lit_picture(), maps, seed=0, watch=ignore)
    assert together == [faithfulness(planted, lit_picture(), raw, seed=0, watch=ignore) for raw in maps]
    assert faithfulness(planted, lit_picture(), 3 * maps[1] + 2, seed=0, watch=ignore) == together[1]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20), st.integers(-6, 6), st.floats(0.5, 3))
def test_a_percentile_counts_ties_half_and_knows_no_scale(others: list[int], value: int, scale: float) -> None:
    sample = torch.tensor(others, dtype=torch.float64)
    place = percentile(value, sample)
    assert 0 <= place <= 100
    assert place == pytest.approx(100 - percentile(-value, -sample))
    assert place == pytest.approx(percentile(value * scale + 1, sample * scale + 1))
    assert percentile(1.0, torch.tensor([0.0, 1.0, 1.0, 2.0])) == 50


def test_a_network_that_never_moves_puts_every_map_in_the_middle() -> None:
    found = faithfulness(lambda x: torch.ones(len(x)), lit_picture(), true_map(), seed=0, watch=ignore)
    assert (found.percentile, found.difference, found.beats_blob) == (50, 0, False)
    assert "the order of 0 of 20 random maps" in found.text


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (torch.zeros(7, 7), Defect.CONSTANT),
        (torch.ones(1, 1), Defect.CONSTANT),
        (torch.full((7, 7), math.nan), Defect.NOT_FINITE),
    ],
)
def test_a_map_without_an_order_gets_no_number_but_a_reason(raw: Tensor, reason: Defect) -> None:
    alone = faithfulness(planted, lit_picture(), raw, seed=0, watch=ignore)
    beside = faithfulness_of_maps(planted, lit_picture(), [true_map(), raw], seed=0, watch=ignore)
    assert alone == beside[1]
    assert (alone.percentile, alone.deletion, alone.beats_blob, alone.reason) == (None, None, None, reason)
    assert alone.to_dict()["reason"] == reason.value and "no order" in alone.text
    assert beside[0].percentile is not None


def test_equal_cells_are_not_taken_from_top_to_bottom() -> None:
    half = torch.zeros(1, 8, 8)
    ranks = module._ranks(half, seed=0)[0].float()
    assert sorted(ranks.flatten().tolist()) == list(range(64))
    assert abs(ranks[:4].mean() - ranks[4:].mean()) < 15


def test_work_is_done_in_small_chunks_and_can_be_stopped_between_them() -> None:
    sizes: list[int] = []
    seen: list[tuple[int, int]] = []

    def score(inputs: Tensor) -> Tensor:
        sizes.append(len(inputs))
        return planted(inputs)

    faithfulness(score, lit_picture(), true_map(), seed=0, watch=lambda done, total: seen.append((done, total)))
    assert max(sizes) <= CHUNK
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] == sum(sizes) - 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    class Stopped(Exception): ...

    def stop(done: int, total: int) -> None:
        if done:
            raise Stopped

    with pytest.raises(Stopped):
        faithfulness(score, lit_picture(), true_map(), seed=0, watch=stop)


def test_a_blur_keeps_an_even_picture_and_takes_all_detail() -> None:
    even = torch.full((3, 16, 16), 0.7)
    assert torch.allclose(blurred(even), even)
    detail = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert blurred(detail).std() < 0.1 * detail.std()
    assert blurred(torch.rand(3, 1, 1)).isfinite().all()


def test_the_other_baselines_keep_the_mean_colour_and_noise_the_spread() -> None:
    picture = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 + 1
    assert torch.allclose(mean_colour(picture)[:, 5, 9], picture.mean((1, 2)))
    drawn = noise(picture, seed=1)
    assert torch.equal(drawn, noise(picture, seed=1)) and not torch.equal(drawn, noise(picture, seed=2))
    assert torch.allclose(drawn.mean((1, 2)), picture.mean((1, 2)), atol=0.15)
    assert torch.allclose(drawn.std((1, 2)), picture.std((1, 2)), rtol=0.1)
    assert noise(torch.full((3, 4, 4), 0.5), seed=0).unique().tolist() == [0.5]


def test_controls_are_seeded_smooth_and_centred() -> None:
    maps = random_maps(3, SIDE, seed=5)
    assert torch.equal(maps, random_maps(3, SIDE, seed=5)) and not torch.equal(maps, random_maps(3, SIDE, seed=6))
    assert (maps[:, 1:] - maps[:, :-1]).abs().mean() < 0.5 * maps.std()
    blob = centre_blob(7)
    assert divmod(int(blob.argmax()), 7) == (3, 3)
    assert torch.allclose(blob, blob.flip(0)) and torch.allclose(blob, blob.T)
