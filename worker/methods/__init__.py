"""Attribution methods: pure functions from inputs and scores to raw maps, one module each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from shared.cards.methods import CATALOGUE
from worker.methods.attribution import MethodFunction

METHODS: Mapping[str, MethodFunction] = {
    method.name: import_module(f"{__name__}.{method.module}").attribute for method in CATALOGUE
}
"""By their names, as `shared.cards.methods` declares them."""
