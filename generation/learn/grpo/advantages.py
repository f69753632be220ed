"""Advantages of a group: how much better than its fellows a completion, or a part of it, was.

A group is the G completions of one prompt. Two ways for process rewards, both pure:

- `process_advantages`, DeepSeekMath's: every step counts, so that a solution of more good steps gets more.
- `min_advantages`, PURE's: a solution is worth its weakest step, and that step alone is to blame.

Everything is float64. A group's scale is its population standard deviation: the group is all there is to be
scaled, not a sample of it, so that the mean square is 1 whatever G (TRL takes the sample's, which makes the
same advantages 13% smaller in a group of 4), and a group of one has a spread, 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, overload

import numpy as np

from eval.scores import FloatArray

Credit = Literal["step", "until"]
"""Which tokens carry the advantage of a minimum: those of the step that sets it, or all up to its end."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Up to which spread rewards are equal: rewards come out of float32, where equal ones differ by 1e-7.

    Attributes:
        absolute: in units of the reward.
        relative: as a part of the largest reward in magnitude.
    """

    absolute: float = 1e-6
    relative: float = 1e-6

    def bound(self, values: FloatArray) -> float:
        """The largest spread (largest less least) at which these values are equal."""
        return self.absolute + self.relative * float(np.max(np.abs(values), initial=0.0))

    def equal(self, values: FloatArray) -> bool:
        """Whether all values are equal, but for float noise; so they are where there is none.

        Example:
            >>> Tolerance().equal(np.array([1.0, 1.0000001])), Tolerance().equal(np.array([1.0, 0.99]))
            (True, False)
        """
        return values.size == 0 or float(values.max() - values.min()) <= self.bound(values)


def outcome_advantages(rewards: FloatArray, tolerance: Tolerance) -> FloatArray:
    """Z-scores within the group: less the mean, in units of the population standard deviation.

    GRPO's outcome supervision (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

    Args:
        rewards: one a completion; shape ``(G,)``, finite.
        tolerance: zeros where the rewards are equal within it: noise must not be blown up to a standard
            deviation.

    Returns:
        Shape ``(G,)``; mean 0 and mean square 1, or all 0.

    Raises:
        ValueError: for another shape, or a reward that is no finite number (a gate refuses those first).

    Example:
        >>> outcome_advantages(np.array([1.0, 0.0, 0.0, 1.0]), Tolerance()).tolist()
        [1.0, -1.0, -1.0, 1.0]
        >>> outcome_advantages(np.array([0.3, 0.3 + 1e-8]), Tolerance()).tolist()
        [0.0, 0.0]
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"rewards must be of shape (G,); found {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"rewards must be finite; found {values.tolist()}")
    if tolerance.equal(values):
        return np.zeros(len(values))
    scale = float(np.max(np.abs(values)))  # squares of tiny or huge rewards neither vanish nor overflow
    centred = values / scale - np.mean(values / scale)
    return np.asarray(centred / np.sqrt(np.mean(centred**2)), dtype=np.float64)


def process_advantages(
    step_rewards: Sequence[Sequence[float]],
    ends: Sequence[Sequence[int]],
    lengths: Sequence[int],
    tolerance: Tolerance,
) -> list[FloatArray]:
    """DeepSeekMath's process supervision (arXiv 2402.03300, section 4.1.3).

    The rewards of all steps of the group are normalised together; a token gets the sum over the steps that
    end at or after it. So a solution gains by every step above the group's mean: more of them pay.

    Args:
        step_rewards: one sequence a completion, finite; shape ``(G,)`` of ``(steps_i,)``.
        ends: index of the last token of each step, as `step_ends` gives it; same shapes.
        lengths: tokens of each completion; shape ``(G,)``.
        tolerance: zeros everywhere where all step rewards are equal within it.

    Returns:
        G arrays of shape ``(lengths_i,)``; 0 on tokens after the last step, and in a solution without steps.

    Example:
        >>> for each in process_advantages([[1.0, 0.0], [1.0]], [[0, 2], [1]], [4, 2], Tolerance()):
        ...     print(each.round(3).tolist())
        [-0.707, -1.414, -1.414, 0.0]
        [0.707, 0.707]
    """
    _check(step_rewards, ends, lengths)
    normalised = outcome_advantages(np.array([r for each in step_rewards for r in each]), tolerance)
    found: list[FloatArray] = []
    first = 0
    for own_ends, length in zip(ends, lengths, strict=True):
        at_end = np.zeros(length)
        np.add.at(at_end, np.array(own_ends, dtype=np.int64), normalised[first : first + len(own_ends)])
        found.append(np.cumsum(at_end[::-1])[::-1])
        if own_ends:
            found[-1][own_ends[-1] + 1 :] = 0.0
        first += len(own_ends)
    return found


def min_returns(step_rewards: Sequence[Sequence[float]]) -> FloatArray:
    """The return of each solution: the reward of its weakest step, 0 without steps; shape ``(G,)``.

    Example:
        >>> min_returns([[0.9, 0.2], []]).tolist()
        [0.2, 0.0]
    """
    return np.array([min(each, default=0.0) for each in step_rewards], dtype=np.float64)


def min_advantages(
    step_rewards: Sequence[Sequence[float]],
    ends: Sequence[Sequence[int]],
    lengths: Sequence[int],
    tolerance: Tolerance,
    credit: Credit = "step",
) -> list[FloatArray]:
    """The min-form: a solution's return is its minimum, and the step that sets it has the credit.

    The argument is PURE's (arXiv 2504.15275): with a sum, steps pay for being many. Returns, not steps, are
    centred and scaled, so that neither the number of steps of a solution nor that of its fellows moves the
    baseline. Of equal steps the first one sets the minimum.

    A step inserted at or above the minimum of those before it, or anywhere and above the solution's, changes
    no advantage of any other token. Its own tokens carry nothing; with ``until`` they carry the solution's
    advantage if they stand before the step that sets the minimum, since that lies in their future.

    Merging two steps into one can raise a minimum (a verifier that reads both together may be kinder than it
    was to the worse one): nothing here can see that. The sentinel on the number of steps watches it.

    Args:
        step_rewards: as in `process_advantages`; none below 0, which is the return of a solution without
            steps: dropping the steps would pay.
        ends: as in `process_advantages`.
        lengths: as in `process_advantages`.
        tolerance: zeros everywhere where all returns are equal within it.
        credit: ``step``: the tokens of the step that sets the minimum alone carry the advantage; ``until``:
            all tokens up to its end do, whose future it is.

    Returns:
        G arrays of shape ``(lengths_i,)``. A solution without steps carries its advantage on all its tokens,
        nothing else could be blamed.

    Example:
        >>> steps, ends = [[0.9, 0.1, 0.5], [0.8, 0.7]], [[0, 2, 3], [0, 1]]
        >>> [each.round(9).tolist() for each in min_advantages(steps, ends, [4, 2], Tolerance())]
        [[0.0, -1.0, -1.0, 0.0], [0.0, 1.0]]
        >>> [each.round(9).tolist() for each in min_advantages(steps, ends, [4, 2], Tolerance(), "until")]
        [[-1.0, -1.0, -1.0, 0.0], [1.0, 1.0]]
    """
    _check(step_rewards, ends, lengths)
    if any(reward < 0 for each in step_rewards for reward in each):
        raise ValueError(
            "a step reward below 0: the return of a solution without steps is 0, so that dropping the steps "
            "would pay"
        )
    found: list[FloatArray] = []
    advantages = outcome_advantages(min_returns(step_rewards), tolerance)
    for rewards, own_ends, length, advantage in zip(step_rewards, ends, lengths, advantages, strict=True):
        tokens = np.zeros(length)
        if not rewards:
            tokens[:] = advantage
        else:
            weakest = min(range(len(rewards)), key=rewards.__getitem__)
            tokens[_carried(own_ends, weakest, credit)] = advantage
        found.append(tokens)
    return found


def _carried(ends: Sequence[int], step: int, credit: Credit) -> slice:
    """Tokens that carry the credit of a step; one that lies inside a token of the step before has that."""
    last = ends[step]
    first = 0 if credit == "until" or step == 0 else min(ends[step - 1] + 1, last)
    return slice(first, last + 1)


@overload
def hybrid(advantages: FloatArray, returns: FloatArray, weight: float, baseline: float) -> FloatArray: ...
@overload
def hybrid(
    advantages: Sequence[FloatArray], returns: FloatArray, weight: float, baseline: float
) -> list[FloatArray]: ...
def hybrid(
    advantages: FloatArray | Sequence[FloatArray], returns: FloatArray, weight: float, baseline: float
) -> FloatArray | list[FloatArray]:
    """Add ``weight × (return − baseline)``: a group that is all good, or all bad, still says so.

    Within a group z-scores know only who is better; of eight right solutions, or eight wrong ones, they say
    nothing. The absolute term does, in units of the reward.

    Args:
        advantages: of a group: one a completion, shape ``(G,)``, or G arrays of one a token.
        returns: what each completion got in all; shape ``(G,)``.
        weight: of the absolute term; 0 leaves the advantages as they are.
        baseline: the return that is neither good nor bad.

    Returns:
        As `advantages`, new; on every token of a completion the same is added.

    Example:
        >>> hybrid(np.array([0.0, 0.0]), np.array([1.0, 1.0]), weight=0.5, baseline=0.5).tolist()
        [0.25, 0.25]
    """
    absolute = weight * (np.asarray(returns, dtype=np.float64) - baseline)
    if len(absolute) != len(advantages):
        raise ValueError(f"{len(advantages)} advantages and {len(absolute)} returns; a group has one each")
    if isinstance(advantages, np.ndarray):
        return np.asarray(advantages + absolute, dtype=np.float64)
    return [each + more for each, more in zip(advantages, absolute, strict=True)]


def combine(
    parts: Sequence[tuple[float, FloatArray | Sequence[FloatArray]]], lengths: Sequence[int]
) -> list[FloatArray]:
    """Weigh and add advantages of a group, those of completions and those of tokens, token by token.

    Args:
        parts: weight and advantages each: one a completion (an array of shape ``(G,)``, for all its tokens)
            or G arrays of one a token.
        lengths: tokens of each completion; shape ``(G,)``.

    Returns:
        G arrays of shape ``(lengths_i,)``; zeros where there are no parts.

    Example:
        >>> outcome, process = np.array([1.0, -1.0]), [np.array([0.0, 2.0]), np.array([-2.0])]
        >>> [each.tolist() for each in combine([(1.0, outcome), (0.5, process)], [2, 1])]
        [[1.0, 2.0], [-2.0]]
    """
    found = [np.zeros(length) for length in lengths]
    for weight, part in parts:
        if len(part) != len(lengths):
            raise ValueError(f"a part for {len(part)} completions in a group of {len(lengths)}")
        for tokens, each in zip(found, part, strict=True):
            if np.ndim(each) and np.shape(each) != tokens.shape:
                raise ValueError(f"a part of shape {np.shape(each)} for a completion of {len(tokens)} tokens")
            tokens += weight * each
    return found


def _check(
    step_rewards: Sequence[Sequence[float]], ends: Sequence[Sequence[int]], lengths: Sequence[int]
) -> None:
    if not len(step_rewards) == len(ends) == len(lengths):
        raise ValueError(
            f"rewards of {len(step_rewards)} completions, ends of {len(ends)}, lengths of {len(lengths)}"
        )
    for rewards, own_ends, length in zip(step_rewards, ends, lengths, strict=True):
        if len(rewards) != len(own_ends):
            raise ValueError(f"{len(rewards)} step rewards and {len(own_ends)} ends; a step has one each")
        if not all(map(math.isfinite, rewards)):  # a minimum may pass a NaN over
            raise ValueError(f"step rewards must be finite; found {list(rewards)}")
        places = [0, *own_ends, length - 1] if own_ends else []
        if any(later < earlier for earlier, later in pairwise(places)):
            raise ValueError(f"ends must not fall and lie in 0 to {length - 1}; found {list(own_ends)}")
