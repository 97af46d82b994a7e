"""Figures as tables show them."""

from __future__ import annotations


def shown_cost(value: float, decimals: int = 2) -> str:
    """A latency or an energy with ``decimals`` decimals, or with three digits if the decimals would hide them."""
    return f"{value:.{decimals}f}" if value == 0 or value >= 10.0 ** (1 - decimals) else f"{value:.3g}"
