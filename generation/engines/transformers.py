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

from generation.engines.draw import uniforms
from generation.engines.protocol import Prompt, Sampling
from generation.engines.shared_prefix import NAME, refusal
from generation.engines.texts import cut, decode, end_tokens
from generation.engines.tree import SampleTree
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

    def _sample(
        self, prompts: list[list[int]], n: int, streams: Floats, sampling: Sampling
    ) -> list[SampleTree]:
        """Sample all candidates of all prompts: a batch, or on a CPU batches of about `PART`, a thread each.

        How many threads there are changes no batch, and so no candidate.
        """
        count = max(1, round(len(prompts) * n / PART)) if self._has_parts() else 1
        size = -(-len(prompts) // count)
        parts = [range(at, min(at + size, len(prompts))) for at in range(0, len(prompts), size)]
        is_over = Event()

        @torch.inference_mode()  # which is a thread's own
        def sample(part: range) -> SampleTree:
            rows = torch.from_numpy(streams[part.start * n : part.stop * n])
            try:
                batch = SampleTree(self.model, [prompts[at] for at in part], n, rows, sampling)
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
