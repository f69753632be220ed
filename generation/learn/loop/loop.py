"""`shepherd dpo-loop`: round after round, a policy learns from what the verifier says of its own solutions.

Each stage of a round leaves its files and is not done again: rollouts, scores, pairs, the union, the update's
checkpoints, the adapter, the measured pools. A line of rounds.jsonl says that a round is finished.

rollouts/round-1/{pool,scores}.jsonl -> pairs/round-1.jsonl -> union.jsonl -> adapters/round-1
-> measures/round-1/{greedy,pool,scores}.jsonl -> rounds.jsonl, rounds.csv, rounds.png
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from eval.generators import Measured, differences
from generation.learn.asked import Asked
from generation.learn.loop.config import DpoLoopConfig
from generation.learn.loop.learn import Learner
from generation.learn.loop.pairing import PAIRS, UNION, RoundPairs, keep_union, make_probe, pair_up
from generation.learn.loop.plot import plot_rounds
from generation.learn.loop.record import Round, best_round, kept_round, read_rounds, write_csv
from generation.learn.loop.show import PICTURE, answer_of
from generation.learn.loop.watches import alarms, loss_spread
from generation.learn.measure import SAMPLED, best_temperature, measure_policy
from generation.learn.policy import policy_id
from generation.pairs.union import check_hash
from shepherd.console import progress
from shepherd.files import append_line, open_to_append, read_json, write_json
from shepherd.records import Problem
from shepherd.runs import Run

RESULTS, ROUNDS, CSV, ADAPTER, MERGED = "results.json", "rounds.jsonl", "rounds.csv", "adapter", "merged"


def slice_of(problems: Sequence[Problem], number: int, size: int) -> list[Problem]:
    """The problems of round ``number`` (from 1): the next ``size``, from the start again at their end.

    Example:
        >>> problems = [Problem(str(index), "?", None) for index in range(5)]
        >>> [[each.id for each in slice_of(problems, number, 2)] for number in (1, 2, 3)]
        [['0', '1'], ['2', '3'], ['4', '0']]
    """
    size = min(size, len(problems))
    first = (number - 1) * size
    return [problems[(first + index) % len(problems)] for index in range(size)]


def run_loop(config: DpoLoopConfig, run: Run, asked: Asked) -> dict[str, Any]:
    """Do all rounds that are left, keep the one that `kept_round` says, and ask the test problems once.

    Args:
        config: the loop.
        run: gets every file.
        asked: the problems.

    Returns:
        What ``results.json`` holds.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)  # the same sums in the same order, so the same bytes
    loop = _Loop(config, run, asked)
    rounds = loop.rounds()
    loop.tell(rounds)  # a kill may have come between the last record and its pictures
    kept = kept_round(rounds, config)
    test = loop.test(kept)
    adapter = loop.keep(kept)
    result = {
        "rounds": [each.to_json() for each in rounds],
        "best_round": best_round(rounds).round,
        "kept_round": kept.round,
        "stopped_early": len(rounds) - 1 < config.rounds,
        "dagger": config.dagger,
        "start": config.start,
        "reference": config.reference,
        "temperature": loop.temperature,
        "probe_loss_spread": loss_spread([each.watched for each in rounds]),
        "adapter": adapter,
        "policy": kept.policy,
        "test": test,
        "answer": answer_of(test, kept.round),
    }
    write_json(run.path / RESULTS, result)
    return result


@dataclass(slots=True)
class _Loop:
    """A loop at work.

    Attributes:
        temperature: of every sampled measurement; the best one of the untrained policy.
        first: what the untrained policy does on the validation problems.
        learner: updates policies, and reads their log-probabilities.
    """

    config: DpoLoopConfig
    run: Run
    asked: Asked
    temperature: float = field(init=False)
    first: Measured = field(init=False)
    learner: Learner = field(init=False)

    def rounds(self) -> list[Round]:
        """Finish the rounds that are left; all of them, in order."""
        config, path = self.config, self.run.path
        done = read_rounds(path / ROUNDS)
        paired = self._paired(done)
        with progress("rounds", config.rounds + 1, "rounds", len(done)) as bar:
            self.temperature = self._temperature()
            self.first = self._measure(0)
            probe = make_probe(config, self.run, self.asked.validation)
            self.learner = Learner(config, path, self.run, probe)
            while len(done) <= config.rounds and not self._is_over(done):
                found = self._round(len(done), done, paired)
                with open_to_append(path / ROUNDS) as handle:
                    append_line(handle, found.to_json())
                done.append(found)
                self.log(done[-1])
                self.tell(done)
                bar.advance()
        return done

    def _is_over(self, done: Sequence[Round]) -> bool:
        """Has early stopping ended the loop? The rounds themselves say so, so a resume knows it too."""
        patience = self.config.patience
        return bool(done) and patience is not None and done[-1].round - best_round(done).round >= patience

    def _paired(self, done: Sequence[Round]) -> list[RoundPairs]:
        """The pairs of the finished rounds, which must be those that were learnt from."""
        found: list[RoundPairs] = []
        for each in done[1:]:
            found.append(pair_up(self.config, self.run, each.round, found, [], None))
            found[-1].check(each, self.run.path)
        if found:
            self._check_union(found)
        return found

    def _check_union(self, found: Sequence[RoundPairs]) -> None:
        """The union's file must be that of the last round, or of the next one, where that has its pairs."""
        path = self.run.path / UNION
        following = self.run.path / PAIRS / f"round-{len(found) + 1}.json"
        if path.exists() and following.exists():
            later = pair_up(self.config, self.run, len(found) + 1, found, [], None)
            check_hash(path, later.union.hash, found[-1].union.hash)
        else:
            keep_union(path, found[-1], found[:-1])

    def _temperature(self) -> float:
        """Round 0's best temperature; with one to choose from there is nothing to measure."""
        settings = self.config.measure
        if len(settings.temperatures) == 1:
            return settings.temperatures[0]
        folder = self.run.path / "temperatures"
        chosen = folder / "chosen.json"
        if not chosen.exists():
            found = best_temperature(self.config, settings, self.asked.validation, folder, self.run.log)
            write_json(chosen, {"temperature": found})
        return float(read_json(chosen)["temperature"])

    def _measure(self, number: int, split: str = "validation") -> Measured:
        """Measure the policy of a round on the problems of a split."""
        problems = self.asked.validation if split == "validation" else self.asked.test
        folder = "measures" if split == "validation" else split
        settings = self.config.measure
        return measure_policy(
            self.config,
            self._adapter(number),
            problems,
            self.run.path / folder / f"round-{number}",
            n=settings.n,
            temperature=self.temperature,
            seed=settings.seed,
            log=self.run.log,
        )

    def _samples(self, number: int) -> Path:
        """The validation samples of a round."""
        return self.run.path / "measures" / f"round-{number}" / SAMPLED

    def _adapter(self, number: int) -> Path | str | None:
        """The adapter that a round ended with; round 0's is what the loop starts with."""
        return self.config.adapter if number == 0 else self._folder(number)

    def _folder(self, number: int) -> Path:
        """Where the update of a round leaves its adapter."""
        return self.run.path / "adapters" / f"round-{number}"

    def _round(self, number: int, done: Sequence[Round], paired: list[RoundPairs]) -> Round:
        """One round: roll out, score, pair, aggregate, update, measure."""
        seconds: dict[str, float] = {}
        update: dict[str, Any] = {}
        pairs: RoundPairs | None = None
        reference = self._adapter(0 if self.config.reference == "initial" else max(0, number - 1))
        if number > 0:
            self.run.log(f"round {number} of {self.config.rounds}")
            problems = slice_of(self.asked.train, number, self.config.problems_a_round)
            with _timed(seconds, "pairing"):
                pairs = pair_up(self.config, self.run, number, paired, problems, self._adapter(number - 1))
            keep_union(self.run.path / UNION, pairs, paired)
            paired.append(pairs)
            start = self._adapter(0 if self.config.start == "initial" else number - 1)
            with _timed(seconds, "update"):
                update = self.learner.update(number, pairs.union, start, reference, self._folder(number))
        with _timed(seconds, "measuring"):
            measured = self.first if number == 0 else self._measure(number)
            watched = self.learner.watch(self._adapter(number), reference, measured, self._samples(number))
        settings = self.config.measure
        against = {} if number == 0 else differences(measured, self.first, resamples=settings.bootstrap)
        before = [each.watched for each in done]
        return Round(
            round=number,
            policy=policy_id(self.config.model, self._adapter(number)),
            reference="" if number == 0 else policy_id(self.config.model, reference),
            rollouts=0 if pairs is None else pairs.rollouts,
            rollout_pass_at_1=None if pairs is None else pairs.pass_at_1,
            pairs=0 if pairs is None else len(pairs.pairs),
            dropped={} if pairs is None else dict(sorted(pairs.dropped.items())),
            pairs_sha256="" if pairs is None else pairs.sha256,
            union=0 if pairs is None else len(pairs.union.pairs),
            union_hash="" if pairs is None else pairs.union.hash,
            update=update,
            validation=measured.to_json(settings.bootstrap),
            solved=measured.accuracy["greedy"].astype(int).tolist(),
            against_first={name: each.to_json() for name, each in against.items()},
            watched=watched,
            alarms=[] if number == 0 else alarms([*before, watched], self.config.watch),
            seconds={name: round(each, 3) for name, each in seconds.items()},
        )

    def tell(self, done: Sequence[Round]) -> None:
        """What is known so far, as a table and a picture."""
        write_csv(self.run.path / CSV, done)
        arm = "DAgger" if self.config.dagger else "no aggregation"
        plot_rounds(done, self.run.path / PICTURE, f"{self.config.model}, {arm}")

    def log(self, newest: Round) -> None:
        """What the newest round gave, as metrics and log lines."""
        self.run.metric(
            round=newest.round,
            validation_greedy=newest.greedy,
            pairs=newest.pairs,
            union=newest.union,
            **{key: value for key, value in newest.to_json()["watched"].items() if value is not None},
        )
        self.run.log(
            f"round {newest.round}: greedy pass@1 {100 * newest.greedy:.1f}% on the validation problems; "
            f"{newest.pairs} pairs, {newest.union} in the union; policy {newest.policy}"
        )
        for alarm in newest.alarms:
            self.run.log(f"round {newest.round}: ALARM: {alarm}")

    def test(self, kept: Round) -> dict[str, Any]:
        """Ask the test problems: once before, once after."""
        settings = self.config.measure
        before = self._measure(0, "test")
        after = before if kept.round == 0 else self._measure(kept.round, "test")
        found = differences(after, before, resamples=settings.bootstrap)
        return {
            "before": before.to_json(settings.bootstrap),
            "after": after.to_json(settings.bootstrap),
            "differences": {name: each.to_json() for name, each in found.items()},
            "temperature": self.temperature,
        }

    def keep(self, kept: Round) -> str | None:
        """Copy the kept round's adapter to where every command looks for one, and merge it if asked."""
        if kept.round == 0:
            return None
        from generation.learn.keep import copy_adapter, merge_policy

        folder = self.run.path / ADAPTER
        copy_adapter(self._folder(kept.round), folder)
        if self.config.merge:
            merge_policy(self.config, folder, self.run.path / MERGED, self.run.log)
        return ADAPTER


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall time of a stage."""
    started = monotonic()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + monotonic() - started
