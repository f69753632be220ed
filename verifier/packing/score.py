"""P(+) at the tags of many solutions, in as few tokens as that takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from verifier.packing.exhausted import is_out_of_memory
from verifier.packing.read import passes_for, read_pass

if TYPE_CHECKING:
    from verifier.model import TagReader
    from verifier.tags import EncodedSolution


@torch.no_grad()
def score_packed(
    reader: TagReader, solutions: Sequence[EncodedSolution], batch_tokens: int, pad_id: int = 0
) -> list[NDArray[np.float32]]:
    """P(+) at every tag of every solution, in order; steps beyond the model's context score 0.

    In fp32 a score is that of the solution read alone, to 1e-5: no order, budget or company changes it. In
    bfloat16 both are rounded, alone and in company, and rounding can choose another candidate: how far scores
    of a trained verifier move, and for how many problems, see "Scoring" in benchmarks/README.md.

    Args:
        reader: body and label rows of the verifier.
        solutions: token ids and tag positions.
        batch_tokens: most tokens in one forward pass, where memory has room for them.
        pad_id: any token; nothing reads it.

    Raises:
        ShepherdError: where memory is too small for one solution.
    """
    scores = [np.zeros(len(solution.tags), dtype=np.float32) for solution in solutions]
    tags = [solution.tags[solution.tags < reader.context] for solution in solutions]
    # Tokens after the last tag are not worth reading.
    sequences = [
        solution.ids[: read[-1] + 1 if len(read) else 0]
        for solution, read in zip(solutions, tags, strict=True)
    ]
    left = [row for row, each in enumerate(sequences) if len(each)]
    while left:
        mine, read = [sequences[row] for row in left], [tags[row] for row in left]
        done: set[int] = set()
        for each in passes_for(reader, mine, reader.room.tokens(batch_tokens)):
            try:
                hidden = read_pass(reader, each, mine, read, pad_id)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reader.room.halve(each, error)
                break
            good = reader.pair_logits(hidden).softmax(-1)[:, 0].cpu().numpy()
            start = 0
            for row in (left[member] for member in each.members):
                count = len(tags[row])
                scores[row][:count] = good[start : start + count]
                start += count
                done.add(row)
        left = [row for row in left if row not in done]
    return scores
