"""The server engine: candidates from any OpenAI-compatible endpoint, over HTTP.

Plain prompts go to ``/completions``, chats to ``/chat/completions``. No torch, no weights, no tokenizer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, Self

from generation.engines.protocol import Prompt, Sampling
from shepherd.endpoint import Endpoint
from shepherd.endpoint_errors import BrokenAnswerError
from shepherd.records import Candidate
from shepherd.serving import ServerConfig

# Every server's word for the end of a solution; what else there is (a filter, a tool call) is neither end.
_ENDS = {"stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "length": "length"}
_ABORTED = {"abort", "error"}


class ServerEngine:
    """Samples from a model that a server holds.

    **Seeds.** A request carries one, made of run seed, problem id and the index of its first candidate. It
    is asked for, not held to: vLLM draws the same numbers again (candidate i of a request from seed + i) and
    then differs only where rounding in another batch moves a boundary between two tokens; other servers may
    ignore it, or refuse it (``server.seeds=false`` sends none). So a resumed run has the same set of
    problems, each with all its candidates, and the same texts only where the server repeats itself.

    Args:
        model: The name under which the endpoint serves the model.
        config: Where the endpoint is.
    """

    def __init__(self, model: str, config: ServerConfig) -> None:
        self.name, self.config = model, config
        self.endpoint = Endpoint(config)
        self._one_at_a_time = False  # once the server has been seen to ignore n

    @classmethod
    def connect(cls, model: str, config: ServerConfig) -> Self:
        """A sampler of ``model`` at the endpoint; nothing is sent before the first prompt."""
        return cls(model, config)

    def close(self) -> None:
        """Give up what is under way and close the connections."""
        self.endpoint.close()

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> list[list[Candidate]]:
        """Sample candidates ``first`` to ``first + n - 1`` of every prompt; requests run side by side.

        Returns:
            One list a prompt. ``logprob`` is the mean log-likelihood (nats) of the sampled tokens as the
            server reports it (vLLM: under the model's own distribution, as everywhere here); ``tokens``
            counts the sampled tokens. Both are None where the server does not say.
        """
        return list(self.stream(prompts, n, sampling, seed, first))

    def stream(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> Iterator[list[Candidate]]:
        """As `generate`, prompt by prompt as each is finished: what came before an error can be kept."""
        size = 1 if self._one_at_a_time else min(n, self.config.max_n or n)
        starts = range(first, first + n, size)
        jobs = [
            partial(self._sample, prompt, start, min(size, first + n - start), sampling, seed)
            for prompt in prompts
            for start in starts
        ]
        with closing(self.endpoint.run(jobs)) as results:
            for _ in prompts:
                yield list(chain.from_iterable(islice(results, len(starts))))

    async def _sample(
        self, prompt: Prompt, start: int, count: int, sampling: Sampling, seed: int
    ) -> list[Candidate]:
        """Candidates ``start`` to ``start + count - 1`` of one prompt, in as many requests as it takes."""
        url = f"{self.config.base_url}/{'chat/completions' if prompt.chat else 'completions'}"
        candidates: list[Candidate] = []
        while len(candidates) < count:
            missing = count - len(candidates)
            at = start + len(candidates)
            body = self._body(prompt, missing, sampling, seed_of(seed, prompt.key, at))
            what = f'problem "{self.endpoint.shown(prompt.key)}"'
            choices = await self.endpoint.ask(url, body, read_choices, what)
            self._one_at_a_time |= len(choices) == 1 < missing
            # some servers round n up: the surplus is dropped, as it has no index in the plan
            candidates += [self._candidate(each, sampling.stop) for each in choices[:missing]]
        return candidates

    def _body(self, prompt: Prompt, n: int, sampling: Sampling, seed: int) -> dict[str, Any]:
        """The request for ``n`` candidates of a prompt."""
        body: dict[str, Any] = {"model": self.name, "n": n}
        body |= {"messages": prompt.messages()} if prompt.chat else {"prompt": prompt.text}
        body |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        body["max_tokens"] = sampling.max_new_tokens
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self.config.seeds:
            body["seed"] = seed
        if self.config.logprobs:
            # 1 and not 0: some servers take 0 for "none"
            body["logprobs"] = True if prompt.chat else 1
        return body

    def _candidate(self, choice: Choice, stop: tuple[str, ...]) -> Candidate:
        """A choice as a candidate. A server that does not cut at a stop text has it cut here."""
        ends = [at for at in map(choice.text.find, stop) if at >= 0]
        mean = None
        # past a stop text the server's log-likelihoods are of what is no longer there
        if choice.logprobs and not ends and all(map(math.isfinite, choice.logprobs)):
            mean = round(math.fsum(choice.logprobs) / len(choice.logprobs), 6)
        return Candidate(
            text=choice.text[: min(ends)] if ends else choice.text,
            generator=self.name,
            finish_reason="stop" if ends else choice.finish_reason,
            tokens=choice.tokens,
            logprob=mean,
        )


def seed_of(seed: int, key: str, index: int) -> int:
    """The seed of the request whose first candidate is ``index`` of problem ``key``; 31 bits, which all take.

    Example:
        >>> seed_of(0, "p1", 0) == seed_of(0, "p1", 0), seed_of(0, "p1", 0) == seed_of(0, "p1", 1)
        (True, False)
    """
    name = f"{seed}\0{index}\0{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big") >> 1


class Choice(NamedTuple):
    """One of the texts in an answer."""

    text: str
    finish_reason: str | None
    tokens: int | None
    logprobs: list[float] | None


def read_choices(answer: Mapping[str, Any]) -> list[Choice]:
    """The choices of a completion or chat answer, in their order.

    Raises:
        BrokenAnswerError: where there are none, or one has no text or was aborted.
    """
    found = answer.get("choices")
    if not isinstance(found, list) or not found:
        raise BrokenAnswerError("an answer without choices")
    if not all(isinstance(each, dict) for each in found):
        raise BrokenAnswerError("an answer with a choice that is no object")
    if all(isinstance(each.get("index"), int) for each in found):
        found = sorted(found, key=lambda each: int(each["index"]))
    usage = answer.get("usage")
    total = usage.get("completion_tokens") if isinstance(usage, dict) else None
    alone = total if len(found) == 1 and type(total) is int and total >= 0 else None
    return [_read_choice(each, alone) for each in found]


def _read_choice(choice: Mapping[str, Any], tokens: int | None) -> Choice:
    """One choice; ``tokens`` is what the answer's usage says of it."""
    holder = choice.get("message", choice)
    name = "content" if "message" in choice else "text"
    if not isinstance(holder, dict) or name not in holder:
        raise BrokenAnswerError(f"an answer with a choice that has no {name}")
    text = holder[name]
    if text is None:
        text = ""  # a chat that ends before its first word
    if not isinstance(text, str):
        raise BrokenAnswerError(f"an answer with a choice whose {name} is no text")
    reason = str(choice.get("finish_reason"))
    if reason in _ABORTED:
        raise BrokenAnswerError(f"an answer with a choice that the server gave up ({reason})")
    logprobs = _read_logprobs(choice.get("logprobs"))
    return Choice(
        text,
        _ENDS.get(reason),
        tokens if logprobs is None else len(logprobs),
        logprobs,
    )


def _read_logprobs(found: object) -> list[float] | None:
    """Log-likelihoods of the sampled tokens, at least one; None where the server does not give them all."""
    if not isinstance(found, dict):
        return None
    tokens = found.get("token_logprobs")
    if tokens is None and isinstance(found.get("content"), list):
        tokens = [each.get("logprob") if isinstance(each, dict) else None for each in found["content"]]
    if not isinstance(tokens, list) or not tokens or not all(type(each) in (int, float) for each in tokens):
        return None
    return [float(each) for each in tokens]
