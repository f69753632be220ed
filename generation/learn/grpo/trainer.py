"""TRL's GRPOTrainer on completions that were sampled, rewarded and weighed here.

TRL pads, asks the reference for its log-probabilities, computes the loss and takes the steps. The subclass
hands it token ids that are sampled already and rewards that are computed already (so that TRL logs each on
its own), and puts advantages a token in the place of TRL's one a completion, which its loss accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from generation.learn.grpo.config import GrpoConfig
from generation.learn.grpo.learnt import KEPT, Learnt
from generation.learn.watch import on_one_device, trl_arguments


class GroupTrainer(GRPOTrainer):
    """GRPOTrainer whose generation batches are made by `make`.

    Args:
        make: called with the trainer once a generation batch, before the policy learns from it.
        weights: of each reward; in this order TRL logs them.
        more: what GRPOTrainer takes beside its reward functions.
    """

    def __init__(
        self, make: Callable[[GroupTrainer], Learnt], weights: Mapping[str, float], **more: Any
    ) -> None:
        self.make, self.made = make, Learnt((), (), None, {}, ())
        more["args"].reward_weights = [*weights.values(), 0.0]
        super().__init__(reward_funcs=[self._hand_over(name) for name in (*weights, KEPT)], **more)
        self.rollout_func = self._roll_out  # set here: given to TRL it warns that it may change

    def _hand_over(self, name: str) -> Callable[..., list[float | None]]:
        """A reward function for TRL that looks up what was computed."""

        def handed_over(**_: Any) -> list[float | None]:
            return list(self.made.rewards[name])

        handed_over.__name__ = name
        return handed_over

    def _roll_out(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        self.made = self.make(self)
        return {
            "prompt_ids": self.made.prompts,
            "completion_ids": self.made.completions,
            "logprobs": self.made.logprobs,
        }

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        output["advantages"] = padded(self.made.advantages, like=output["completion_ids"])
        kept = torch.tensor(self.made.rewards[KEPT], device=output["completion_ids"].device) > 0
        if not bool(kept.all()):
            # An advantage of 0 leaves the KL term: what is not kept is taken out of the loss as a whole.
            mask = kept[:, None].to(output["completion_mask"].dtype).expand_as(output["completion_mask"])
            output["tool_mask"] = mask.contiguous()
            output["num_items_in_batch"] = (output["completion_mask"] * mask).sum()
        return output

    def _send_telemetry(self) -> None:
        pass


def padded(advantages: Sequence[NDArray[np.float64]], *, like: Tensor) -> Tensor:
    """Advantages of tokens as one fp32 tensor of the shape of ``like`` ``(B, T)``, 0 behind each completion.

    Example:
        >>> padded([np.array([1.0, 2.0]), np.array([3.0])], like=torch.zeros(2, 3)).tolist()
        [[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]]
    """
    table = torch.zeros(like.shape, dtype=torch.float32)
    for row, each in zip(table, advantages, strict=True):
        row[: len(each)] = torch.from_numpy(np.asarray(each, dtype=np.float32))
    return table.to(like.device)


def arguments(config: GrpoConfig, folder: Path, *, steps: int, use_vllm: bool) -> GRPOConfig:
    """What TRL is told.

    Args:
        config: of the run.
        folder: TRL needs one, and writes nothing there.
        steps: optimizer steps that are left.
        use_vllm: sample by TRL's vLLM in this process.
    """
    update = config.update
    made = GRPOConfig(
        **trl_arguments(
            update,
            folder=folder,
            steps=steps,
            batch_size=config.per_device,
            accumulation=config.accumulation,
            device=config.device,
            seed=config.seed,
        ),
        steps_per_generation=config.batch // config.per_device,
        num_generations=config.generations,
        num_iterations=update.num_iterations,
        max_completion_length=config.sampling.max_new_tokens,
        temperature=config.sampling.temperature,
        beta=update.beta,
        epsilon=update.epsilon_low,
        epsilon_high=update.epsilon_high,
        loss_type=update.loss_type,
        scale_rewards="none",  # TRL's own advantages are not used
        shuffle_dataset=False,
        remove_unused_columns=False,
        use_vllm=use_vllm,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=config.vllm.gpu_memory_utilization,
        vllm_max_model_length=config.vllm.max_model_len,
        vllm_tensor_parallel_size=config.vllm.tensor_parallel,
    )
    on_one_device(made)
    return made
