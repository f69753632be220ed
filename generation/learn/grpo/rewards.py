"""What a completion is rewarded for: by its text, by its answer, by scores that the caller computed.

Each reward is a number a completion, kept by its name, so that each can be looked at on its own; `total` adds
them by weight. A reward that cannot be given (no gold answer to compare with) is NaN, and so is a total that
needs it: nothing is made up, and the gates put the group aside.
"""

from __future__ import annotations

import importlib
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from eval.grading import Answer
from eval.scores import Aggregation, FloatArray, solution_scores
from generation.learn.grpo.format import read_format
from shepherd.answers import AnswerStyle
from shepherd.config import Config
from shepherd.errors import ShepherdError
from shepherd.steps import TAG

CustomReward = Callable[[str, str, str | None, Sequence[float]], float]
"""Question, completion, gold answer (None where nobody knows it) and step scores in, the reward out."""

ProcessForm = Literal["min", "deepseek"]

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_EXPECTED = "a custom reward is module:function, as in my_rewards:brevity"


class RewardsConfig(Config):
    """Weights of the rewards; one that weighs 0 is not computed.

    Attributes:
        outcome: 1 for the gold answer, else 0.
        verifier: the verifier's score of the whole solution.
        process: the verifier's scores of the steps, each given to its step.
        soft_format: the share of the format that is kept.
        short_response: for a right answer, what is left of ``max_new_tokens``.
        custom: further ones as ``module:function``; a weight below 0 makes a penalty.
        aggregation: from step scores to ``verifier``.
        tags: each step is to be closed by the tag, as the packaged generators do.
    """

    outcome: float = Field(1.0, ge=0, allow_inf_nan=False)
    verifier: float = Field(0.0, ge=0, allow_inf_nan=False)
    process: float = Field(0.0, ge=0, allow_inf_nan=False)
    soft_format: float = Field(0.0, ge=0, allow_inf_nan=False)
    short_response: float = Field(0.0, ge=0, allow_inf_nan=False)
    custom: dict[str, float] = Field(default_factory=dict)
    aggregation: Aggregation = "min"
    tags: bool = False

    @field_validator("custom")
    @classmethod
    def _named(cls, custom: dict[str, float]) -> dict[str, float]:
        for name, weight in custom.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: {_EXPECTED}")
            if not math.isfinite(weight):
                raise ValueError(f"{name}: its weight must be a number, found {weight}")
        return custom

    @model_validator(mode="after")
    def _rewards_something(self) -> RewardsConfig:
        if not self.weights():
            raise ValueError("every reward weighs 0; give one a weight, as in rewards.outcome=1")
        return self

    def weights(self) -> dict[str, float]:
        """Weights by name, those of 0 left out."""
        named = {name: getattr(self, name) for name in BUILT_IN}
        return {name: weight for name, weight in (named | self.custom).items() if weight}

    @property
    def per_completion(self) -> dict[str, float]:
        """Weights of what rewards a completion as a whole: all but ``process``."""
        return {name: weight for name, weight in self.weights().items() if name != "process"}

    @property
    def needs_verifier(self) -> bool:
        """Is anything rewarded that the verifier's scores are needed for (custom rewards may do without)?"""
        return bool(self.verifier or self.process)


BUILT_IN = ("outcome", "verifier", "process", "soft_format", "short_response")


def outcome(answer: Answer | None, gold: Answer | None) -> float:
    """1 for the gold answer, 0 for another or none; NaN where there is no gold answer to compare with.

    Args:
        answer: as `eval.grading.grade` reads it from the completion; None equals nothing.
        gold: as it reads the problem's.

    Example:
        >>> from fractions import Fraction
        >>> outcome(Fraction(12), Fraction(12)), outcome(None, Fraction(12)), outcome(None, None)
        (1.0, 0.0, nan)
    """
    if gold is None:
        return math.nan
    return float(answer is not None and answer == gold)


def soft_format(text: str, *, tags: bool, style: AnswerStyle = "auto", tag: str = TAG) -> float:
    r"""The share of the format that a completion keeps, so that every bit of it pays.

    The mean of: the share of steps that begin with their own number; where `tags`, the share of steps closed
    by the tag; and the answer, a third each for being stated, for being stated once and for being the end of
    the text (a unit of up to three words may follow). A text without steps has nothing of the first two.

    Args:
        text: the completion.
        tags: whether each step is to be closed by the tag.
        style: how answers are stated.
        tag: the tag.

    Returns:
        In [0, 1]; 0 for an empty text.

    Example:
        >>> soft_format("Step 1: 2 + 3 = 5 ки\nStep 2: 5 * 2 = 10 The answer is: 10 ки", tags=True)
        1.0
        >>> soft_format("Step 1: 2 + 3 = 5\nStep 3: 5 * 2 = 10 The answer is: 10", tags=True)
        0.5
        >>> soft_format("", tags=False)
        0.0
    """
    return read_format(text, style, tag).soft(tags=tags)


def short_response(tokens: int, max_new_tokens: int, right: float) -> float:
    """For a right answer, what is left of the tokens that were allowed; for any other 0.

    On its own it would pay most for saying nothing at all, and for a guess more than for work; so it is given
    to right answers alone.

    Args:
        tokens: of the completion.
        max_new_tokens: the most it could have; at least 1.
        right: its `outcome`.

    Returns:
        In [0, 1], falling linearly from 1 to 0 at `max_new_tokens`; NaN where `right` is.

    Example:
        >>> short_response(64, 256, 1.0), short_response(0, 256, 0.0), short_response(64, 256, math.nan)
        (0.75, 0.0, nan)
    """
    return right * max(0.0, 1.0 - tokens / max_new_tokens)


def verifier_outcomes(step_scores: Sequence[Sequence[float]], how: Aggregation) -> FloatArray:
    """The verifier's score of each solution; 0 without steps.

    Args:
        step_scores: P(step is correct) of each solution's steps; shape ``(G,)`` of ``(steps_i,)``.
        how: from step scores to the solution's.

    Returns:
        Shape ``(G,)``, in [0, 1].

    Example:
        >>> verifier_outcomes([[0.9, 0.5], []], "min").tolist()
        [0.5, 0.0]
    """
    return solution_scores(step_scores, how)


def process_returns(step_scores: Sequence[Sequence[float]], form: ProcessForm) -> FloatArray:
    """The process reward as one number a solution: for its log, and in the total that the gates look at.

    The rewards of the steps are the scores themselves, and become advantages in
    `generation.learn.grpo.advantages`. What a solution got in all is in the min-form the least of them, its
    very return; in DeepSeekMath's form, which adds them up, their mean: the sum would call a long solution
    good.

    Args:
        step_scores: as in `verifier_outcomes`.
        form: which advantages are made of them.

    Returns:
        Shape ``(G,)``, in [0, 1]; 0 without steps.

    Example:
        >>> [process_returns([[1.0, 0.5], []], form).tolist() for form in ("min", "deepseek")]
        [[0.5, 0.0], [0.75, 0.0]]
    """
    return solution_scores(step_scores, "min" if form == "min" else "mean")


def total(rewards: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """The rewards of a group, weighed and added.

    Args:
        rewards: by name, each of shape ``(G,)``; more than there are weights will do.
        weights: by name; at least one.

    Returns:
        Shape ``(G,)``; NaN where a reward that weighs anything is NaN (one that weighs 0 does not count).

    Raises:
        ValueError: for a weight without rewards, or no weights.

    Example:
        >>> total({"outcome": np.array([1.0, 0.0]), "verifier": np.array([0.5, 0.5])},
        ...       {"outcome": 1.0, "verifier": 0.5}).tolist()
        [1.25, 0.25]
    """
    missing = [name for name in weights if name not in rewards]
    if missing or not weights:
        raise ValueError(f"no rewards named {', '.join(missing)}" if missing else "a total of no rewards")
    parts = [
        weight * np.asarray(rewards[name], dtype=np.float64) if weight else np.zeros(len(rewards[name]))
        for name, weight in weights.items()
    ]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float64)


def load_custom(name: str) -> CustomReward:
    """Load a reward of the user's own.

    It is called with the question, the completion, the gold answer (None where nobody knows it) and the step
    scores (none where no verifier runs), in this order, and gives a finite number.

    Args:
        name: ``module:function``; the module is found as Python finds any, so it is to be installed, or its
            folder on ``PYTHONPATH``.

    Returns:
        The function, checked at each call: an exception of its own, or what is no finite number, is a
        `ShepherdError` that names it and keeps the cause.

    Raises:
        ShepherdError: where there is no such module or function, or the module cannot be imported.

    Example:
        >>> load_custom("operator:nothing")
        Traceback (most recent call last):
        shepherd.errors.ShepherdError: rewards.custom: module operator has no function nothing; a custom ...
    """
    module_name, colon, function_name = name.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise ShepherdError(f"rewards.custom: {name!r:.80}; {_EXPECTED}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise ShepherdError(
                f"rewards.custom: no module {module_name}; install it, or put its folder on PYTHONPATH"
            ) from error
        raise ShepherdError(
            f"rewards.custom: module {module_name} cannot be imported: {_said(error)}; mend it"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ShepherdError(
            f"rewards.custom: module {module_name} has no function {function_name}; {_EXPECTED}"
        )
    return _checked(function, name)


def _checked(function: Callable[..., object], name: str) -> CustomReward:
    """The function, held to its promise."""

    def reward(question: str, completion: str, answer: str | None, step_scores: Sequence[float]) -> float:
        try:
            found = function(question, completion, answer, tuple(step_scores))
        except Exception as error:
            raise ShepherdError(
                f"rewards.custom.{name}: {_said(error)}, for a completion of {len(completion)} characters; "
                "mend the function: it is called with question, completion, answer, step_scores"
            ) from error
        value = _number(found)
        if value is None:
            raise ShepherdError(f"rewards.custom.{name}: gave {_shown(found)}; a reward is a finite number")
        return value

    return reward


def _number(found: object) -> float | None:
    """A finite number as a float; None for anything else."""
    if not isinstance(found, numbers.Real):
        return None
    try:
        value = float(found)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _said(error: BaseException) -> str:
    """What an exception says, on one line that no text of a model's can break."""
    said = " ".join(str(error).split())[:200]
    said = "".join(each if each.isprintable() else "?" for each in said)
    return type(error).__name__ + (f" ({said})" if said else "")


def _shown(found: object) -> str:
    """A value as Python writes it, if that is short and on one line; else its type."""
    kind = type(found).__name__
    return f"{kind} {found!r:.60}" if isinstance(found, str | bool | float) else kind
