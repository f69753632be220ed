"""One DPO update: a policy is moved towards the accepted sides of pairs, with TRL's DPOTrainer.

    pairs -> tokens -> order -> log-probabilities by the reference -> TRL's steps -> adapter

What the reference policy makes of the pairs is computed once, before the first step, and kept in the folder:
so any adapter can be the reference at the same cost, and no second model stays in memory. Rows, order and
rates are fixed before the first step; an update that was killed goes on from its last checkpoint and writes
the same adapter (CPU, one thread).

Left out on purpose: several GPUs, training of all weights, a reference that moves within an update.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from generation.learn.dpo.config import DpoConfig
from generation.learn.dpo.logps import PairLogps, pair_logps, pair_means
from generation.learn.dpo.plan import DpoPlan, make_plan
from generation.learn.dpo.result import DpoResult, read_result, write_result
from generation.learn.logps import other_policy
from generation.learn.policy import give_back_memory, load_policy, policy_id
from generation.pairs.pair import Pair
from shepherd.errors import ShepherdError
from shepherd.files import (
    append_line,
    atomic_directory,
    open_to_append,
    read_finished,
    read_json,
    write_json,
    write_jsonl,
)
from shepherd.runs import Run
from verifier import model as models
from verifier.adapter import write_adapter
from verifier.optim import make_optimizer

ADAPTER, CHECKPOINTS = "adapter", "checkpoints"
LOGPS, STEPS = "logps.json", "steps.jsonl"

_LOGGED = {
    "loss": "loss",
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
    "chosen": "logps/chosen",
    "rejected": "logps/rejected",
    "entropy": "entropy",
    "gradient_norm": "grad_norm",
}
"""Our names of what TRL logs of a step; log-probabilities are sums over a side, entropy is a token's."""


def update(
    pairs: Sequence[Pair],
    weights: Sequence[float],
    config: DpoConfig,
    *,
    name: str,
    start: Path | None,
    reference: Path | None,
    folder: Path,
    run: Run,
    seed: int,
    device: str = "auto",
    trust_remote_code: bool = False,
    round: int = 0,
) -> DpoResult:
    """Train an adapter into ``folder / "adapter"``, going on from the folder's newest checkpoint.

    Args:
        pairs: to learn from.
        weights: how often each is taken an epoch, see `generation.learn.order.weighted_order`.
        config: of the update.
        name: the base: ``embedded:weak``, a folder or a hub name.
        start: adapter to go on with; None for a fresh one.
        reference: adapter of the policy that the loss is held against; None for the base alone.
        folder: gets adapter, checkpoints, ``logps.json`` (what start and reference make of the pairs),
            ``steps.jsonl`` (a row a step) and, last, ``update.json`` (the result).
        run: gets metrics and log lines.
        seed: of a fresh adapter, of the order and of dropout.
        device: ``auto``, ``cpu`` or ``cuda``.
        trust_remote_code: run code that comes with the base.
        round: for metrics and logs.

    Returns:
        The result; read from the folder where the update was finished before.

    Raises:
        ShepherdError: where no pair can be learnt from, adapters do not fit, a folder holds an update made
            from other pairs, or a gradient is not finite.
    """
    tokenizer = models.load_tokenizer(name, trust_remote_code=trust_remote_code)
    plan = make_plan(
        pairs, weights, config, tokenizer, name=name, start=start, reference=reference, seed=seed
    )
    done = read_result(folder, plan.digest)
    if done is not None:
        return done
    run.log(f"round {round}: DPO on {plan.line()}")
    model = load_policy(
        name, config, adapter=start, seed=seed, device=device, trust_remote_code=trust_remote_code
    )
    _check_model(model, plan, name)
    begun, held = _start_and_reference(model, plan, reference, folder)
    tokens_per_s = _train(model, tokenizer, plan, held, folder=folder, run=run, device=device, round=round)
    after = _finite(pair_logps(model, plan.encoded.rows, config.batch_tokens), plan)
    with atomic_directory(folder / ADAPTER) as aside:
        write_adapter(aside, model, name)
        tokenizer.save_pretrained(aside)
    losses = np.array([float(row["loss"]) for row in read_finished(folder / STEPS)])
    tenth = -(-plan.steps // 10)
    result = DpoResult(
        folder=folder,
        policy=policy_id(name, folder / ADAPTER),
        start=plan.start,
        reference=plan.reference,
        plan=plan.digest,
        steps=plan.steps,
        counts=plan.encoded.counts(),
        first_loss=float(np.average(losses[:tenth], weights=plan.pairs_of_steps[:tenth])),
        last_loss=float(np.average(losses[-tenth:], weights=plan.pairs_of_steps[-tenth:])),
        before=pair_means(begun, held, config.beta),
        after=pair_means(after, held, config.beta),
        tokens_per_s=tokens_per_s,
    )
    write_result(result)
    run.log(
        f"round {round}: adapter written to {folder / ADAPTER}; chosen {result.before.chosen:.2f} to "
        f"{result.after.chosen:.2f} nats, margin {result.before.margin:.3f} to {result.after.margin:.3f}"
    )
    del model
    give_back_memory()
    return result


def _check_model(model: Any, plan: DpoPlan, name: str) -> None:
    """What TRL would cut silently or tell in a traceback."""
    context = int(getattr(model.config, "max_position_embeddings", 1 << 30))
    if (longest := int(plan.encoded.lengths.max())) > context:
        raise ShepherdError(
            f"max_length: the longest pair has {longest} tokens, {name} reads at most {context}; use "
            f"max_length={context}"
        )
    if hasattr(model.get_output_embeddings(), "lora_A"):
        raise ShepherdError(
            "lora.targets: the output head is among them, and TRL's DPOTrainer reads past an adapter there; "
            "leave it out (lora.targets=all-linear does)"
        )


def _start_and_reference(
    model: Any, plan: DpoPlan, reference: Path | None, folder: Path
) -> tuple[PairLogps, PairLogps]:
    """What the policy at the start and the reference make of the pairs; from the folder where they lie."""
    path = folder / LOGPS
    if path.exists():
        kept = read_json(path)
        if kept.get("plan") != plan.digest:
            raise ShepherdError(
                f"{path}: made from other pairs, weights or policies than this update's; put them back, or "
                "start a new run"
            )
        return _read_logps(kept["start"]), _read_logps(kept["reference"])
    rows, batch_tokens = plan.encoded.rows, plan.config.batch_tokens
    begun = held = pair_logps(model, rows, batch_tokens)
    if plan.reference != plan.start:
        with other_policy(model, reference) as other, other():
            held = pair_logps(model, rows, batch_tokens)
    begun, held = _finite(begun, plan), _finite(held, plan)
    both = {
        name: {"policy": policy, "chosen": logps.chosen.tolist(), "rejected": logps.rejected.tolist()}
        for name, policy, logps in (("start", plan.start, begun), ("reference", plan.reference, held))
    }
    write_json(path, {"plan": plan.digest, **both})
    return begun, held


def _finite(logps: PairLogps, plan: DpoPlan) -> PairLogps:
    if not all(bool(np.isfinite(side).all()) for side in logps):
        raise ShepherdError(
            f"the log-probabilities of the pairs are not finite (start {plan.start}, reference "
            f"{plan.reference}): an adapter is broken, or dtype {plan.config.dtype} is too narrow; use dtype "
            "bfloat16 or float32"
        )
    return logps


def _read_logps(kept: dict[str, Any]) -> PairLogps:
    return PairLogps(np.array(kept["chosen"]), np.array(kept["rejected"]))


def _train(
    model: Any,
    tokenizer: Any,
    plan: DpoPlan,
    reference: PairLogps,
    *,
    folder: Path,
    run: Run,
    device: str,
    round: int,
) -> float:
    """Take the steps that are left; gives tokens a second."""
    from generation.learn.watch import Saves, StepLog, Watch, restore

    config = plan.config
    optimizer = make_optimizer(config, models.trainable_parameters(model))
    state = restore(folder / CHECKPOINTS, plan.digest, model, optimizer)
    done = 0 if state is None else state.progress.step
    if state is not None:
        run.log(f"round {round}: DPO resumed at step {done} of {plan.steps}")
    write_jsonl(folder / STEPS, read_finished(folder / STEPS)[:done])
    if done == plan.steps:
        return 0.0

    def after_step(log: StepLog) -> None:
        row = {"step": log.step, "learning_rate": log.learning_rate}
        row |= {mine: float(log.logs[theirs]) for mine, theirs in _LOGGED.items()}
        append_line(trail, row)
        if log.is_time:
            run.metric(round=round, **row, tokens_per_s=int(log.tokens_per_s))

    watch = Watch(
        model,
        optimizer,
        config,
        steps=plan.steps,
        tokens=plan.tokens,
        saves=Saves(folder / CHECKPOINTS, plan.checkpoint_every, config.keep_checkpoints, plan.digest),
        state=state,
        after_step=after_step,
    )
    from generation.learn.dpo.steps import make_trainer

    trainer = make_trainer(
        model,
        tokenizer,
        plan.encoded.rows,
        plan.order[done * plan.rows_a_step :],
        reference,
        config,
        watch,
        folder=folder,
        device=device,
        seed=plan.seed,
    )
    with open_to_append(folder / STEPS) as trail:
        return watch.take_steps(trainer, f"DPO, round {round}" if round else "DPO")
