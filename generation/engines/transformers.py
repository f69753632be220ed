"""The transformers engine: any causal language model, n candidates a prompt, on CPU or CUDA.

Every prompt is read once, its candidates are sampled side by side, and a row leaves the batch with its last
token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
        with _sampling_phase(self.model):
            batch = _Batch(self.model, encoded, n, torch.from_numpy(streams), sampling)
            while batch.step(self._ended):
                pass
        sampled = batch.sampled()
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
                zip(sampled, texts, batch.stopped.tolist(), batch.logprobs.tolist(), strict=True)
            )
        ]
        return [drawn[i : i + n] for i in range(0, len(drawn), n)]

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
    """The state of one batch. Rows are kept dense: where one ends, the last row takes its place."""

    def __init__(
        self, model: PreTrainedModel, prompts: list[list[int]], n: int, streams: Tensor, sampling: Sampling
    ) -> None:
        device = model.device
        self.model, self.sampling, self.n = model, sampling, n
        self.streams = streams.to(device)
        self.lengths = torch.tensor([len(ids) for ids in prompts], device=device)
        rows = len(prompts) * n
        self.slot = torch.arange(rows, device=device)  # which candidate a row is
        self.tokens = torch.zeros(rows, sampling.max_new_tokens, dtype=torch.long, device=device)
        self.counts = torch.zeros(rows, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(rows, dtype=torch.float64, device=device)
        self.stopped = torch.zeros(rows, dtype=torch.bool, device=device)
        self.at = 0  # tokens sampled so far
        layers = model.config.get_text_config(decoder=True).num_hidden_layers
        self.cache = SharedPrefixCache(self.lengths, layers)
        self.problems = torch.arange(len(prompts), device=device)  # those whose prompt the cache still holds
        width = int(self.lengths.max())
        ids = torch.tensor([row + [0] * (width - len(row)) for row in prompts], device=device)
        last, where = (self.lengths - 1).unique(return_inverse=True)
        logits = self._forward(ids, torch.arange(width, device=device)[None], last)
        self.logits = logits[torch.arange(len(prompts), device=device), where].repeat_interleave(n, 0)
        self._regroup()

    def step(self, ended_by: Any) -> bool:
        """Sample one token a row, drop the rows that end; False when none is left."""
        logits, at = self.logits.float(), self.at
        chosen = draw(logits, self.streams[self.slot, at], self.sampling.temperature, self.sampling.top_p)
        picked = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
        self.tokens[self.slot, at] = chosen
        self.logprobs[self.slot] += picked.double()
        self.counts[self.slot] += 1
        self.at += 1
        ended = ended_by(self.tokens[self.slot, : self.at], self.sampling.stop)
        self.stopped[self.slot] = ended
        if self.at == self.sampling.max_new_tokens or bool(ended.all()):
            return False
        if bool(ended.any()):
            chosen = self._drop(ended, chosen)
        position = self.lengths[self.slot // self.n] + at
        self.logits = self._forward(chosen[:, None], position[:, None], 1)[:, -1]
        return True

    def sampled(self) -> list[list[int]]:
        """Token ids of every candidate, the end token among them where it was sampled."""
        counts = self.counts.tolist()
        return [ids[:count] for ids, count in zip(self.tokens.tolist(), counts, strict=True)]

    def _drop(self, ended: Tensor, chosen: Tensor) -> Tensor:
        """Fill the places of ended rows from the back; returns the tokens of the rows that stay."""
        left = int((~ended).sum())
        holes = ended[:left].nonzero()[:, 0]
        movers = (~ended[left:]).nonzero()[:, 0] + left
        self.cache.move(movers, holes)
        self.slot[holes], chosen[holes] = self.slot[movers], chosen[movers]
        self.slot, chosen = self.slot[:left], chosen[:left]
        self._regroup()
        return chosen

    def _regroup(self) -> None:
        """Tell the cache which problem each row continues; drop finished prompts once they are a quarter."""
        problem = self.slot // self.n
        alive = problem.unique()
        if len(alive) <= 0.75 * len(self.problems):
            self.cache.keep_problems(torch.searchsorted(self.problems, alive))
            self.problems = alive
        self.cache.group(torch.searchsorted(self.problems, problem))

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
def _sampling_phase(model: PreTrainedModel) -> Iterator[None]:
    """Inference with shared prompts; on CPU with one thread, as small steps are 12 times slower with two."""
    threads, training, attention = torch.get_num_threads(), model.training, model.config._attn_implementation
    try:
        model.eval()
        model.set_attn_implementation(NAME)
        if model.device.type == "cpu":
            torch.set_num_threads(1)
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
        model.set_attn_implementation(attention)
        model.train(training)
