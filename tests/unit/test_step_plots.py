"""The pictures of eval-steps: both formats, the same bytes twice, and nothing to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.step_plots import SWEPT, plot_reliability, plot_sweep, reliability_figure, sweep_figure


def result(**changed: Any) -> dict[str, Any]:
    sweep = [
        {"threshold": each / 10, "f1": 0.1 * each, "acc_error": 0.1 * each, "acc_clean": 1 - each / 10}
        for each in range(11)
    ]
    return {
        "sweep": sweep,
        "threshold": {"value": 0.4, "ci95": [0.3, 0.6], "baseline": None},
        "split": {"threshold_fitted": True, "report": {"rows": 10, "problems": 5, "steps": 40}},
        "reliability": [{"mean_score": 0.2, "share_good": 0.1, "count": 20}],
        "ece": {"value": 0.1, "ci95": None, "baseline": None},
        **changed,
    }


def calibrated(kind: str, bins: list[dict[str, float]]) -> dict[str, Any]:
    return result(reliability_calibrated={kind: bins})


def test_both_formats_appear_and_are_the_same_twice(tmp_path: Path) -> None:
    files = [plot_sweep(result(), tmp_path / name / "sweep", "a title") for name in ("one", "two")]
    files += [
        plot_reliability(calibrated("isotonic", result()["reliability"]), tmp_path / name / "r", "a title")
        for name in ("one", "two")
    ]
    assert [path.name for path in files[0]] == ["sweep.png", "sweep.svg"]
    for one, two in (files[:2], files[2:]):
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert files[0][0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in files[0][1].read_bytes()


def test_the_lines_are_the_figures() -> None:
    axes = sweep_figure(result(), "title").axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((0.3, 0.3))
    assert list(lines["F1"].get_ydata()) == pytest.approx([0.1 * each for each in range(11)])
    assert list(lines["clean rows called clean"].get_xdata()) == pytest.approx(
        [each / 10 for each in range(11)]
    )
    assert list(lines["threshold 0.400, fitted on other problems"].get_xdata()) == [0.4, 0.4]
    bins = [{"mean_score": 0.5, "share_good": 0.4, "count": 3}]
    axes = reliability_figure(calibrated("temperature", bins), "title").axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert (list(lines["as it is"].get_xdata()), list(lines["as it is"].get_ydata())) == ([0.2], [0.1])
    assert list(lines["temperature"].get_ydata()) == [0.4]
    assert "40 steps, calibration error 0.100 as it is" in axes.get_title(loc="left")


def test_small_thresholds_are_not_squeezed_into_a_corner() -> None:
    points = [
        {"threshold": each, "f1": 0.5, "acc_error": 0.5, "acc_clean": 0.5} for each in (0, 0.01, 0.02, 0.5)
    ]
    threshold = {"value": 0.01, "ci95": None, "baseline": None}
    figure = sweep_figure(result(sweep=points, threshold=threshold), "title")
    assert figure.axes[0].get_xlim() == pytest.approx((0, 0.021))


def test_nothing_to_draw_is_a_picture_all_the_same(tmp_path: Path) -> None:
    none = {"f1": None, "acc_error": None, "acc_clean": None}
    empty = result(
        sweep=[{"threshold": 0.5, **none}],
        reliability=[],
        ece={"value": None, "ci95": None, "baseline": None},
        threshold={"value": 0.5, "ci95": None, "baseline": None},
    )
    assert all(path.is_file() for path in plot_sweep(empty, tmp_path / "sweep", "$x^{$ <b>"))
    assert all(path.is_file() for path in plot_reliability(empty, tmp_path / "reliability", "$x^{$"))


def test_an_older_result_is_drawn_as_far_as_it_goes() -> None:
    old = {key: result()[key] for key in ("sweep", "threshold", "reliability")}
    lines = [line.get_label() for line in sweep_figure(old, "title").axes[0].get_lines()]
    assert lines == [*SWEPT.values(), "threshold 0.400"]
    assert reliability_figure(old, "title").axes[0].get_title(loc="left") == "title"


def test_a_line_can_be_found_by_its_id() -> None:
    bins = result()["reliability"]
    for figure, names in (
        (sweep_figure(result(), "title"), set(SWEPT)),
        (reliability_figure(calibrated("isotonic", bins), "title"), {"raw", "isotonic"}),
    ):
        found = {line.get_gid() for line in figure.axes[0].get_lines()} - {None}
        assert found == {f"rule-line-{name}" for name in names}
