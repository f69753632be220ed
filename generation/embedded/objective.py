"""What the pretraining of a small model minimises: the next token and, for a verifier's base, expectation.

A verifier has to compare what stands in a solution with what its model would have written there. In a small
model that is known at the last layer only, where nothing is left to compare it. A base therefore has an exit
half-way up, and above it learns to see whether what follows was expected. All of it on right solutions: a
model that is still learning is surprised by them often enough.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, nll_loss
from transformers import LlamaForCausalLM

IGNORED = -100


class Batch(NamedTuple):
    """Token ids and labels, both (rows, tokens); labels are ``IGNORED`` off the solution."""

    ids: Tensor
    labels: Tensor


class Objective(nn.Module):
    """The loss of a pretraining, by its parts.

    - ``loss``: cross-entropy of the next token, on the solution.
    - ``exit``: the same from the state of ``exit_layer`` (deep supervision, arXiv 1409.5185).
    - ``expected_token``: the layer before the last says of each token how expected it was.
    - ``expected_step``: the last layer says at each tag how expected the step's least expected token was.

    How expected a token was is p(token) / max p by the exit itself, which learns nothing from it; the two
    are the Kullback-Leibler divergence to it of a linear probe of the state. The probes are thrown away.
    """

    def __init__(self, exit_layer: int | None, width: int, tag_id: int) -> None:
        super().__init__()
        self.exit_layer, self.tag_id = exit_layer, tag_id
        kinds = [] if exit_layer is None else ["expected_token", "expected_step"]
        self.probes = nn.ModuleDict({kind: nn.Linear(width, 1) for kind in kinds})
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, model: LlamaForCausalLM, batch: Batch) -> dict[str, Tensor]:
        """The parts, each a mean over what it is about; their sum is what is minimised."""
        learnt = batch.labels[:, 1:] != IGNORED
        targets = batch.labels[:, 1:][learnt]
        read = model.model(
            input_ids=batch.ids, use_cache=False, output_hidden_states=self.exit_layer is not None
        )
        top = read.last_hidden_state
        parts = {"loss": nll_loss(model.lm_head(top[:, :-1][learnt]).log_softmax(-1), targets)}
        if self.exit_layer is None:
            return parts
        exited = model.model.norm(read.hidden_states[self.exit_layer])
        logs = model.lm_head(exited[:, :-1][learnt]).log_softmax(-1)
        parts["exit"] = nll_loss(logs, targets)
        below = model.model.norm(read.hidden_states[-2])
        tags = targets == self.tag_id
        token, step = expectations(logs.detach(), targets, tags)
        parts["expected_token"] = self._divergence("expected_token", below[:, 1:][learnt], token)
        parts["expected_step"] = self._divergence("expected_step", top[:, 1:][learnt][tags], step)
        return parts

    def _divergence(self, kind: str, states: Tensor, expected: Tensor) -> Tensor:
        said = self.probes[kind](states)[:, 0]
        return binary_cross_entropy_with_logits(said, expected) - binary_cross_entropy(expected, expected)


def expectations(logs: Tensor, targets: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
    """How expected each token was, and how expected each step's least expected token.

    Args:
        logs: log-probabilities of the next token; shape ``(n_tokens, vocabulary)``.
        targets: the tokens that came; shape ``(n_tokens,)``.
        tags: which of them close a step; shape ``(n_tokens,)``. What follows a row's last tag, its end token,
            counts to the next row's first step.

    Returns:
        p(token) / max p for each token, in [0, 1], shape ``(n_tokens,)``; its least value over each step, its
        tag included, shape ``(n_tags,)``.

    Example:
        >>> import torch
        >>> logs = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]).log()
        >>> token, step = expectations(logs, torch.tensor([0, 1, 0]), torch.tensor([False, True, True]))
        >>> [round(value, 2) for value in token.tolist()], [round(value, 2) for value in step.tolist()]
        ([1.0, 1.0, 0.25], [1.0, 0.25])
    """
    token = (logs.gather(1, targets[:, None])[:, 0] - logs.max(1).values).exp()
    steps = tags.cumsum(0) - tags.long()
    least = token.new_ones(len(token) and int(steps.max()) + 1).scatter_reduce(0, steps, token, "amin")
    return token, least[steps[tags]]
