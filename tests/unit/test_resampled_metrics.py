"""Resampled AUC and average precision against scikit-learn's with weights; intervals by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from eval.ranking import Ranking
from eval.resampling import interval, problem_weights
from eval.steps import METRICS, step_metrics
from shepherd.records import StepRow


@given(st.integers(0, 100_000))
def test_weights_are_scikit_learns_sample_weight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, problems = int(rng.integers(2, 40)), 5
    score = rng.integers(0, 8, size=size) / 7
    good, problem = rng.random(size) < 0.6, rng.integers(0, problems, size=size)
    weights = rng.integers(0, 4, size=(3, problems)).astype(float)
    ranking = Ranking(score, good, problem)
    auc, ap = ranking.auc(weights), ranking.average_precision(weights)
    for at, mine in enumerate(weights[:, problem]):
        if mine[good].sum() == 0 or mine[~good].sum() == 0:
            assert np.isnan(auc[at])
            assert np.isnan(ap[at])
            continue
        here = mine > 0
        expected = metrics.roc_auc_score(good[here], score[here], sample_weight=mine[here])
        assert auc[at] == pytest.approx(expected)
        expected = metrics.average_precision_score(~good[here], -score[here], sample_weight=mine[here])
        assert ap[at] == pytest.approx(expected)


@given(st.integers(0, 10_000))
def test_every_step_metric_of_a_resample_is_that_of_the_repeated_rows(seed: int) -> None:
    """The interval's resamples are the metric itself, on rows repeated as often as they were drawn."""
    from eval import steps

    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for number in range(8):
        size = int(rng.integers(1, 5))
        labels = tuple(float(rng.random() < 0.6) if rng.random() < 0.9 else None for _ in range(size))
        rows.append(StepRow(f"q{number % 4}", ("s",) * size, labels))
        scores.append((rng.integers(0, 6, size=size) / 5).tolist())
    table = steps._table(rows, scores, [steps._is_right(row) for row in rows], "min")
    counts = rng.integers(0, 3, size=4)
    seen: dict[str, np.ndarray] = {}

    def keep(value: float | None, drawn: np.ndarray) -> tuple[float, float]:
        seen[str(len(seen))] = drawn
        return (0.0, 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "problem_weights", lambda *_: iter([counts[None].astype(float)]))
        patch.setattr(steps, "interval", keep)
        steps._intervals(table, dict.fromkeys(METRICS), 1, 0)
    if not seen:
        return
    # Each copy of a question is a question of its own.
    copies = [
        (StepRow(f"{row.question}#{copy}", row.steps, row.labels), mine)
        for row, mine in zip(rows, scores, strict=True)
        for copy in range(counts[int(row.question[1:])])
    ]
    again = step_metrics([row for row, _ in copies], [mine for _, mine in copies])
    for name, drawn in zip(METRICS, seen.values(), strict=True):
        value = getattr(again, name).value
        assert (None if np.isnan(drawn[0]) else drawn[0]) == pytest.approx(value), name


def test_blocks_do_not_depend_on_anything_but_their_arguments() -> None:
    blocks = list(problem_weights(7, 50, seed=3, columns=1 << 18))
    assert len(blocks) > 1
    counts = np.concatenate(blocks)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert np.array_equal(counts, np.concatenate(list(problem_weights(7, 50, seed=3, columns=1 << 18))))
    assert list(problem_weights(0, 10, 0)) == []


def test_an_unbiased_figure_has_the_plain_percentiles() -> None:
    drawn = np.arange(1001) / 1000
    assert interval(0.5, drawn) == pytest.approx((0.025, 0.975), abs=1e-3)


def test_a_bias_is_taken_back() -> None:
    """Where nine tenths of the resamples lie above the value, the interval moves down."""
    drawn = np.arange(1001) / 1000
    low, high = interval(0.1, drawn) or (1, 1)
    assert low < 0.001
    # Phi(2 * Phi^-1(0.1) + 1.96), by the formula.
    assert high == pytest.approx(0.27, abs=0.01)
    assert interval(0.3, np.full(10, np.nan)) is None
    assert interval(0.3, np.r_[np.full(10, np.nan), 0.3]) == (0.3, 0.3)


@pytest.mark.slow
def test_the_interval_of_an_auc_covers_it_over_problems() -> None:
    """400 samples of 60 problems with 4 steps each; the problem shifts all of its steps."""
    rng = np.random.default_rng(0)

    def draw(problems: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        problem = np.repeat(np.arange(problems), 4)
        good = rng.random(len(problem)) < 0.7
        score = rng.normal(size=problems)[problem] + rng.normal(size=len(problem)) + 1.2 * good
        return 1 / (1 + np.exp(-score)), good, problem

    score, good, _ = draw(100_000)
    truth = metrics.roc_auc_score(good, score)
    held = 0
    for seed in range(400):
        score, good, problem = draw(60)
        ranking = Ranking(score, good, problem)
        drawn = np.concatenate([ranking.auc(each) for each in problem_weights(60, 500, seed)])
        low, high = interval(float(metrics.roc_auc_score(good, score)), drawn) or (1, 0)
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 0.975
