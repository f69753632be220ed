"""What samples completions of the policy while it is trained: our own sampler, or vLLM by TRL's path."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from generation.config import SamplingConfig
from generation.engines.protocol import Prompt, Sampling
from generation.engines.texts import cut, decode, end_tokens
from generation.engines.transformers import TransformersEngine
from generation.learn.grpo.config import GrpoConfig
from generation.prompts import encode
from shepherd.errors import ShepherdError


class Completion(NamedTuple):
    """A completion, as its learner needs it.

    Attributes:
        prompt: token ids of the prompt.
        ids: sampled token ids, the end token among them where it was sampled; at least one.
        text: what they say, up to the first stop text.
        ended: the policy ended it itself; else it was cut at the token limit.
        logprobs: of the sampled tokens, where another engine than the policy computed them.
    """

    prompt: list[int]
    ids: list[int]
    text: str
    ended: bool
    logprobs: list[float] | None = None


Sample = Callable[[Sequence[Prompt], int], list[list[Completion]]]
"""So many completions of each prompt, of the policy as it is now."""


def pick_rollout(config: GrpoConfig) -> tuple[Literal["transformers", "vllm"], str]:
    """Which engine samples, and the line that says so and why.

    Raises:
        ShepherdError: where vLLM is asked for and cannot run.
    """
    if config.rollout == "transformers":
        return "transformers", "rollouts by transformers, as the config asks"
    obstacle = _obstacle(config)
    if obstacle is None:
        return "vllm", "rollouts by vLLM in this process, its weights set by TRL before each batch"
    if config.rollout == "vllm":
        raise ShepherdError(f"rollout: vllm cannot sample here: {obstacle}; set rollout=auto")
    return "transformers", f"rollouts by transformers, not vLLM: {obstacle}"


def _obstacle(config: GrpoConfig) -> str | None:
    """Why vLLM cannot sample the policy; None where it can."""
    import torch

    if importlib.util.find_spec("vllm") is None:
        return "the extra vllm is not installed (pip install 'shepherd-prm[vllm]')"
    if not torch.cuda.is_available() or config.device == "cpu":
        return "TRL runs it on CUDA alone"
    if config.update.quantization != "none":
        return "an adapter cannot be merged exactly into a 4-bit base, which is how TRL hands it over"
    if config.sampling.stop:
        return "TRL hands it no stop texts"
    from trl.import_utils import is_vllm_available

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        is_vllm_available()
    if said:
        return str(said[0].message).splitlines()[0].rstrip(".")
    return None


class TransformersSampler:
    """The policy itself, batched by the sampler of `shepherd generate`.

    Args:
        model: peft model; its adapter is on while it samples.
        tokenizer: its tokenizer.
        name: how errors name it.
        sampling: how tokens are drawn.
        seed: of the run; which numbers a completion draws is named by seed, prompt key and index.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, sampling: SamplingConfig, seed: int) -> None:
        self.engine = TransformersEngine(model.get_base_model(), tokenizer, name)
        self.sampling, self.seed = Sampling(**sampling.model_dump()), seed

    def __call__(self, prompts: Sequence[Prompt], n: int) -> list[list[Completion]]:
        """Sample; the same call gives the same completions."""
        rows = self.engine.draw(prompts, n, self.sampling, self.seed)
        return [
            [
                Completion(each.prompt, each.ids, each.candidate.text, each.candidate.finish_reason == "stop")
                for each in row
            ]
            for row in rows
        ]


class TrlSampler:
    """What TRL samples with, which is vLLM where it was told so.

    Args:
        trainer: TRL's GRPOTrainer.
        tokenizer: of the policy.
        name: how errors name it.
        sampling: for its stop texts; TRL knows the rest.
    """

    def __init__(self, trainer: Any, tokenizer: Any, name: str, sampling: SamplingConfig) -> None:
        self.trainer, self.tokenizer, self.name, self.stop = trainer, tokenizer, name, sampling.stop
        self.ends = end_tokens(tokenizer, trainer.model.generation_config, name)

    def __call__(self, prompts: Sequence[Prompt], n: int) -> list[list[Completion]]:
        """Sample; vLLM draws from its own generator."""
        encoded = [ids for each in prompts for ids in [encode(self.tokenizer, each, self.name)] * n]
        rows, logprobs = self.trainer._generate_single_turn(encoded, None, {}, n)
        ended = [bool(ids) and ids[-1] in self.ends for ids in rows]
        bare = [ids[:-1] if end else ids for ids, end in zip(rows, ended, strict=True)]
        texts = decode(self.tokenizer, bare)
        made = [
            Completion(prompt, ids, cut(text, self.stop), end, None if logprobs is None else logprobs[row])
            for row, (prompt, ids, text, end) in enumerate(zip(encoded, rows, texts, ended, strict=True))
        ]
        return [made[at : at + n] for at in range(0, len(made), n)]
