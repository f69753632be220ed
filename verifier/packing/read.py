"""Hidden states at the tags of a pass, packed or padded: the one place where a body is run on solutions.

Gradients flow through what is read, as through the model's own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from shepherd.runs import announce
from verifier.packing.attention import along_paths, to_tensors
from verifier.packing.exhausted import is_out_of_memory, too_little_memory
from verifier.packing.passes import Packed, Padded, Pass, Work, plan_passes

_TRIED = (np.array([1, 2, 3, 4, 5]), np.array([1, 2, 3, 5, 4, 3]), np.array([1, 2]))
"""Two solutions that share a beginning, and the beginning of one."""


class Readable(Protocol):
    """What packing asks of a model that reads: `verifier.model.TagReader` is one.

    Attributes:
        model: whose configuration names the attention.
        body: the model without its head.
    """

    model: Any
    body: Any

    @property
    def device(self) -> torch.device:
        """Where tokens go."""
        ...

    @property
    def vocabulary(self) -> int:
        """Tokens that it knows."""
        ...

    @property
    def window(self) -> int:
        """Most tokens that every layer sees, rotated as alone: what is longer is in no row."""
        ...

    @property
    def work(self) -> Work:
        """What a token and a pair of tokens cost."""
        ...

    @property
    def packs(self) -> bool:
        """Does it read packed rows?"""
        ...

    def hidden(self, ids: Tensor, at: Tensor) -> Tensor:
        """Hidden states ``(n_tags, d)`` at flat positions of right-padded ids."""
        ...


def passes_for(reader: Readable, sequences: Sequence[NDArray[np.integer]], budget: int) -> list[Pass]:
    """The passes of at most ``budget`` tokens that read all sequences with the least work this model can do.

    Packed rows only where the model reads them, and only of sequences that its `window` holds.
    """
    window = reader.window
    packs = any(0 < len(each) <= window for each in sequences) and reader.packs
    return plan_passes(sequences, budget, reader.work, longest=window, packs=packs)


def read_pass(
    reader: Readable,
    each: Pass,
    sequences: Sequence[NDArray[np.integer]],
    tags: Sequence[NDArray[np.integer]],
    pad_id: int = 0,
) -> Tensor:
    """Hidden states at the tags of every member of a pass, member by member; shape ``(n_tags, d)``.

    Args:
        reader: whose body is run.
        each: the pass.
        sequences: token ids of all solutions.
        tags: positions that are read, of all solutions.
        pad_id: any token; nothing reads it.
    """
    if isinstance(each, Padded):
        return _read_padded(reader, each, sequences, tags, pad_id)
    at = np.concatenate(
        [place[tags[member]] for member, place in zip(each.members, each.row.places, strict=True)]
    )
    return _run_packed(reader, each)[_tensor(at, reader)]


@torch.no_grad()
def can_pack(reader: Readable) -> bool:
    """Does the model give packed solutions the states that it gives them alone? It is tried, not looked up.

    An architecture whose attention is its own, or that looks at more than tokens and positions, does not.

    Raises:
        ShepherdError: where memory is too small for a few tokens.
    """
    from verifier.packing.tree import lay_out

    (row,) = lay_out(_TRIED, budget=64)
    packed = Packed(row, size=4)
    longest = max(map(len, _TRIED))
    every = [np.arange(len(each)) for each in _TRIED]
    training = reader.body.training
    reader.body.eval()
    try:
        mine = _run_packed(reader, packed)[_tensor(np.concatenate(row.places), reader)]
        theirs = _read_padded(reader, Padded(row.members, longest), _TRIED, every, 0)
        with sdpa_kernel(SDPBackend.MATH):
            alone = [_read_padded(reader, Padded((i,), longest), _TRIED, every, 0) for i in row.members]
        again = torch.cat(alone)
    except Exception as error:  # another library's code, whatever it says of an unknown attention
        if is_out_of_memory(error):
            raise too_little_memory(longest) from error
        mine = theirs = again = torch.tensor([[torch.nan]])
    finally:
        reader.body.train(training)
    # What two ways of reading that are both right differ by, in batches and in kernel: nothing is nearer.
    tolerance = max(3 * _apart(again, theirs), 1e-4 if mine.dtype == torch.float32 else 0.02)
    found = _apart(mine, theirs) <= tolerance
    if not found:
        announce(f"{type(reader.model).__name__} reads no packed rows: solutions are read in padded batches")
    return found


def _apart(mine: Tensor, theirs: Tensor) -> float:
    """The largest distance of a state from its counterpart, as a part of its length."""
    return float(((mine - theirs).float().norm(dim=-1) / theirs.float().norm(dim=-1)).max())


def _run_packed(reader: Readable, each: Packed) -> Tensor:
    """Hidden states of all tokens of a packed row; shape ``(n, d)``."""
    row, device = each.row, reader.device
    with along_paths(reader.model):
        states: Tensor = reader.body(
            input_ids=torch.from_numpy(row.ids).to(device)[None],
            position_ids=torch.from_numpy(row.positions).to(device)[None],
            use_cache=False,
            tiles=to_tensors(each.tiles, device),
        ).last_hidden_state
    return states[0]


def _read_padded(
    reader: Readable,
    each: Padded,
    sequences: Sequence[NDArray[np.integer]],
    tags: Sequence[NDArray[np.integer]],
    pad_id: int,
) -> Tensor:
    """As `read_pass`: padding stands on the right, where causal attention never looks."""
    ids = np.full((len(each.members), each.length), pad_id, dtype=np.int64)
    for row, member in enumerate(each.members):
        ids[row, : len(sequences[member])] = sequences[member]
    at = np.concatenate(
        [tags[member].astype(np.int64) + row * each.length for row, member in enumerate(each.members)]
    )
    return reader.hidden(_tensor(ids, reader), _tensor(at, reader))


def _tensor(array: NDArray[np.integer], reader: Readable) -> Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.int64)).to(reader.device)
