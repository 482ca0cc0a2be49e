"""A convolution that pads by itself gives what a padding layer and the convolution give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from worker.engine.padding import widen

SIDES = st.integers(0, 3)


@given(
    zeros=st.tuples(SIDES, SIDES, SIDES, SIDES),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    biased=st.booleans(),
)
def test_it_gives_the_same_as_a_padding_layer_before_it(
    zeros: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    size: tuple[int, int],
    biased: bool,
) -> None:
    convolution = nn.Conv2d(4, 8, kernel, stride=stride, padding=padding, groups=4, bias=biased).double()
    wide = widen(convolution, zeros)
    assert wide is not None
    inputs = torch.randn(2, 4, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = convolution(nn.ZeroPad2d(zeros)(inputs))
        found = wide(inputs)
    assert found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, padding="same"),
        nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="reflect"),
    ],
    ids=str,
)
def test_one_that_would_take_longer_or_cannot_be_widened_is_left_alone(convolution: nn.Conv2d) -> None:
    assert widen(convolution, (0, 1, 0, 1)) is None


def test_zeros_that_are_taken_away_are_left_to_the_layer_that_does_it() -> None:
    assert widen(nn.Conv2d(4, 4, 3, groups=4), (-1, 1, 0, 1)) is None
