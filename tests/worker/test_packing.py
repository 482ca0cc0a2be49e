"""Weights in several layouts: the same convolution, and a new layout only where those at hand are slow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from worker.engine.packing import MOST_LAYOUTS, PackedWeight

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture
def layer() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(48, 32, 1, bias=False).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Tests change their number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Timed(PackedWeight):
    """Whose layouts take what the test says: `slow` are those that are slow for the next input."""

    slow: tuple[int, ...] = ()
    timed = 0

    def _seconds(self, layout: Tensor, x: Tensor) -> float:
        self.timed += 1
        at = next((i for i, one in enumerate(self._layouts) if one is layout), len(self._layouts))
        seconds = 30.0 if at in self.slow else 1.0
        self._least = min(self._least, seconds)
        return seconds


def pictures(count: int) -> Tensor:
    return torch.randn(count, 48, 7, 7).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("thread_count", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 1])
def test_any_layout_gives_the_same_convolution(layer: nn.Conv2d, count: int, thread_count: int) -> None:
    weight = PackedWeight(layer)
    for threads in (1, thread_count):
        torch.set_num_threads(threads)
        for number in (2, count):
            x = pictures(number)
            packed = weight.layout_for(x)
            found = torch.ops.mkldnn._convolution_pointwise(x, packed, None, *weight.geometry, "none", [], "")
            assert torch.allclose(found, layer(x), atol=1e-5)


def test_a_layout_that_is_fast_serves_other_inputs_too(layer: nn.Conv2d) -> None:
    weight = Timed(layer)
    first = weight.layout_for(pictures(2))
    assert weight.layout_for(pictures(1)) is first and weight.layout_for(pictures(8)) is first


def test_an_input_gets_a_layout_of_its_own_where_all_others_are_slow(layer: nn.Conv2d) -> None:
    weight = Timed(layer)
    first = weight.layout_for(pictures(2))
    weight.slow = (0,)
    own = weight.layout_for(pictures(1))
    assert own is not first
    assert weight.layout_for(pictures(3)) is own, "the second layout is as fast"
    torch.set_num_threads(torch.get_num_threads() % 2 + 1)
    weight.slow = (1,)
    assert weight.layout_for(pictures(1)) is first, "another number of threads is another case"


def test_an_input_that_was_met_is_not_timed_again(layer: nn.Conv2d) -> None:
    weight = Timed(layer)
    weight.layout_for(pictures(2))
    weight.slow = (0,)
    own, timed = weight.layout_for(pictures(1)), weight.timed
    assert weight.layout_for(pictures(1)) is own and weight.timed == timed


def test_few_layouts_are_kept_and_the_fastest_serves_where_all_are_slow(layer: nn.Conv2d) -> None:
    weight = Timed(layer)
    for count in range(1, 4 + MOST_LAYOUTS):
        weight.slow = tuple(range(count - 1))
        last = weight.layout_for(pictures(count))
    assert len(weight._layouts) == MOST_LAYOUTS and any(last is one for one in weight._layouts)
