"""The pairs of a round: rolled out, scored, chosen, and put together with those of the rounds before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.grading import GradedProblem, grade_pools
from generation.generate import POOL, sample_pool
from generation.learn.loop.config import DpoLoopConfig
from generation.learn.loop.record import Round
from generation.learn.measure import SCORES, as_policy
from generation.pairs.choose import Choice, choose, gather
from generation.pairs.files import read_pairs, write_pairs
from generation.pairs.pair import Pair
from generation.pairs.union import Union, aggregate, check_hash, write_union
from generation.scored import score_pool
from shepherd.errors import ShepherdError
from shepherd.files import read_json, sha256_file, write_json, write_jsonl
from shepherd.records import Problem, ProblemPool, ScoreLine, read_scores
from shepherd.runs import Run

PAIRS, UNION = "pairs", "union.jsonl"


@dataclass(frozen=True, slots=True)
class RoundPairs:
    """What a round gave to learn from.

    Attributes:
        pairs: its own.
        dropped: pairs that were considered and not chosen, by reason.
        sha256: of the file that holds its own.
        union: its own with those of the rounds before; its own alone without DAgger.
        rollouts: candidates.
        pass_at_1: mean share of right ones; None where no problem has a gold answer.
    """

    pairs: list[Pair]
    dropped: Counter[str]
    sha256: str
    union: Union
    rollouts: int
    pass_at_1: float | None

    def check(self, finished: Round, folder: Path) -> None:
        """Refuse to go on where the pairs are not those that the finished round learnt from."""
        if self.union.hash != finished.union_hash:
            raise ShepherdError(
                f"{folder / PAIRS}: the union of the first {finished.round} rounds has changed since round "
                f"{finished.round} learnt from it (hash {self.union.hash[:12]}, was "
                f"{finished.union_hash[:12]}); put the files back, or start a new run"
            )


def pair_up(
    config: DpoLoopConfig,
    run: Run,
    number: int,
    earlier: Sequence[RoundPairs],
    problems: Sequence[Problem],
    adapter: Path | str | None,
) -> RoundPairs:
    """The pairs of a round; what is finished in the run directory is read, not made again.

    Args:
        config: the loop.
        run: its directory, and its log.
        number: of the round, from 1.
        earlier: what the rounds before gave.
        problems: that are rolled out.
        adapter: of the policy that answers them.

    Raises:
        ShepherdError: where the round gives no pair, with the reasons counted; where nobody answers; where a
            finished file has been changed.
    """
    file = run.path / PAIRS / f"round-{number}.jsonl"
    counted = file.with_suffix(".json")
    if counted.exists():
        counts = read_json(counted)
        pairs = read_pairs(file)  # its own errors name the line
        if sha256_file(file) != counts["sha256"]:
            raise ShepherdError(
                f"{file}: has been changed since round {number} made it; put it back, or start a new run"
            )
    elif not problems:
        raise ShepherdError(
            f"{counted}: is gone, and round {number} was learnt from it; put it back, or start a new run"
        )
    else:
        pairs, counts = _make(config, run, number, problems, adapter, file)
        write_json(counted, counts)
    union = aggregate([*(each.pairs for each in earlier), pairs], config.union, dagger=config.dagger)
    return RoundPairs(
        pairs,
        Counter(counts["dropped"]),
        counts["sha256"],
        union,
        counts["rollouts"],
        counts["pass_at_1"],
    )


def make_probe(config: DpoLoopConfig, run: Run, problems: Sequence[Problem]) -> list[Pair]:
    """The fixed held-out pairs of a loop: of the untrained policy's rollouts of the validation problems.

    They are made as a round's are, and never learnt from. There may be none.
    """
    file = run.path / "probe" / "pairs.jsonl"
    counted = file.with_suffix(".json")
    if not counted.exists():
        pools, scores = _roll_out(config, run, 0, problems, config.adapter, file.parent)
        pairs = gather(_choices(config, pools, scores, _graded(config, pools), 0)).pairs
        if pairs:
            write_pairs(file, pairs)
        write_json(counted, {"pairs": len(pairs)})
        run.log(f"{len(pairs)} probe pairs of {len(problems)} validation problems: {file}")
    return read_pairs(file) if read_json(counted)["pairs"] else []


def _make(
    config: DpoLoopConfig,
    run: Run,
    number: int,
    problems: Sequence[Problem],
    adapter: Path | str | None,
    file: Path,
) -> tuple[list[Pair], dict[str, object]]:
    """Roll out, score, choose; the pairs and what is counted of them."""
    folder = run.path / "rollouts" / f"round-{number}"
    pools, scores = _roll_out(config, run, number, problems, adapter, folder)
    graded = _graded(config, pools)
    _require_answers(number, graded)
    choices = _choices(config, pools, scores, graded, number)
    found = gather(choices)
    candidates = sum(len(pool.candidates) for pool in pools)
    if not found.pairs:
        raise ShepherdError(
            f"round {number}: no pair among {candidates:,} candidates of {len(pools):,} problems; these have "
            f"none: {found.reasons()}; lower pairs.margin, raise sampling.temperature or n, or give problems "
            "that the generator sometimes solves"
        )
    write_pairs(file, found.pairs)
    write_jsonl(
        file.with_suffix(".dropped.jsonl"), (each.to_json() for one in choices for each in one.dropped)
    )
    run.log(
        f"round {number}: {len(found.pairs):,} pairs of {found.problems:,} problems: {file}; problems "
        f"without: {found.reasons() or 'none'}"
    )
    known = [each for each in graded if each.gold is not None]
    return found.pairs, {
        "dropped": {name: found.dropped[name] for name in sorted(found.dropped)},
        "problems_without": {name: found.without[name] for name in sorted(found.without)},
        "sha256": sha256_file(file),
        "rollouts": candidates,
        "pass_at_1": float(np.mean([np.mean(each.right) for each in known])) if known else None,
    }


def _roll_out(
    config: DpoLoopConfig,
    run: Run,
    number: int,
    problems: Sequence[Problem],
    adapter: Path | str | None,
    folder: Path,
) -> tuple[list[ProblemPool], list[ScoreLine]]:
    """Let a policy answer problems, and the verifier score what it says."""
    policy = as_policy(
        config, adapter, temperature=config.sampling.temperature, seed=_seed(config.seed, number)
    )
    pools = sample_pool(policy, config.n, problems, folder / POOL)
    score_pool(pools, str(config.verifier), folder / SCORES, config, run.log)
    return pools, read_scores(folder / SCORES, pools)


def _seed(seed: int, number: int) -> int:
    """Another seed a round and a run: problems come again where there are fewer than rollouts need."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _graded(config: DpoLoopConfig, pools: Sequence[ProblemPool]) -> list[GradedProblem]:
    answers = config.answers
    return grade_pools(pools, answers.style, answers.grader, timeout_s=answers.timeout_s)


def _require_answers(number: int, graded: Sequence[GradedProblem]) -> None:
    """A generator that never answers has nothing to learn from here, and no later round would mend it."""
    if any(answer is not None for each in graded for answer in each.answers):
        return
    candidates = sum(len(each.answers) for each in graded)
    raise ShepherdError(
        f"round {number}: none of {candidates:,} candidates states an answer; see rollouts/round-{number}: "
        "raise sampling.max_new_tokens, set answers.style to how the generator writes, or fine-tune it first "
        "(shepherd sft)"
    )


def _choices(
    config: DpoLoopConfig,
    pools: Sequence[ProblemPool],
    scores: Sequence[ScoreLine],
    graded: Sequence[GradedProblem],
    number: int,
) -> list[Choice]:
    return [
        choose(pool, line, grades, config.pairs, prompt=config.prompt, round=number)
        for pool, line, grades in zip(pools, scores, graded, strict=True)
    ]


def keep_union(path: Path, found: RoundPairs, earlier: Sequence[RoundPairs]) -> None:
    """Write the newest round's union, unless it stands there already.

    Raises:
        ShepherdError: where the file is neither this union nor that of the round before: it was changed.
    """
    last = earlier[-1].union.hash if earlier else found.union.hash
    if path.exists() and check_hash(path, found.union.hash, last).hash == found.union.hash:
        return
    write_union(path, found.union)
