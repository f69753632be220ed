"""What ends a run that games its rewards, before all of it is lost: bounds on what a policy writes.

A policy that is paid by a verifier finds what the verifier likes and no reader wants: it appends thanks, it
stops writing the step separator, it writes all steps as one (PURE, arXiv 2504.15275, on hacks within 200
steps). Each sentinel looks at one number of a generation batch.

Two things keep an honest run from tripping one. Bounds are set against the run's own start (the median of
its first batches), not against what a solution ought to look like. And it is the *median* of the last batches
that is held against the bound, so that one odd batch, however odd, changes nothing: more than half of a
window must be beyond it. What is not a number at all trips at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean, median
from typing import Any

from pydantic import Field

from generation.learn.grpo.observation import Observation
from shepherd.config import Config

SCORE_WITHOUT_ACCURACY = "score_without_accuracy"
"""The sentinel that holds the verifier's score against held-out accuracy."""


class SentinelConfig(Config):
    """Bounds that end a run; null takes a sentinel off.

    Attributes:
        window: newest batches whose median is held against a bound; a window that is not full trips nothing.
        start: first batches of the run whose median is its start.
        off_format_rise: most by which the share of completions may rise whose steps are not set off: by the
            tag where ``rewards.tags`` asks for it, else by ``Step i``.
        no_steps_rise: the same for completions without any step.
        no_answer_rise: the same for completions that state no answer.
        least_steps: least mean number of steps, as a part of its start: merged steps lie below.
        most_tokens: most mean tokens of a completion, as a multiple of its start.
        cut_rise: most by which the share of completions that ``max_new_tokens`` cuts may rise.
        after_answer_rise: most by which the mean share of a completion's characters may rise that come after
            its first stated answer: thanks and praise.
        least_entropy: least entropy (nats a token), as a part of its start: below, a policy writes one thing
            only and learns nothing more.
        accuracy_fall: most by which held-out accuracy (a share of 1) may fall: each of the newest
            `measurements` lies further below what as many in a row had reached before; no odd one decides it.
        score_rise: most by which the verifier's mean score may have risen since the run's first stretch when
            accuracy has fallen: the verifier is pleased, and the answers are wrong. A score of a stretch is
            the mean over all generation batches since the measurement before it.
        measurements: held-out accuracies in a stretch.
    """

    window: int = Field(5, ge=1)
    start: int = Field(3, ge=1)
    off_format_rise: float | None = Field(0.25, gt=0, le=1)
    no_steps_rise: float | None = Field(0.1, gt=0, le=1)
    no_answer_rise: float | None = Field(0.25, gt=0, le=1)
    least_steps: float | None = Field(0.5, gt=0, lt=1)
    most_tokens: float | None = Field(2.0, gt=1, allow_inf_nan=False)
    cut_rise: float | None = Field(0.25, gt=0, le=1)
    after_answer_rise: float | None = Field(0.15, gt=0, le=1)
    least_entropy: float | None = Field(0.1, gt=0, lt=1)
    score_rise: float = Field(0.02, ge=0, le=1)
    accuracy_fall: float | None = Field(0.1, gt=0, le=1)
    measurements: int = Field(2, ge=1)


@dataclass(frozen=True, slots=True)
class Tripped:
    """A sentinel that ends the run.

    Attributes:
        name: which.
        sentence: what was seen, with the numbers.
        since: the earliest batch of what tripped it: the policy was good before.
    """

    name: str
    sentence: str
    since: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured accuracy after a batch, and the verifier's mean score since the measurement before."""

    batch: int
    accuracy: float
    score: float


class Sentinels:
    """Fed one observation a generation batch; keeps what it needs to judge the next, and nothing else.

    The same observations give the same verdicts, also where the state went through JSON in between.

    Args:
        config: the bounds.

    Example:
        >>> config = SentinelConfig(window=1, start=1)
        >>> sentinels = Sentinels(config)
        >>> good = dict(off_format=0.0, no_steps=0.0, no_answer=0.0, steps=4.0, cut=0.0, after_answer=0.0)
        >>> sentinels.observe(Observation(1, tokens=50.0, **good))
        >>> sentinels = Sentinels.from_json(config, sentinels.to_json())
        >>> sentinels.observe(Observation(2, tokens=150.0, **good)).sentence
        'mean length is 150.0 tokens, 50.0 tokens at the start (batch 2; bound 100.0 tokens): ...'
    """

    def __init__(self, config: SentinelConfig) -> None:
        self.config = config
        self._start: list[Observation] = []
        self._newest: list[Observation] = []
        self._scores: list[float] = []  # since the last measurement
        self._measured: list[Measurement] = []

    def observe(self, seen: Observation) -> Tripped | None:
        """Take an observation; what it trips, or None."""
        broken = _not_finite(seen)
        if broken is not None:
            return broken
        if len(self._start) < self.config.start:
            self._start.append(seen)
        self._newest = [*self._newest, seen][-self.config.window :]
        self._take_accuracy(seen)
        judged = (self._held(bound) for bound in _bounds(self.config))
        return next((each for each in (*judged, self._pleased()) if each is not None), None)

    def to_json(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {
            "start": [asdict(each) for each in self._start],
            "newest": [asdict(each) for each in self._newest],
            "scores": list(self._scores),
            "measured": [asdict(each) for each in self._measured],
        }

    @classmethod
    def from_json(cls, config: SentinelConfig, state: Mapping[str, Any]) -> Sentinels:
        """Go on from a checkpoint's state."""
        found = cls(config)
        found._start = [Observation(**each) for each in state["start"]]
        found._newest = [Observation(**each) for each in state["newest"]]
        found._scores = list(state["scores"])
        found._measured = [Measurement(**each) for each in state["measured"]]
        return found

    def _held(self, bound: _Bound) -> Tripped | None:
        """Hold the newest batches against one bound."""
        begun = _values(self._start, bound.field)
        newest = _values(self._newest, bound.field)
        if len(begun) < self.config.start or len(newest) < self.config.window:
            return None
        start, now = median(each for _, each in begun), median(each for _, each in newest)
        limit = bound.limit(start)
        if not bound.is_beyond(now, limit):
            return None
        since = min(batch for batch, each in newest if bound.is_beyond(each, limit))
        shown = [bound.show(each) for each in (now, start, limit)]
        return Tripped(
            bound.field,
            f"{bound.what} is {shown[0]}, {shown[1]} at the start ({_batches(newest)}; bound {shown[2]}): "
            f"{bound.says}",
            since,
        )

    def _take_accuracy(self, seen: Observation) -> None:
        """Note what was measured, with the scores since the measurement before."""
        if seen.score is not None:
            self._scores.append(seen.score)
        if seen.accuracy is not None and self._scores:
            self._measured.append(Measurement(seen.batch, seen.accuracy, fmean(self._scores)))
            self._scores = []

    def _pleased(self) -> Tripped | None:
        """Is the verifier more pleased than at first, and the accuracy well below its best stretch?

        The score is held against the first stretch, not against the best one: a policy that learns to fool
        the verifier has often raised the score already by the time that accuracy is at its best.
        """
        size, fall = self.config.measurements, self.config.accuracy_fall
        newest, before = self._measured[-size:], self._measured[:-size]
        if fall is None or len(before) < size:
            return None
        stretches = [before[at : at + size] for at in range(len(before) - size + 1)]
        best = max(stretches, key=_least_accuracy)
        was, now = _least_accuracy(best), max(each.accuracy for each in newest)
        first = before[:size]
        score_was, score_now = (fmean(each.score for each in stretch) for stretch in (first, newest))
        if was - now <= fall or score_now - score_was <= self.config.score_rise:
            return None
        return Tripped(
            SCORE_WITHOUT_ACCURACY,
            f"held-out accuracy fell from at least {was:.3f} ({_range(best)}) to at most {now:.3f} "
            f"({_range(newest)}) while the verifier's mean score rose from {score_was:.3f} at first to "
            f"{score_now:.3f} (bounds {fall:g} and {self.config.score_rise:g}): the policy pleases the "
            "verifier and not the truth",
            best[-1].batch + 1,
        )


@dataclass(frozen=True, slots=True)
class _Bound:
    """A bound on one number of an observation.

    Attributes:
        field: of the observation; it names the sentinel too.
        by: rise above the start, or multiple of it.
        is_share: the number is a share that may rise by ``by``; else ``by`` is a multiple of its start.
        what: the number in words.
        says: what it means.
    """

    field: str
    by: float
    is_share: bool
    what: str
    says: str

    def limit(self, start: float) -> float:
        """The bound in the number's own unit."""
        return start + self.by if self.is_share else start * self.by

    def is_beyond(self, value: float, limit: float) -> bool:
        """Is a value worse than the bound? A multiple below 1 is a lower bound."""
        return value < limit if not self.is_share and self.by < 1 else value > limit

    def show(self, value: float) -> str:
        """The number with its unit."""
        if self.is_share:
            return f"{100 * value:.1f}%"
        return {"entropy": f"{value:.4f} nats a token", "tokens": f"{value:.1f} tokens"}.get(
            self.field, f"{value:.1f}"
        )


def _bounds(config: SentinelConfig) -> Iterator[_Bound]:
    """The bounds that are on, the plainest sign of a hack first."""
    rises = (
        ("no_steps", config.no_steps_rise, "share of completions without steps", "steps are gone"),
        (
            "off_format",
            config.off_format_rise,
            "share of completions whose steps are not set off",
            "the step separator is dropped",
        ),
        (
            "after_answer",
            config.after_answer_rise,
            "share of characters after the stated answer",
            "text is appended that answers nothing",
        ),
        ("no_answer", config.no_answer_rise, "share of completions without an answer", "answers are gone"),
        ("cut", config.cut_rise, "share of completions cut by max_new_tokens", "a length explosion"),
    )
    multiples = (
        ("steps", config.least_steps, "mean number of steps", "steps are merged"),
        ("tokens", config.most_tokens, "mean length", "a length explosion"),
        ("entropy", config.least_entropy, "mean entropy", "an entropy collapse"),
    )
    for is_share, known in ((True, rises), (False, multiples)):
        for field, by, what, says in known:
            if by is not None:
                yield _Bound(field, by, is_share, what, says)


def _values(seen: Sequence[Observation], field: str) -> list[tuple[int, float]]:
    """Batch and value of those observations that have one."""
    return [(each.batch, value) for each in seen if (value := getattr(each, field)) is not None]


def _not_finite(seen: Observation) -> Tripped | None:
    """What is no number is no observation: training has diverged."""
    for each in fields(seen):
        value = getattr(seen, each.name)
        if value is not None and not math.isfinite(value):
            return Tripped(
                "not_finite",
                f"{each.name} of batch {seen.batch} is {value}: training has diverged",
                seen.batch,
            )
    return None


def _least_accuracy(stretch: Sequence[Measurement]) -> float:
    return min(each.accuracy for each in stretch)


def _batches(newest: Sequence[tuple[int, float]]) -> str:
    first, last = newest[0][0], newest[-1][0]
    return f"batch {last}" if first == last else f"median of batches {first} to {last}"


def _range(stretch: Sequence[Measurement]) -> str:
    first, last = stretch[0].batch, stretch[-1].batch
    return f"after batch {last}" if first == last else f"after batches {first} to {last}"
