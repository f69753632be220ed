"""Ours and its rivals on one pool: seconds, bytes, scores, each as a multiple of the floor and of ours."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scorers.clock import attention_share, best_of, peak, timed
from scorers.counts import Counts, count, padded
from scorers.flex import score_with_flex
from scorers.rate import matmul_rate
from scorers.rivals import Scores, a_step, arrival
from scorers.rounding import apart, difference, one_by_one
from trainers.base import SHAPE, SHAPES, TOY, random_model, save_mistral_tokenizer

from shepherd.records import ProblemPool
from shepherd.steps import split
from verifier.heads import LabelRows
from verifier.model import TagReader, first_line, load_tokenizer
from verifier.packing.score import score_packed
from verifier.tags import EncodedSolution, encode, resolve

BUDGET = 16_384
"""As `shepherd score` has it; what is measured of memory and caches makes passes smaller."""
GOES = 3
CLOSE = {"float32": 1e-5, "bfloat16": 0.1}
"""How near to ours the rivals' scores have to be: they compute the same. In bfloat16 that shows an error, and
no more."""
LABELS = (7, 8)
NAMES: dict[Any, str] = {arrival: "as they come, all logits", a_step: "a pass a step"}


class Setting(NamedTuple):
    """What reads, and where: the defaults are what results/scoring.json has.

    Attributes:
        shape: of `SHAPES`, or ``toy``.
        quantization: ``none`` or ``nf4``.
        dtype: ``float32`` or ``bfloat16``.
        device: ``cpu`` or ``cuda``.
    """

    shape: str = "134m"
    quantization: str = "none"
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def on_card(self) -> bool:
        """Is it a card that is measured?"""
        return self.device == "cuda"

    @property
    def sizes(self) -> dict[str, Any]:
        """Of the model; the toy has the real vocabulary's tokens."""
        return {**TOY, "vocab_size": SHAPE["vocab_size"]} if self.shape == "toy" else SHAPES[self.shape]


class Terms(NamedTuple):
    """What a method is given.

    Attributes:
        goes: whose best counts.
        sizes: of a batch, that are tried.
        tried: solutions that they are tried on.
        watched: solutions whose peak memory is watched; None for all.
    """

    goes: int
    sizes: tuple[int, ...]
    tried: int
    watched: int | None


def terms(rival: Any, setting: Setting, n: int) -> Terms:
    """What a rival is given, of `n` candidates a problem."""
    if setting.on_card:
        return Terms(GOES, (16, 64, 256), 256, None)
    return Terms(1, (1, 4, n), 4, n) if rival is a_step else Terms(GOES, (1, 4, n), n, 2 * n)


def measure(name: str, pools: Sequence[ProblemPool], setting: Setting, *, flex: bool) -> dict[str, Any]:
    """Seconds, bytes and scores of ours and of the rivals on one pool.

    Args:
        name: of the pool.
        pools: its problems.
        setting: what reads, and where.
        flex: FlexAttention beside our tiles; else ours in bfloat16.
    """
    gc.collect()  # the model before this one
    reader, encoded = read(name, pools, setting)
    weights = torch.cuda.memory_allocated() if setting.on_card else reader.model.get_memory_footprint()
    model, solutions = reader.model, [each for each in encoded if len(each.tags)]
    n, device = len(pools[0].candidates), reader.device
    counted = count(solutions, n)
    part = solutions if setting.on_card else solutions[: 2 * n]

    def ours(part: Sequence[EncodedSolution] = solutions) -> Scores:
        return score_packed(reader, part, BUDGET)

    ours(part)  # what is found out once: can it pack, how much memory does a token take
    rate = matmul_rate(model)
    floor_s = counted.floor(reader.work) / rate
    seconds, scores = best_of(GOES, ours, device)
    share = attention_share(ours, device)
    row = {"method": "prefix trees", "goes": GOES, "seconds": seconds}
    rows: list[dict[str, Any]] = [{**row, "peak_bytes": peak(partial(ours, part), device)}]
    for rival in (arrival, a_step):
        given = terms(rival, setting, n)
        size = fastest(rival, model, solutions[: given.tried], given.sizes)
        theirs, found = best_of(given.goes, partial(rival, model, solutions, LABELS, size), device)
        read_by_it = padded(solutions, size) if rival is arrival else counted.a_step
        rows.append(
            {
                "method": f"{NAMES[rival]}, {size} a batch",
                "goes": given.goes,
                "seconds": theirs,
                "peak_bytes": peak(partial(rival, model, solutions[: given.watched], LABELS, size), device),
                "counted_times_ours": read_by_it / counted.unique,
                "largest_difference": difference(scores, found),
            }
        )
    if flex:
        rows += with_flex(reader, solutions, scores)
    for each in rows[1:]:
        if each["largest_difference"] > CLOSE[setting.dtype]:
            raise SystemExit(f"{each['method']}: scores differ from ours by {each['largest_difference']:.1e}")
    for each in rows:
        each["of_floor"] = each["seconds"] / floor_s
        each["times_ours"] = each["seconds"] / seconds
    result = {
        "counts": counted._asdict(),
        "work": reader.work._asdict(),
        "weights_bytes": weights,
        "head_operations_a_token": 2 * model.config.vocab_size * model.config.hidden_size,
        "logit_bytes_avoided": model.lm_head.weight.element_size()
        * model.config.vocab_size
        * counted.arrival,
        "matmul_operations_a_second": rate,
        "floor_seconds": floor_s,
        "attention_share": share,
        "pass_tokens": reader.room.tokens(BUDGET),
        "methods": rows,
    }
    if not flex:
        result["bfloat16"] = in_bfloat16(reader, encoded, n, scores, counted)
    return result


def with_flex(
    reader: TagReader, solutions: Sequence[EncodedSolution], scores: Scores
) -> list[dict[str, Any]]:
    """A method's row for FlexAttention; none where this machine cannot compile it, which is said."""
    run = partial(score_with_flex, reader, solutions, BUDGET)
    try:
        run()  # compiled once
        seconds, found = best_of(GOES, run, reader.device)
    except RuntimeError as error:
        print(f"FlexAttention does not run here: {first_line(error)}")
        return []
    return [
        {
            "method": "prefix trees, FlexAttention",
            "goes": GOES,
            "seconds": seconds,
            # As it stands on a CPU it is no kernel, and cannot be watched.
            "peak_bytes": peak(run, reader.device) if reader.device.type == "cuda" else None,
            "counted_times_ours": 1.0,
            "largest_difference": difference(scores, found),
        }
    ]


def fastest(rival: Any, model: Any, solutions: Sequence[EncodedSolution], sizes: Sequence[int]) -> int:
    """The batch size with which a rival reads some solutions in the least time."""
    rival(model, solutions[:1], LABELS, 1)  # what the first call takes is no batch size's

    def seconds(size: int) -> float:
        try:
            return timed(partial(rival, model, solutions, LABELS, size), model.device)[0]
        except torch.OutOfMemoryError:
            return float("inf")

    return min(sizes, key=seconds)


def in_bfloat16(
    reader: TagReader, encoded: Sequence[EncodedSolution], n: int, exact: Scores, counted: Counts
) -> dict[str, Any]:
    """The same weights in bfloat16: its own floor, and what rounding does to scores and to who is chosen."""
    half = TagReader(reader.model.to(torch.bfloat16), reader.head)
    solutions = [each for each in encoded if len(each.tags)]
    score_packed(half, solutions[:n], BUDGET)
    rate = matmul_rate(half.model)
    seconds, packed = best_of(GOES, partial(score_packed, half, solutions, BUDGET), half.device)
    both = {"packed": packed, "alone": one_by_one(half, solutions, BUDGET)}
    beside = {how: apart(encoded, n, scores, exact) for how, scores in both.items()}
    return {
        "matmul_operations_a_second": rate,
        "floor_seconds": counted.floor(reader.work) / rate,
        "seconds": seconds,
        "of_floor": seconds * rate / counted.floor(reader.work),
        "packs": half.packs,
        "largest_difference": {how: each["largest"] for how, each in beside.items()},
        "other_choice": {how: each["other_choice"] for how, each in beside.items()},
        "problems": len(encoded) // n,
    }


def read(
    name: str, pools: Sequence[ProblemPool], setting: Setting
) -> tuple[TagReader, list[EncodedSolution]]:
    """The model, and the candidates as tokens."""
    tokenizer = tokenizer_of(name)
    pairs = [(pool.problem.question, split(each.text).steps) for pool in pools for each in pool.candidates]
    device = torch.device(setting.device)
    model = random_model(setting.sizes, setting.dtype, device, setting.quantization)
    reader = TagReader(model, LabelRows(model.lm_head, *LABELS))
    return reader, list(encode(tokenizer, resolve(tokenizer), pairs))


def tokenizer_of(name: str) -> Any:
    """SubQ in Mistral's vocabulary, the packaged pool in its own."""
    if not name.startswith("SubQ"):
        return load_tokenizer("embedded:base")
    with tempfile.TemporaryDirectory() as folder:
        save_mistral_tokenizer(Path(folder))
        return load_tokenizer(folder)
