"""Everything of a training that is fixed before its first step: rows, tokens, contract, plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shepherd.errors import ShepherdError
from verifier import model as models
from verifier import outcome
from verifier.adalora import schedule
from verifier.batches import EncodedRows, Supervision, cut_rows, fixed_batches, make_plan, shuffle_labels
from verifier.config import TrainPrmConfig
from verifier.data.contaminated import Contamination, nothing_left, questions_to_leave_out
from verifier.data.corpus import Corpus, read_corpus
from verifier.data.rows import OnBadRow, RowCounts, describe
from verifier.data.sources import is_published
from verifier.data.tokens import tokens_of
from verifier.device import device_kind
from verifier.flat import spans
from verifier.grouped import plan_by_question
from verifier.split import first_questions, split_places
from verifier.tags import TagContract, Template, resolve

Places = NDArray[np.int64]
"""Places of rows in a corpus."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` fixes.

    Attributes:
        read: what the data file held, repaired and left out.
        contamination: which training questions also stand among the evaluation problems.
        plan: row indices of each batch of the whole run.
        steps: optimizer steps of the whole run.
    """

    config: TrainPrmConfig
    tokenizer: Any
    contract: TagContract
    read: RowCounts
    contamination: Contamination
    train: EncodedRows
    heldout: EncodedRows
    plan: list[NDArray[np.int64]]
    steps: int

    @property
    def pad_id(self) -> int:
        """Any token will do: padding is never read."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def eval_every(self) -> int:
        """Optimizer steps between evaluations: as configured, else once an epoch."""
        if self.config.eval_every is not None:
            return self.config.eval_every
        if self.config.max_steps is not None:
            return self.steps
        return min(self.steps, max(1, round(self.steps / self.config.epochs)))

    @property
    def checkpoint_every(self) -> int:
        """Optimizer steps between checkpoints: as configured, else a tenth of the run."""
        return self.config.checkpoint_every or -(-self.steps // 10)

    @property
    def planned_tokens(self) -> int:
        """Tokens the whole run reads, padding not counted."""
        lengths = self.train.lengths
        return int(sum(lengths[batch].sum() for batch in self.plan))

    @property
    def read_together(self) -> list[NDArray[np.int64]]:
        """Row indices of what passes are planned for at once: a step's rows, or a batch of pairs."""
        many = 1 if self.config.is_pairwise else self.config.accumulation
        return [np.concatenate(self.plan[start : start + many]) for start in range(0, len(self.plan), many)]

    @property
    def padding(self) -> float:
        """Part of what padded passes compute that is padding, in [0, 1); packed ones have none."""
        lengths, computed = self.train.lengths, 0
        most = self.config.tokens_a_pass(device_kind(self.config.device))
        for rows in self.read_together:
            mine = lengths[rows]
            batches = fixed_batches(mine, most)
            computed += sum(int(mine[batch].max()) * len(batch) for batch in batches)
        return 1 - self.planned_tokens / computed

    def counts(self) -> dict[str, Any]:
        """What a log, a dry run and the model card say of the data."""
        return {
            "read": self.read.to_json(),
            "contamination": self.contamination.to_json(),
            "train": self.train.counts(),
            "heldout": self.heldout.counts(),
            "batches": len(self.plan),
            "steps": self.steps,
            "tokens": self.planned_tokens,
            "padding": round(self.padding, 4),
        }

    def lines(self) -> Iterator[str]:
        """The same for a run's log, with each row that was left out."""
        yield from describe(self.read)
        yield from self.contamination.lines()
        if self.config.drop_contaminated:
            yield f"contamination: {len(self.contamination.contaminated):,} questions left out"
        for name, rows in (("train", self.train), ("heldout", self.heldout)):
            yield f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in rows.counts().items())
        yield (
            f"plan: {self.steps:,} steps, {len(self.plan):,} batches, {self.planned_tokens:,} tokens, "
            f"{self.padding:.1%} padding where they are not packed"
        )


def prepare(config: TrainPrmConfig) -> Prepared:
    """Read rows, hold questions out, encode, and plan every batch; no model is loaded."""
    corpus, places, contamination = _read(config)
    other, train, held = _split(config, corpus, places)
    labels = corpus.labels
    if config.control == "shuffled_labels":
        labels = labels.copy()
        trained = spans(corpus.step_ends[train], corpus.steps[train])
        labels[trained] = shuffle_labels(labels[trained], config.seed)
    tokenizer = models.load_tokenizer(config.base, trust_remote_code=config.trust_remote_code)
    contract = resolve(tokenizer, Template(**config.template.model_dump()))
    supervision = _supervision(config)
    tokens = tokens_of(corpus, tokenizer, contract, name=config.base)
    encoded = cut_rows(corpus, tokens, train, config.max_length, supervision, labels)
    if other is not corpus:
        tokens = tokens_of(other, tokenizer, contract, name=config.base)
    held_encoded = cut_rows(other, tokens, held, config.max_length, supervision)
    if len(held) and not held_encoded.rows:
        raise ShepherdError(
            f"no held-out row is left ({held_encoded.counts()}); raise max_length, or set eval_fraction=0"
        )
    if config.is_pairwise:
        encoded = outcome.in_pairs(encoded, "training")
        if held_encoded.rows:
            outcome.in_pairs(held_encoded, "held-out")  # before hours of training that nothing could judge
    plan = _plan(config, encoded)
    steps = -(-len(plan) // config.accumulation)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    plan = plan[: steps * config.accumulation]
    if config.lora.kind == "adalora":
        schedule(config.lora, steps)  # told now, not after the model is loaded
    return Prepared(
        config, tokenizer, contract, corpus.counts, contamination, encoded, held_encoded, plan, steps
    )


def _supervision(config: TrainPrmConfig) -> Supervision | None:
    """What of a row is learnt: every labelled step, or how the solution ends."""
    return partial(outcome.outcome_labels, label=config.outcome.label) if config.head == "outcome" else None


def _planner(config: TrainPrmConfig, rows: EncodedRows) -> Callable[..., list[NDArray[np.int64]]]:
    """What puts the rows in order."""
    if config.is_pairwise and rows.rows:
        return partial(outcome.plan_in_pairs, rows)
    if config.group_by == "question":
        return partial(
            plan_by_question,
            [row.ids for row in rows.flat.all_tagged()],
            rows.questions,
            question_solutions=config.question_solutions,
        )
    return partial(make_plan, rows.lengths)


def _plan(config: TrainPrmConfig, rows: EncodedRows) -> list[NDArray[np.int64]]:
    return _planner(config, rows)(
        epochs=config.epochs,
        batch_tokens=config.batch_tokens,
        batch_solutions=config.batch_solutions,
        seed=config.seed,
    )


def _read(config: TrainPrmConfig) -> tuple[Corpus, Places, Contamination]:
    """What was read, and the rows to train on; refused where evaluation problems stand among them."""
    corpus = read_corpus(
        config.data,
        on_bad_row=_on_bad_row(config),
        dedup=is_published(config.data) if config.dedup is None else config.dedup,
        limit=config.limit,
        neutral=config.prm800k_neutral,
        keep=config.store,
    )
    out, found = questions_to_leave_out(corpus.counts.questions, config)
    places = np.flatnonzero(~_are_in(corpus.questions, out, corpus))
    if not len(places):
        raise nothing_left(config)
    return corpus, places, found


def _split(config: TrainPrmConfig, corpus: Corpus, places: Places) -> tuple[Corpus, Places, Places]:
    """Where the held-out rows come from, the places of the rows to train on, and of those held out there."""
    if config.heldout is None:
        question = corpus.question[places]
        split = split_places(question, corpus.questions, config.eval_fraction, config.seed, config.eval_limit)
        return corpus, places[split.train], places[split.heldout]
    other = read_corpus(
        config.heldout,
        on_bad_row=_on_bad_row(config),
        neutral=config.prm800k_neutral,
        keep=config.store,
    )
    outside = {question.strip() for question in other.questions}
    is_held = _are_in([question.strip() for question in corpus.questions], outside, corpus)
    held = first_questions(np.arange(len(other)), other.question, config.eval_limit)
    return other, places[~is_held[places]], held


def _are_in(names: Sequence[str], wanted: Collection[str], corpus: Corpus) -> NDArray[np.bool_]:
    """Is each row's question, by its name of `names`, one of those wanted? Shape ``(rows,)``."""
    return np.array([name in wanted for name in names])[corpus.question]


def _on_bad_row(config: TrainPrmConfig) -> OnBadRow:
    return config.on_bad_row or ("skip" if is_published(config.data) else "error")
