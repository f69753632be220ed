"""The pictures of eval-steps: both formats, the same bytes twice, and nothing to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from eval.step_plots import plot_reliability, plot_sweep


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


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures as they are saved."""
    seen: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: Any, **named: Any) -> None:
        seen.append(self)
        save(self, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    return seen


def test_both_formats_appear_and_are_the_same_twice(tmp_path: Path) -> None:
    files = [plot_sweep(result(), tmp_path / name / "sweep", "a title") for name in ("one", "two")]
    files += [
        plot_reliability(result(), {"isotonic": result()["reliability"]}, tmp_path / name / "r", "a title")
        for name in ("one", "two")
    ]
    assert [path.name for path in files[0]] == ["sweep.png", "sweep.svg"]
    for one, two in (files[:2], files[2:]):
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert files[0][0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in files[0][1].read_bytes()


def test_the_lines_are_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch)
    plot_sweep(result(), tmp_path / "sweep", "title")
    lines = {line.get_label(): line for line in seen[0].axes[0].get_lines()}
    assert list(lines["F1"].get_ydata()) == pytest.approx([0.1 * each for each in range(11)])
    assert list(lines["clean rows called clean"].get_xdata()) == pytest.approx(
        [each / 10 for each in range(11)]
    )
    assert list(lines["threshold 0.400, fitted on other problems"].get_xdata()) == [0.4, 0.4]
    plot_reliability(result(), {"temperature": [{"mean_score": 0.5, "share_good": 0.4, "count": 3}]},
                     tmp_path / "reliability", "title")  # fmt: skip
    lines = {line.get_label(): line for line in seen[-1].axes[0].get_lines()}
    assert (list(lines["as it is"].get_xdata()), list(lines["as it is"].get_ydata())) == ([0.2], [0.1])
    assert list(lines["temperature"].get_ydata()) == [0.4]
    assert "40 steps, calibration error 0.100 as it is" in seen[-1].axes[0].get_title(loc="left")


def test_small_thresholds_are_not_squeezed_into_a_corner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = drawn(monkeypatch)
    points = [
        {"threshold": each, "f1": 0.5, "acc_error": 0.5, "acc_clean": 0.5} for each in (0, 0.01, 0.02, 0.5)
    ]
    threshold = {"value": 0.01, "ci95": None, "baseline": None}
    plot_sweep(result(sweep=points, threshold=threshold), tmp_path / "sweep", "title")
    assert seen[0].axes[0].get_xlim() == pytest.approx((0, 0.021))


def test_nothing_to_draw_is_a_picture_all_the_same(tmp_path: Path) -> None:
    none = {"f1": None, "acc_error": None, "acc_clean": None}
    empty = result(
        sweep=[{"threshold": 0.5, **none}],
        reliability=[],
        ece={"value": None, "ci95": None, "baseline": None},
        threshold={"value": 0.5, "ci95": None, "baseline": None},
    )
    assert all(path.is_file() for path in plot_sweep(empty, tmp_path / "sweep", "$x^{$ <b>"))
    assert all(path.is_file() for path in plot_reliability(empty, {}, tmp_path / "reliability", "$x^{$"))
