"""The picture is written whole, needs no display, and its labels keep apart."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from eval.plots import _LABEL_GAP, _spread, plot_curves

REPORT = {
    "problems": 500,
    "curves": {
        rule: [{"n": n, "accuracy": 0.04 * n, "ci95": [0.03 * n, 0.05 * n]} for n in (1, 2, 4, 13)]
        for rule in (
            "pass_at_n",
            "majority",
            "min",
            "softmin",
            "weighted_calibrated_softmin",
            "shuffled",
            "random",
        )
    },
}


def test_it_writes_a_png(tmp_path: Path) -> None:
    plot_curves(REPORT, tmp_path / "curves.png", "weak generator")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in tmp_path.iterdir()] == ["curves.png"]
    assert "matplotlib.pyplot" not in sys.modules


def test_one_point_is_a_picture_too(tmp_path: Path) -> None:
    curves = {"majority": [{"n": 1, "accuracy": 0.5, "ci95": [0.5, 0.5]}]}
    plot_curves({"problems": 1, "curves": curves}, tmp_path / "one.png", "costs $5, not $x^{")
    assert (tmp_path / "one.png").stat().st_size > 1000


@given(st.lists(st.floats(0, 1), max_size=30))
def test_labels_keep_their_order_and_distance_inside_the_axes(heights: list[float]) -> None:
    placed = _spread(sorted(heights))
    assert all(0 <= height <= 1 + 1e-9 for height in placed)
    for lower, upper in pairwise(placed):
        assert upper - lower >= min(_LABEL_GAP, 1 / (len(placed) - 1)) - 1e-9
