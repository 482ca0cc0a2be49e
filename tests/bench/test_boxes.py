"""Measures of localisation on planted maps and boxes, and controls that are computed from the boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.quality import boxes

SIDE = 64


def planted(*corners: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Boxes, and maps that are 1 inside them and 0 outside."""
    truth = torch.tensor(corners)
    return boxes.inside(truth, SIDE).float(), truth


def test_a_box_includes_both_of_its_ends() -> None:
    inside = boxes.inside(torch.tensor([[2, 5, 4, 5]]), 8)[0]
    assert inside.sum() == 3
    assert inside[5, 2:5].all()


def test_all_mass_of_a_map_within_its_box_is_counted_as_such_and_negative_cells_not_at_all() -> None:
    raw, truth = planted((0, 0, 15, 63), (8, 4, 23, 19))
    raw[0, 0, 63] = -5
    assert boxes.shares(raw, truth).tolist() == [[1.0, 0.25], [1.0, 0.0625]]


def test_half_the_mass_is_half_the_mass_wherever_the_rest_lies() -> None:
    raw, truth = planted((0, 0, 15, 63))
    raw[0, :, 32:48] = 1
    assert boxes.shares(raw, truth)[0, 0] == pytest.approx(0.5)


def test_a_map_without_a_positive_cell_has_nothing_in_the_box() -> None:
    _, truth = planted((0, 0, 15, 63))
    assert boxes.shares(-torch.ones(1, SIDE, SIDE), truth)[0, 0] == 0


def test_a_map_hits_when_its_highest_point_is_in_the_box() -> None:
    raw = torch.zeros(2, SIDE, SIDE)
    raw[:, 10, 40] = 1  # row 10, column 40
    truth = torch.tensor([[30, 0, 50, 20], [0, 30, 20, 50]])
    assert boxes.hits(raw, truth).tolist() == [True, False]


def test_the_overlap_of_boxes_is_their_intersection_over_their_union() -> None:
    first = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]])
    second = torch.tensor([[0, 0, 9, 9], [5, 0, 14, 9], [10, 10, 19, 19]])
    assert boxes.overlaps(first, second).tolist() == pytest.approx([1, 1 / 3, 0])


def test_a_perfect_map_finds_its_box_at_every_threshold_above_the_lowest() -> None:
    raw, truth = planted((5, 9, 30, 40), (40, 2, 60, 21))
    found = boxes.found_by_threshold(raw, truth)
    assert found[:, 1:].all()
    assert found.double().mean(0).max() == 1


def test_only_the_largest_region_is_taken() -> None:
    raw, truth = planted((5, 9, 30, 40))
    raw[0, 60:, 60:] = 1
    assert boxes.found_by_threshold(raw, truth)[0, 1:].all()


def test_a_constant_map_finds_the_whole_picture() -> None:
    truth = torch.tensor([[0, 0, 63, 63], [0, 0, 9, 9]])
    found = boxes.found_by_threshold(torch.full((2, SIDE, SIDE), 3.0), truth)
    assert found[0, 0]
    assert not found[1].any()


def test_the_centre_gaussian_peaks_in_the_middle_and_falls_to_its_sides() -> None:
    bell = boxes.centre_gaussian(SIDE, sd=16)
    assert torch.equal(bell, bell.flip(0).flip(1))
    assert bell.max() == bell[31, 31] == bell[32, 32]
    assert float(bell[31, 48] / bell[31, 32]) == pytest.approx(0.606, abs=0.02)  # one standard deviation further out


def test_the_best_centre_box_is_found_from_the_boxes() -> None:
    centred, off = [8, 16, 55, 47], [0, 0, 9, 9]
    box, share = boxes.best_centre_box(torch.tensor([centred, centred, centred, off]), SIDE)
    assert share == 0.75
    assert boxes.overlaps(box, torch.tensor(centred)) >= boxes.OVERLAP
