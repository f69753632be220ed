"""What is suspicious about step scores, an alarm line each. An alarm is a reason to look, not a verdict.

Every function is pure and returns a `Diagnostic`: a value, the bound it is held against, and one sentence.
Where there is nothing to measure the value is None and there is no alarm. The bounds are conventions, with a
reason at each; they are wide, so that an alarm means something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.first_error import THRESHOLD, first_bad
from eval.judged import Scored
from eval.scores import FloatArray, solution_scores
from shepherd.records import StepRow
from shepherd.steps import prompt, render

FEW = 10
"""With fewer rows than this nothing is an alarm: half of nine rows is no finding."""

BINS = 20
"""Bins of equal width whose entropy says whether scores have collapsed."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One line.

    Attributes:
        name: of the diagnostic.
        value: None where there is nothing to measure.
        bound: what the value is held against.
        alarm: whether it is beyond the bound.
        says: one sentence with the numbers in it.
    """

    name: str
    value: float | None
    bound: float
    alarm: bool
    says: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def diagnose(
    scored: Scored, threshold: float, trained: Mapping[str, float] | None = None
) -> list[Diagnostic]:
    """Every diagnostic of some rows.

    Args:
        scored: rows and their scores.
        threshold: a step is accepted from this score on.
        trained: quantiles of the training texts' lengths; see `length_shift`.
    """
    rows, scores = [each.row for each in scored.rows], scored.scores
    lowest = solution_scores(scores, "min")
    clean = [_is_clean(row) for row in rows]
    accepted = [bool(each >= threshold) for each in lowest]
    right = [each.right for each in scored.rows]
    flat = np.array([value for each in scores for value in each], dtype=np.float64)
    lengths = [text_length(row.question, row.steps) for row in rows]
    written = np.array([sum(map(len, row.steps)) for row in rows], dtype=np.float64)
    counts = np.array([len(row.steps) for row in rows], dtype=np.float64)
    return [
        minimum_on_last_step(scores),
        rank_correlation("score_by_length", "characters", lowest, written, clean),
        rank_correlation("score_by_steps", "steps", lowest, counts, clean),
        right_answer_wrong_process(right, clean, accepted),
        wrong_answer_accepted(right, accepted),
        score_range(flat),
        score_entropy(flat),
        length_shift(lengths, trained),
    ]


def text_length(question: str, steps: Sequence[str]) -> int:
    """Characters of question and steps as a verifier reads them.

    Example:
        >>> text_length("2 + 2?", ["4"])
        19
    """
    return len(prompt(question)) + len(render(steps))


def minimum_on_last_step(scores: Sequence[Sequence[float]]) -> Diagnostic:
    """Share of solutions (of two steps or more) whose lowest score is the last step's.

    Tied lowest steps count by their share. Chance is the mean of 1 / steps. The bound is half-way between
    chance and always: beyond it min is mostly ``last`` by another name, and says little of the process.

    Example:
        >>> found = minimum_on_last_step([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
        >>> found.value, found.bound
        (0.5, 0.75)
    """
    long = [np.asarray(each) for each in scores if len(each) > 1]
    if not long:
        return _nothing("minimum_on_last_step", 1.0, "no solution has two steps")
    lowest = [each == each.min() for each in long]
    value = float(np.mean([each[-1] / each.sum() for each in lowest]))
    chance = float(np.mean([1 / len(each) for each in long]))
    bound = (1 + chance) / 2
    says = f"the last step scores lowest in {value:.0%} of {len(long):,} solutions, by chance in {chance:.0%}"
    return Diagnostic("minimum_on_last_step", value, bound, len(long) >= FEW and value > bound, says)


def rank_correlation(
    name: str, what: str, scores: FloatArray, sizes: FloatArray, kinds: Sequence[object]
) -> Diagnostic:
    """Spearman's correlation of solution scores with a size, among solutions of one kind at a time.

    Long solutions are wrong more often, so a good verifier scores them lower; among right ones, or among
    wrong ones, size should say little. The kinds' correlations are averaged by their solutions. The bound is
    0.5 up or down: a quarter of the ranks' variance is then size's.

    Args:
        name: of the diagnostic.
        what: the size, in words.
        scores: one a solution; shape ``(solutions,)``.
        sizes: shape ``(solutions,)``.
        kinds: what is compared among itself (clean or not); shape ``(solutions,)``.

    Example:
        >>> rank_correlation("x", "steps", np.array([0.9, 0.5, 0.1]), np.array([1, 2, 3]), [1, 1, 1]).value
        -1.0
    """
    from scipy.stats import rankdata  # takes a while to import

    bound, parts = 0.5, []
    for kind in dict.fromkeys(kinds):
        here = np.array([each == kind for each in kinds])
        one, other = rankdata(scores[here]), rankdata(sizes[here])
        if here.sum() > 2 and one.std() > 0 and other.std() > 0:
            parts.append((float(np.corrcoef(one, other)[0, 1]), int(here.sum())))
    if not parts:
        return _nothing(name, bound, f"scores or {what} do not vary")
    total = sum(count for _, count in parts)
    value = sum(each * count for each, count in parts) / total
    value = float(np.clip(round(value, 12), -1, 1))
    says = (
        f"rank correlation of the lowest score with {what}: {value:+.2f}, {total:,} solutions of like verdict"
    )
    return Diagnostic(name, value, bound, total >= FEW and abs(value) > bound, says)


def right_answer_wrong_process(
    right: Sequence[bool | None], clean: Sequence[bool | None], accepted: Sequence[bool]
) -> Diagnostic:
    """Of the solutions with the right answer and a step labelled wrong: the share accepted step by step.

    Bound 0.5: beyond it the verifier vouches for most lucky answers, as an outcome model would.

    Args:
        right: whether the final answer is right; None: unknown.
        clean: whether no step is labelled wrong; None: unknown.
        accepted: whether every step reaches the threshold.

    Example:
        >>> found = right_answer_wrong_process([True, True, False], [False, True, False], [True, True, True])
        >>> found.value, found.alarm
        (1.0, False)
    """
    answers = [each for each in zip(right, clean, accepted, strict=True) if each[0] and each[1] is not None]
    lucky = [passed for _, is_clean, passed in answers if not is_clean]
    name, bound = "right_answer_wrong_process", 0.5
    if not lucky:
        return _nothing(
            name, bound, f"of {len(answers):,} right answers with a labelled process none is wrong"
        )
    value = float(np.mean(lucky))
    says = (
        f"{len(lucky):,} of {len(answers):,} right answers have a wrong step; {value:.0%} of those have all "
        f"steps accepted{_few(len(lucky))}"
    )
    return Diagnostic(name, value, bound, len(lucky) >= FEW and value > bound, says)


def wrong_answer_accepted(right: Sequence[bool | None], accepted: Sequence[bool]) -> Diagnostic:
    """Of the solutions with a wrong answer: the share in which every step is accepted.

    Bound 0.5: a wrong answer has a wrong step, and beyond it most go unseen.

    Args:
        right: whether the final answer is right; None: unknown.
        accepted: whether every step reaches the threshold.

    Example:
        >>> wrong_answer_accepted([False, False, True, None], [True, False, True, True]).value
        0.5
    """
    wrong = [passed for verdict, passed in zip(right, accepted, strict=True) if verdict is False]
    name, bound = "wrong_answer_accepted", 0.5
    if not wrong:
        return _nothing(name, bound, "no solution is known to have a wrong answer")
    value = float(np.mean(wrong))
    says = f"{value:.0%} of {len(wrong):,} wrong answers have every step accepted{_few(len(wrong))}"
    return Diagnostic(name, value, bound, len(wrong) >= FEW and value > bound, says)


def score_range(scores: FloatArray) -> Diagnostic:
    """From the 1st to the 99th percentile of all step scores.

    Bound 0.1, from below: a verifier that sees one wrong step in a hundred must spread further. Scores that
    hardly differ come of a wrong label token or step tag.

    Example:
        >>> score_range(np.array([0.5, 0.5, 0.5])).value
        0.0
    """
    if not len(scores):
        return _nothing("score_range", 0.1, "there are no scores")
    low, high = np.quantile(scores, [0.01, 0.99])
    value = float(high - low)
    says = f"98% of {len(scores):,} step scores lie between {low:.3f} and {high:.3f}"
    return Diagnostic("score_range", value, 0.1, len(scores) >= FEW and value < 0.1, says)


def score_entropy(scores: FloatArray) -> Diagnostic:
    """Entropy of the step scores over 20 bins of equal width, as a share of the most there can be.

    Bound 0.05, from below: 97 in 100 in one bin and the rest in another have less, 96 have more. Such scores
    say one thing of nearly every step.

    Example:
        >>> score_entropy(np.array([0.01, 0.99])).value == float(np.log(2) / np.log(20))
        True
    """
    if not len(scores):
        return _nothing("score_entropy", 0.05, "there are no scores")
    share = np.bincount(np.minimum((scores * BINS).astype(np.int64), BINS - 1), minlength=BINS) / len(scores)
    seen = share[share > 0]
    value = float(max(0.0, -(seen * np.log(seen)).sum()) / np.log(BINS))
    says = (
        f"{value:.0%} of the entropy of evenly spread scores; {share.max():.0%} stand in one of {BINS} bins"
    )
    return Diagnostic("score_entropy", value, 0.05, len(scores) >= FEW and value < 0.05, says)


def length_shift(characters: Sequence[int], trained: Mapping[str, float] | None) -> Diagnostic:
    """Share of the scored texts that are shorter or longer than nine tenths of the training texts.

    In texts like those of the training it is 0.1. Bound 0.5: most texts are then of a length that was rare.

    Args:
        characters: length of each scored text (question and steps).
        trained: ``p5`` and ``p95`` of the training texts, in characters; None where nobody recorded them.

    Example:
        >>> length_shift([10, 50, 99, 200], {"p5": 20, "p95": 100}).value
        0.5
    """
    if trained is None or not characters:
        why = "there are no texts" if not characters else "the verifier's training lengths are not known"
        return _nothing("length_shift", 0.5, why)
    low, high = trained["p5"], trained["p95"]
    value = float(np.mean([not low <= each <= high for each in characters]))
    says = (
        f"{value:.0%} of {len(characters):,} texts are outside {low:,.0f} to {high:,.0f} characters, where "
        f"nine tenths of the training's were; their median is {np.median(characters):,.0f}"
    )
    return Diagnostic("length_shift", value, 0.5, len(characters) >= FEW and value > 0.5, says)


def _is_clean(row: StepRow) -> bool | None:
    bad = first_bad(row.labels)
    if bad is None:  # a wrong step may be known, but not which is the first
        return False if any(label is not None and label < THRESHOLD for label in row.labels) else None
    return bad == len(row.labels)


def _nothing(name: str, bound: float, why: str) -> Diagnostic:
    return Diagnostic(name, None, bound, False, f"not measured: {why}")


def _few(count: int) -> str:
    return f" (fewer than {FEW}: no alarm)" if count < FEW else ""
