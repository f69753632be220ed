"""The picture of a comparison: its lines, what they cost, and the panel that is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.comparison_plot import comparison_figure, cost_axis, lines_of, plot_comparison


def cell(
    generator: str, verifier: str, *, generated: int | None, scored: int | None, size: int | None
) -> dict[str, Any]:
    """n = 1 and 2; operations as a comparison reckons them, with a verifier of 5 parameters."""
    known = generated is not None and scored is not None and size is not None
    points = [
        {
            "n": n,
            "generated_tokens": None if generated is None else n * generated,
            "scored_tokens": None if scored is None else n * scored,
            "operations": 2 * n * ((generated or 0) * (size or 0) + (scored or 0) * 5) if known else None,
        }
        for n in (1, 2)
    ]
    rules = ("majority", "min") if verifier != "none" else ("majority",)
    curve = [{"n": n, "accuracy": 0.2 * n, "ci95": [0.1 * n, 0.3 * n]} for n in (1, 2)]
    report = {"problems": 40, "headline": "min", "curves": dict.fromkeys(rules, curve)}
    cost = {"points": points, "generator_parameters": size}
    return {"generator": generator, "verifier": verifier, "report": report, "cost": cost}


def result(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"generators": list(dict.fromkeys(each["generator"] for each in cells)), "cells": list(cells)}


KNOWN = result(
    cell("weak", "v", generated=10, scored=20, size=3),
    cell("weak", "w", generated=10, scored=30, size=3),
    cell("strong", "v", generated=10, scored=20, size=7),
)
NO_SIZES = result(
    cell("weak", "v", generated=10, scored=20, size=3), cell("strong", "v", generated=9, scored=8, size=None)
)
NO_TOKENS = result(cell("weak", "none", generated=None, scored=0, size=None))


def test_a_vote_costs_what_was_generated_and_a_rule_what_was_read_besides() -> None:
    lines = {line["label"]: line for line in lines_of(KNOWN)}
    assert list(lines) == [
        "weak, majority vote", "weak, best of n by v", "weak, best of n by w",
        "strong, majority vote", "strong, best of n by v",
    ]  # fmt: skip
    vote, best = (lines[f"weak, {how}"]["points"][1] for how in ("majority vote", "best of n by v"))
    assert (vote["tokens"], vote["operations"]) == (20, 2 * 20 * 3)
    assert (best["tokens"], best["operations"]) == (60, 2 * (20 * 3 + 40 * 5))
    assert len({line["colour"] for line in lines.values()}) == 2
    assert len({str(lines[f"weak, best of n by {name}"]["style"]) for name in "vw"}) == 2


@pytest.mark.parametrize(
    ("given", "key", "panels"), [(KNOWN, "operations", 2), (NO_SIZES, "tokens", 2), (NO_TOKENS, None, 1)]
)
def test_the_right_panel_has_what_every_line_knows(given: Any, key: str | None, panels: int) -> None:
    lines = lines_of(given)
    axis = cost_axis(lines)
    assert (axis and axis[0]) == key
    axes = comparison_figure(given).axes
    assert len(axes) == panels
    for panel, by in zip(axes, ("n", key), strict=False):
        drawn = {line.get_label(): line.get_xdata() for line in panel.get_lines()}
        assert {label: list(x) for label, x in drawn.items()} == {
            line["label"]: [point[by] for point in line["points"]] for line in lines
        }


def test_a_name_that_steers_is_only_text() -> None:
    named = result(cell("a\x00\x1b[31m$x^{$", "v", generated=1, scored=1, size=1))
    assert lines_of(named)[0]["label"] == "a$x^{$, majority vote"
    comparison_figure(named).draw_without_rendering()


def test_it_is_written_as_a_png(tmp_path: Path) -> None:
    plot_comparison(KNOWN, tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
