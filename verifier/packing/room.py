"""How many tokens a pass may have: measured on short ones, and halved where memory runs out all the same."""

from __future__ import annotations

import numpy as np
import torch

from shepherd.runs import announce
from verifier.packing.allocations import Allocations
from verifier.packing.budget import CPU_BYTES, LEAST_TOKENS, tokens_that_fit
from verifier.packing.exhausted import is_out_of_memory, too_little_memory
from verifier.packing.passes import Padded, Pass
from verifier.packing.read import Readable, read_pass


class Room:
    """The memory there is for passes of one model.

    Args:
        reader: the model.
    """

    def __init__(self, reader: Readable) -> None:
        self.reader = reader
        self._tokens: int | None = None

    def tokens(self, most: int) -> int:
        """Tokens of a pass: as many as fit, at most so many.

        What is measured is a padded pass: a packed row of very long solutions takes more, and is halved where
        that is too much.

        The number stays what it was found to be: the same solutions then share the same passes, and get the
        same bits. Not so in another run on a card, where something else may be free.
        """
        if self._tokens is None:
            try:
                self._tokens = self._fit()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._tokens = LEAST_TOKENS
        return min(most, self._tokens)

    def halve(self, failed: Pass, error: BaseException) -> None:
        """Take half of what a pass had that memory was too small for; say so in one line.

        Raises:
            ShepherdError: where the pass was a single solution, so that there is nothing to halve.
        """
        size = failed.tokens
        if len(failed.members) == 1:
            raise too_little_memory(size) from error
        self._tokens = max(1, size // 2)
        if self.reader.device.type == "cuda":
            torch.cuda.empty_cache()
        announce(f"out of memory on a pass of {size:,} tokens: going on with {self._tokens:,}")

    def _fit(self) -> int:
        """Tokens that fit: by what a pass takes more when it is longer, beside what any pass takes."""
        short = max(1, min(LEAST_TOKENS, self.reader.window // 2))
        if self.reader.device.type == "cuda":
            self._measure(short)  # a first pass makes workspaces that all share
        (less, _), (more, free) = self._measure(short), self._measure(2 * short)
        bytes_a_token = max(1.0, (more - less) / short)
        fixed = max(0.0, less - short * bytes_a_token)
        cpu_bytes = CPU_BYTES if self.reader.device.type == "cpu" else None
        return tokens_that_fit(bytes_a_token, fixed, free, cpu_bytes)

    @torch.no_grad()
    def _measure(self, tokens: int) -> tuple[int, int]:
        """Bytes that a pass takes beyond the weights, and the bytes that are free."""
        reader = self.reader
        ids, tags = np.arange(tokens) % reader.vocabulary, np.arange(0, tokens, 16)
        tried = Padded((0,), tokens)
        if reader.device.type == "cuda":
            before = torch.cuda.memory_allocated(reader.device)
            torch.cuda.reset_peak_memory_stats(reader.device)
            read_pass(reader, tried, [ids], [tags])
            used = torch.cuda.max_memory_allocated(reader.device) - before
            cached = torch.cuda.memory_reserved(reader.device) - torch.cuda.memory_allocated(reader.device)
            return used, torch.cuda.mem_get_info(reader.device)[0] + cached
        import psutil

        with Allocations() as counted:
            read_pass(reader, tried, [ids], [tags])
        return counted.peak, psutil.virtual_memory().available
