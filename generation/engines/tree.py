"""A batch of candidates sampled as a tree, of which only the ends are held.

Candidates of a problem that have the same tokens so far are one row: the next token's distribution is
computed once for all of them, and each draws from it with a number of its own. A row branches where they draw
different tokens, and leaves the batch with its last one. Rows are kept dense: what branches off takes a free
place first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from generation.engines.draw import draw
from generation.engines.protocol import Sampling
from generation.engines.shared_prefix import SharedPrefixCache


class SampleTree:
    """The state of one batch.

    Args:
        model: whose attention is that of `generation.engines.shared_prefix`.
        prompts: token ids of each prompt.
        n: candidates of each.
        streams: their random numbers, shape ``(prompts * n, max_new_tokens)``.
        sampling: how tokens are drawn.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: list[list[int]], n: int, streams: Tensor, sampling: Sampling
    ) -> None:
        device = model.device
        self.model, self.sampling = model, sampling
        self.streams = streams.to(device)
        self.lengths = torch.tensor([len(ids) for ids in prompts], device=device)
        every = len(prompts) * n
        self.slot = torch.arange(every, device=device)  # candidates that go on
        self.row = self.slot // n  # the row that each of them continues
        self.problem = torch.arange(len(prompts), device=device)  # of each row
        self.tokens = torch.zeros(every, sampling.max_new_tokens, dtype=torch.long, device=device)
        self.counts = torch.zeros(every, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(every, dtype=torch.float64, device=device)
        self.stopped = torch.zeros(every, dtype=torch.bool, device=device)
        self.at = 0  # tokens sampled so far
        layers = model.config.get_text_config(decoder=True).num_hidden_layers
        self.cache = SharedPrefixCache(self.lengths, layers)
        self.held = self.problem  # problems whose prompt the cache still holds
        width = int(self.lengths.max())
        ids = torch.tensor([row + [0] * (width - len(row)) for row in prompts], device=device)
        last, where = (self.lengths - 1).unique(return_inverse=True)
        logits = self._forward(ids, torch.arange(width, device=device)[None], last)
        self.logits = logits[self.problem, where]
        self._regroup()

    def step(self, ended_by: Any) -> bool:
        """Sample one token a candidate, branch rows, drop those that end; False when none is left."""
        logits, at, row, slot = self.logits.float(), self.at, self.row, self.slot
        chosen = draw(logits, self.streams[slot, at], row, self.sampling.temperature, self.sampling.top_p)
        self.tokens[slot, at] = chosen
        self.logprobs[slot] += (logits[row, chosen] - logits.logsumexp(-1)[row]).double()
        self.counts[slot] += 1
        self.at += 1
        # the new rows, as (old row, token), and which of them each candidate continues
        pairs, row = (row * logits.shape[1] + chosen).unique(return_inverse=True)
        one = torch.empty_like(pairs).scatter_(0, row, slot)  # of its candidates, whichever
        ended = ended_by(self.tokens[one, : self.at], self.sampling.stop)
        self.stopped[slot] = ended[row]
        if self.at == self.sampling.max_new_tokens or bool(ended.all()):
            return False
        goes_on = ~ended[row]
        self.slot, row = slot[goes_on], (torch.cumsum(~ended, 0) - 1)[row[goes_on]]
        pairs = pairs[~ended]
        places = self._branch(pairs // logits.shape[1])
        self.row = places[row]
        newest = torch.empty_like(pairs)
        newest[places] = pairs % logits.shape[1]
        position = self.lengths[self.problem] + at
        self.logits = self._forward(newest[:, None], position[:, None], 1)[:, -1]
        return True

    def close(self) -> None:
        """Drop what only sampling needs."""
        del self.cache, self.logits

    def sampled(self) -> list[list[int]]:
        """Token ids of every candidate, the end token among them where it was sampled."""
        counts = self.counts.tolist()
        return [ids[:count] for ids, count in zip(self.tokens.tolist(), counts, strict=True)]

    def _branch(self, parents: Tensor) -> Tensor:
        """Give every new row a place, the first of an old row that one's; old rows are named in order.

        Places are dense. A place that is given away has no new row that begins there, so nothing is read
        after it was written over.
        """
        count = len(parents)
        stays = (parents < count) & (parents != torch.cat([parents.new_tensor([-1]), parents[:-1]]))
        taken = torch.zeros(count, dtype=torch.bool, device=parents.device)
        taken[parents[stays]] = True
        places = parents.clone()
        places[~stays] = (~taken).nonzero()[:, 0]
        if count != len(self.problem) or not bool(stays.all()):
            problem = torch.empty_like(parents)
            problem[places] = self.problem[parents]
            self.problem = problem
            self.cache.move(parents[~stays], places[~stays], count, most=len(self.slot))
            self._regroup()
        return places

    def _regroup(self) -> None:
        """Tell the cache which problem each row continues; drop finished prompts once they are a quarter."""
        alive = self.problem.unique()
        if len(alive) <= 0.75 * len(self.held):
            self.cache.keep_problems(torch.searchsorted(self.held, alive))
            self.held = alive
        self.cache.group(torch.searchsorted(self.held, self.problem))

    def _forward(self, ids: Tensor, positions: Tensor, keep: int | Tensor) -> Tensor:
        """Logits at the positions ``keep``."""
        logits: Tensor = self.model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
            shared_prefix=self.cache,
        ).logits
        return logits
