"""How figures are written where people read them: shares in percent, differences in points, intervals."""

from __future__ import annotations

from collections.abc import Sequence


def percent(value: float) -> str:
    """A share in percent, one decimal.

    Example:
        >>> percent(0.6566)
        '65.7'
    """
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A difference in points, with its sign.

    Example:
        >>> points(-0.004), points(-0.0)
        ('-0.4', '+0.0')
    """
    return f"{100 * value:+z.1f}"


def interval(bounds: Sequence[float], signed: bool = False) -> str:
    """An interval in percent or points.

    Example:
        >>> interval((0.031, 0.093), signed=True)
        '[+3.1, +9.3]'
    """
    low, high = (points(each) if signed else percent(each) for each in bounds)
    return f"[{low}, {high}]"
