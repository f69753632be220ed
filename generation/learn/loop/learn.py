"""The parts of a round that need the weights: the update, and what is watched of the policy it made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.generators import Measured
from generation.learn.loop.config import DpoLoopConfig
from generation.learn.loop.watches import Watched
from generation.learn.policy import give_back_memory, load_policy
from generation.pairs.pair import Pair, Side
from generation.pairs.sides import as_prompt, ends, opened
from generation.pairs.union import Union
from generation.prompts import make_prompt
from shepherd.files import read_json, write_json
from shepherd.records import ProblemPool, read_pool
from shepherd.runs import Run
from verifier.model import load_tokenizer

WATCHED_TEXTS = 256
"""Validation samples along which divergence and entropy are read: about 15,000 tokens of a short solution."""


class Learner:
    """Updates policies of one loop and watches them.

    Args:
        config: the loop.
        folder: the run directory; ``probe/initial.json`` keeps what the initial policy makes of the probe.
        run: gets metrics and log lines.
        probe: the fixed held-out pairs; none where the validation rollouts gave none.
    """

    def __init__(self, config: DpoLoopConfig, folder: Path, run: Run, probe: Sequence[Pair]) -> None:
        self.config, self.folder, self.run, self.probe = config, folder, run, probe
        self.tokenizer = load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)

    def update(
        self, number: int, union: Union, start: Path | str | None, reference: Path | str | None, out: Path
    ) -> dict[str, Any]:
        """One DPO update on the union of a round, into ``out / "adapter"``; what it says of itself."""
        from generation.learn.dpo.update import update

        config = self.config
        result = update(
            union.pairs,
            union.weights,
            config.update,
            name=config.model,
            start=None if start is None else Path(start),
            reference=None if reference is None else Path(reference),
            folder=out,
            run=self.run,
            seed=config.seed + number,
            device=config.device,
            trust_remote_code=config.trust_remote_code,
            round=number,
        )
        found = result.to_json()
        del found["folder"]  # where it lies is this machine's own
        return found

    def watch(
        self,
        adapter: Path | str | None,
        reference: Path | str | None,
        measured: Measured,
        pools: Path,
    ) -> Watched:
        """What is watched of a policy.

        Args:
            adapter: the policy's.
            reference: of the round's update.
            measured: what the policy does on the validation problems.
            pools: its sampled candidates there.
        """
        from generation.learn.logps import policy_divergence

        config = self.config
        model = load_policy(
            config.model,
            config.update,
            adapter=adapter,
            seed=config.seed,
            device=config.device,
            trust_remote_code=config.trust_remote_code,
        )
        try:
            rows = self._texts(read_pool(pools))
            apart = policy_divergence(model, reference, rows, config.update.batch_tokens) if rows else None
            probe = self._probe(model)
        finally:
            del model
            give_back_memory()
        return Watched(
            **probe,
            kl=None if apart is None else max(0.0, apart.kl),  # rounding may leave it just below
            entropy=None if apart is None else apart.entropy,
            tokens=measured.tokens,
            answered=measured.answered,
            gap=measured.gap,
        )

    def _texts(self, pools: Sequence[ProblemPool]) -> list[Any]:
        """Sampled candidates as tokens, spread evenly over the problems."""
        from generation.learn.dpo.rows import MergedError, encode_side

        rows = []
        candidates = max(1, -(-WATCHED_TEXTS // max(1, len(pools))))
        for pool in pools[:WATCHED_TEXTS]:
            asked = make_prompt("", pool.problem.question, self.config.prompt)
            prompt = as_prompt(asked)
            for each in pool.candidates[:candidates]:
                side = Side(opened(asked, each.text), ends(each))
                try:
                    row = encode_side(prompt, side, self.tokenizer, self.config.model)
                except MergedError:
                    continue
                if len(row.ids) <= self.config.update.max_length and len(row.ids) > row.start:
                    rows.append(row)
        return rows[:WATCHED_TEXTS]

    def _probe(self, model: Any) -> dict[str, float]:
        """What a policy makes of the probe pairs against the initial one; nothing where there are none."""
        if not self.probe:
            return {}
        from generation.learn.dpo.logps import PairLogps, pair_logps, pair_means
        from generation.learn.dpo.rows import encode_pairs

        settings = self.config.update
        encoded = encode_pairs(
            self.probe, self.tokenizer, name=self.config.model, max_length=settings.max_length
        )
        found = pair_logps(model, encoded.rows, settings.batch_tokens)
        file = self.folder / "probe" / "initial.json"
        if not file.exists():  # round 0: the policy is the initial one
            write_json(file, {"chosen": found.chosen.tolist(), "rejected": found.rejected.tolist()})
        kept = read_json(file)
        first = PairLogps(np.array(kept["chosen"]), np.array(kept["rejected"]))
        means = pair_means(found, first, settings.beta)
        return {
            "probe_loss": means.loss,
            "probe_margin": means.margin,
            "chosen_logp": float(found.chosen.sum()) / sum(len(row.chosen) for row in encoded.rows),
            "rejected_logp": float(found.rejected.sum()) / sum(len(row.rejected) for row in encoded.rows),
        }
