"""How a long command says what it is doing."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Shows one line: what is being done, or what was found."""
