"""The transformers engine: any causal language model, n candidates a prompt, on CPU or CUDA.

Every prompt is read once, and so is every beginning that candidates of a problem have in common: they are
sampled as a tree. A row leaves the batch with its last token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from generation.engines.draw import draw, uniforms
from generation.engines.protocol import Prompt, Sampling
from generation.engines.shared_prefix import NAME, SharedPrefixCache, refusal
from generation.engines.texts import cut, decode, end_tokens
from generation.prompts import encode
from shepherd.assets import resolve_model
from shepherd.errors import ShepherdError
from shepherd.records import Candidate
from verifier.model import load_tokenizer

PART = 1024
"""Candidates in a batch on a CPU (`benchmarks/sampling.py` has others): small steps have more to do beside
their products, and the keys of large ones leave the caches."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Drawn(NamedTuple):
    """A candidate with its tokens, for who learns from them.

    Attributes:
        prompt: token ids of the prompt.
        ids: the sampled token ids, the end token among them where it was sampled; at least one.
        candidate: what they say.
    """

    prompt: list[int]
    ids: list[int]
    candidate: Candidate


class TransformersEngine:
    """Samples from a causal language model of transformers.

    Args:
        model: A model that stays the caller's: weights, mode and attention are as before after each call.
        tokenizer: Its tokenizer; its own BOS rule applies to prompts.
        name: How candidates name their generator.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        ends = end_tokens(tokenizer, model.generation_config, name)
        self.ends = torch.tensor(ends, device=model.device)

    @classmethod
    def load(
        cls,
        name_or_path: str,
        *,
        adapter: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
    ) -> Self:
        """Load ``embedded:weak``, a folder or a hub name; see `generation.engines.load_engine`."""
        path = resolve_model(name_or_path)
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if dtype == "auto" and where == "cpu":
            dtype = "float32"  # attention in 16 bits is slower there, and rounding would cost answers
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # a bar a tensor would hide the run's own
        try:
            model = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=dtype,
                device_map=where,
                attn_implementation="sdpa",
                trust_remote_code=trust_remote_code,
            )
        except (OSError, ValueError) as error:
            first_line = str(error).strip().partition("\n")[0].rstrip(" :.")
            raise ShepherdError(
                f"model {name_or_path}: {first_line}; give embedded:weak, embedded:strong, a folder or a hub "
                "name"
            ) from error
        finally:
            if shown:
                logging.enable_progress_bar()
        tokenizer = load_tokenizer(name_or_path, trust_remote_code=trust_remote_code)
        if adapter is None:
            return cls(model.eval(), tokenizer, name_or_path)
        from verifier.adapter import put_adapter

        adapted = put_adapter(model, adapter, name_or_path)
        return cls(adapted.eval(), tokenizer, f"{name_or_path}+{adapter}")

    def close(self) -> None:
        """Drop the model, so that its memory can be given to the verifier."""
        del self.model

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> list[list[Candidate]]:
        """Sample candidates ``first`` to ``first + n - 1`` of every prompt, all of them as one batch.

        The same call gives the same candidates on one machine with one thread. In another batch a candidate
        has the same random numbers, and differs only where rounding moves a boundary between two tokens.

        Returns:
            One list a prompt. ``logprob`` is the mean log-likelihood (nats) of the sampled tokens, the end
            token among them, under the model's own distribution: temperature 1 and no nucleus, whatever was
            sampled with. ``tokens`` counts the same tokens.
        """
        rows = self.draw(prompts, n, sampling, seed, first)
        return [[each.candidate for each in row] for row in rows]

    def draw(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> list[list[Drawn]]:
        """As `generate`, each candidate with the tokens it is made of."""
        encoded = [encode(self.tokenizer, prompt, self.name) for prompt in prompts]
        longest = max(map(len, encoded)) + sampling.max_new_tokens
        if (reason := refusal(self.model, longest)) is not None:
            raise ShepherdError(f"model {self.name}: {reason}; lower max_new_tokens or take another model")
        streams = np.stack(
            [uniforms(seed, p.key, first + i, sampling.max_new_tokens) for p in prompts for i in range(n)]
        )
        batches = self._sample(encoded, n, streams, sampling)
        sampled = [ids for batch in batches for ids in batch.sampled()]
        texts = decode(self.tokenizer, [_without_end(ids, self.ends.tolist()) for ids in sampled])
        drawn = [
            Drawn(
                encoded[row // n],
                ids,
                Candidate(
                    text=cut(text, sampling.stop),
                    generator=self.name,
                    finish_reason="stop" if stopped else "length",
                    tokens=len(ids),
                    logprob=round(total / len(ids), 6),
                ),
            )
            for row, (ids, text, stopped, total) in enumerate(
                zip(
                    sampled,
                    texts,
                    [each for batch in batches for each in batch.stopped.tolist()],
                    [each for batch in batches for each in batch.logprobs.tolist()],
                    strict=True,
                )
            )
        ]
        return [drawn[i : i + n] for i in range(0, len(drawn), n)]

    def _sample(self, prompts: list[list[int]], n: int, streams: Floats, sampling: Sampling) -> list[_Batch]:
        """Sample all candidates of all prompts: a batch, or on a CPU batches of about `PART`, a thread each.

        How many threads there are changes no batch, and so no candidate.
        """
        count = max(1, round(len(prompts) * n / PART)) if self._has_parts() else 1
        size = -(-len(prompts) // count)
        parts = [range(at, min(at + size, len(prompts))) for at in range(0, len(prompts), size)]
        is_over = Event()

        @torch.inference_mode()  # which is a thread's own
        def sample(part: range) -> _Batch:
            rows = torch.from_numpy(streams[part.start * n : part.stop * n])
            try:
                batch = _Batch(self.model, [prompts[at] for at in part], n, rows, sampling)
                while not is_over.is_set() and batch.step(self._ended):
                    pass
            except BaseException:
                is_over.set()  # the others need not go on
                raise
            batch.close()
            return batch

        with _sampling_phase(self.model) as threads:
            if min(threads, len(parts)) == 1:
                return [sample(part) for part in parts]
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                try:
                    return list(pool.map(sample, parts))
                finally:
                    is_over.set()  # so too where the user has enough

    def _has_parts(self) -> bool:
        """Can parts of a batch be sampled side by side? 4-bit layers change what they hold as they run."""
        return self.model.device.type == "cpu" and not getattr(self.model, "is_quantized", False)

    def _ended(self, tokens: Tensor, stop: tuple[str, ...]) -> Tensor:
        """Which rows end with their newest token; ``tokens`` is (rows, sampled so far)."""
        ended = torch.isin(tokens[:, -1], self.ends)
        if stop:
            # a token is at least a character, or part of one; a few more for those that are bytes
            tail = tokens[:, -(max(map(len, stop)) + 4) :]
            texts = decode(self.tokenizer, tail.tolist())
            ended |= torch.tensor([any(s in text for s in stop) for text in texts], device=ended.device)
        return ended


class _Batch:
    """The state of one batch: a tree of samples, of which only the ends are held.

    Candidates of a problem that have the same tokens so far are one row: the next token's distribution is
    computed once for all of them, and each draws from it with a number of its own. A row branches where they
    draw different tokens. Rows are kept dense: what branches off takes a free place first.
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


def _without_end(ids: list[int], ends: list[int]) -> list[int]:
    return ids[:-1] if ids[-1] in ends else ids


@contextmanager
def _sampling_phase(model: PreTrainedModel) -> Iterator[int]:
    """Inference with shared prompts; gives the threads that there are.

    On a CPU an operation has one of them: small ones are 12 times slower with two.
    """
    threads, training, attention = torch.get_num_threads(), model.training, model.config._attn_implementation
    try:
        model.eval()
        model.set_attn_implementation(NAME)
        if model.device.type == "cpu":
            torch.set_num_threads(1)
        yield threads
    finally:
        torch.set_num_threads(threads)
        model.set_attn_implementation(attention)
        model.train(training)
