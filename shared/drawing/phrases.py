"""Numbers as people read them, on pages, in pictures and beside them."""

from __future__ import annotations


def percent(probability: float) -> str:
    """With one digit; certainty and impossibility are written only where they are exact."""
    if 0 < probability < 0.0005:
        return "<0.1%"
    if 0.9995 <= probability < 1:
        return ">99.9%"
    return f"{probability * 100:.1f}%"


def number(value: float) -> str:
    """Three significant digits: 0, 7.10, 12.4, -0.0213, 1234; an exponent where there would be many zeros."""
    if value == 0:
        return "0"
    text = f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:#.3g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text
