"""Agreement of two methods on the coarser of their grids."""

from __future__ import annotations

import pytest
import torch

from worker.trust.agreement import agreement

COARSE = torch.tensor([[1.0, 2.0], [4.0, 3.0]])


def test_a_map_agrees_wholly_with_its_own_enlargement_and_with_the_reverse_not_at_all() -> None:
    fine = COARSE.repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert agreement(COARSE, fine, method="rise").correlation == pytest.approx(1)
    assert agreement(fine, COARSE, method="rise").correlation == pytest.approx(1)
    assert agreement(COARSE, -fine, method="rise").correlation == pytest.approx(-1)


def test_the_grid_is_the_coarser_one_in_each_direction() -> None:
    tall, wide = torch.rand(6, 2), torch.rand(3, 4)
    assert agreement(tall, wide, method="rise").correlation is not None
    columns = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    rows = columns.T.repeat_interleave(3, 0).repeat_interleave(3, 1)
    assert agreement(columns, rows, method="rise").correlation == pytest.approx(0)


def test_the_sentence_names_the_method_and_the_number() -> None:
    assert "rise" in agreement(COARSE, COARSE, method="rise").text
    assert "1.00" in agreement(COARSE, COARSE, method="rise").text
    nothing = agreement(COARSE, torch.zeros(2, 2), method="rise")
    assert nothing.correlation is None and "cannot be compared" in nothing.text
    assert nothing.to_dict() == {"method": "rise", "correlation": None, "text": nothing.text}


def test_a_single_cell_has_no_order() -> None:
    assert agreement(torch.tensor([[1.0]]), COARSE, method="rise").correlation is None
