"""Step scores from a server: our token ids go to vLLM's ``/pooling``, probabilities at the tags come back.

The server must hold the verifier as a token classifier of two classes, good and bad (`shepherd export` prints
the arguments), and pool at the tags (STEP) or at every token (ALL). Texts are never sent: a server that
tokenizes them itself could put the tags elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from shepherd.endpoint import Endpoint
from shepherd.endpoint_errors import BrokenAnswerError
from shepherd.errors import ShepherdError
from shepherd.serving import ServerConfig
from shepherd.steps import split
from verifier.scoring import Encode, ScoringCounts, StepScores
from verifier.tags import EncodedSolution

Positions = Literal["step", "all"]
Activation = Literal["probabilities", "logits"]

_POOLING: dict[Positions, str] = {"step": "STEP and the tag's step_tag_id", "all": "ALL"}

_NO_LIMIT = 1 << 30

SUM_TOLERANCE = 0.01
"""How far the probabilities of a row may be from 1 in sum: bfloat16 has three digits."""


class ServerReader:
    """Reads scores at tags through a server.

    Args:
        config: Where the endpoint is; ``/pooling`` lies beside its ``/v1``.
        model: The name under which the endpoint serves the verifier.
        positions: Where the server pools: ``step`` gives a row wherever the tag's token stands, ``all`` a
            row a token, for verifiers that are read elsewhere.
        activation: What is asked for and read: ``probabilities``, or ``logits`` whose softmax is taken here.
        good: Column of the good class.
    """

    def __init__(
        self,
        config: ServerConfig,
        model: str,
        positions: Positions = "step",
        activation: Activation = "probabilities",
        good: int = 0,
    ) -> None:
        self.model, self.positions, self.activation, self.good = model, positions, activation, good
        self.endpoint = Endpoint(config)
        self._url = f"{config.base_url.removesuffix('/v1')}/pooling"
        self._context: int | None = None  # unknown until the server is asked

    @property
    def context(self) -> int:
        """Most tokens that the server reads, as its list of models says; no limit where it does not."""
        if self._context is None:
            (models,) = self.endpoint.run([self.endpoint.list_models])
            found = [row.get("max_model_len") for row in models if row["id"] == self.model]
            self._context = found[0] if found and type(found[0]) is int else _NO_LIMIT
        return self._context

    def close(self) -> None:
        """Give up what is under way and close the connections."""
        self.endpoint.close()

    def scores(self, solutions: Sequence[EncodedSolution]) -> list[NDArray[np.float32]]:
        """P(good) at every tag of every solution, in order; steps beyond the context score 0."""
        return list(self.stream(solutions))

    def stream(
        self, solutions: Sequence[EncodedSolution], batch_tokens: int = 16384
    ) -> Generator[NDArray[np.float32], None, None]:
        """As `scores`, each solution as soon as it and all before it are known; requests run side by side.

        Args:
            solutions: Token ids and tag positions.
            batch_tokens: Most tokens in one request.

        Raises:
            ShepherdError: if the rows do not fit the tags, or are no probabilities.
        """
        context = self.context if solutions else _NO_LIMIT
        jobs = [partial(self._score_batch, batch, context) for batch in _batches(solutions, batch_tokens)]
        with closing(self.endpoint.run(jobs)) as batches:
            for batch in batches:
                yield from batch

    async def _score_batch(self, batch: Sequence[EncodedSolution], context: int) -> list[NDArray[np.float32]]:
        """Scores of some solutions in one request; none is made for solutions without steps."""
        # Tokens after the last tag are not worth reading.
        read = [solution.tags[solution.tags < context].tolist() for solution in batch]
        ids = [
            solution.ids[: tags[-1] + 1].tolist() for solution, tags in zip(batch, read, strict=True) if tags
        ]
        rows: list[Any] = []
        if ids:
            body = {
                "model": self.model,
                "input": ids,
                "task": "token_classify",
                "use_activation": self.activation == "probabilities",
                "encoding_format": "float",
            }
            take = partial(_read_rows, count=len(ids))
            rows = await self.endpoint.ask(self._url, body, take, f"{len(ids)} solutions")
        found = zip(rows, ids, strict=True)
        scores = [np.zeros(len(solution.tags), dtype=np.float32) for solution in batch]
        for mine, tags in zip(scores, read, strict=True):
            if tags:
                mine[: len(tags)] = self._scores(*next(found), tags)
        return scores

    def _scores(self, rows: Any, ids: list[int], tags: list[int]) -> list[float]:
        """P(good) at the tags of one solution, of which ``ids`` ends with the last tag."""
        # STEP gives a row wherever the tag's token stands, which can be inside a word as well
        given = [at for at, token in enumerate(ids) if self.positions == "all" or token == ids[-1]]
        if not isinstance(rows, list) or len(rows) != len(given):
            found = len(rows) if isinstance(rows, list) else "no"
            raise ShepherdError(
                f"{self._url}: {found} rows for a solution of {len(tags)} steps and {len(ids)} tokens, "
                f"expected {len(given)}; serve the verifier with pooling_type {_POOLING[self.positions]}"
            )
        row_at = dict(zip(given, rows, strict=True))
        return [self._good(row_at[tag]) for tag in tags]

    def _good(self, row: Any) -> float:
        """P(good) of one row of two classes."""
        fits = isinstance(row, list) and len(row) == 2
        if not fits or not all(type(each) in (int, float) and math.isfinite(each) for each in row):
            raise ShepherdError(
                f"{self._url}: a row {self.endpoint.shown(str(row))}, expected two finite numbers, good and "
                "bad; serve the verifier with its two label rows as classes (see shepherd export)"
            )
        if self.activation == "logits":
            # over the difference, which no exponential overflows on the side that counts
            apart = row[1 - self.good] - row[self.good]
            return 1.0 / (1.0 + math.exp(apart)) if apart < 700 else 0.0
        if not all(0 <= each <= 1 for each in row) or abs(sum(row) - 1) > SUM_TOLERANCE:
            raise ShepherdError(
                f"{self._url}: a row {row}, expected probabilities of good and bad; this server returns "
                "something else (hidden states or logits): see shepherd export for the arguments it needs"
            )
        return float(row[self.good])


class ServerVerifier:
    """A verifier that a server holds; it offers what `verifier.scoring.Verifier` does.

    Args:
        encode: (question, steps) pairs as tokens, each with the positions its scores are read at.
        id: Short hash of all that decides a score.
        name: What the user called it.
        config: Where the endpoint is.
        model: The name under which the endpoint serves the verifier.
        positions: Where the server pools; see `ServerReader`.
        activation: What the server's rows are.
        good: Column of the good class.

    Attributes:
        counts: Running totals of what was scored.
    """

    def __init__(
        self,
        encode: Encode,
        id: str,
        name: str,
        config: ServerConfig,
        model: str,
        positions: Positions = "step",
        activation: Activation = "probabilities",
        good: int = 0,
    ) -> None:
        self.encode, self.id, self.name = encode, id, name
        self.reader = ServerReader(config, model, positions, activation, good)
        self.counts = ScoringCounts()

    @classmethod
    def connect(
        cls, name_or_folder: str, config: ServerConfig, model: str, positions: Positions = "step"
    ) -> Self:
        """The verifier of a folder, its tokenizer checked and its weights left to the server."""
        from verifier import tags
        from verifier.folder import find, read_description
        from verifier.model import load_tokenizer

        folder = find(name_or_folder)
        described = read_description(folder)
        tokenizer = load_tokenizer(str(folder / "tokenizer"))
        tags.check(described.contract, tokenizer, str(folder))
        encode = partial(tags.encode, tokenizer, described.contract)
        return cls(encode, described.id, name_or_folder, config, model, positions)

    def close(self) -> None:
        """Give up what is under way and close the connections."""
        self.reader.close()

    def score(self, question: str, solutions: Sequence[str]) -> list[StepScores]:
        """Step scores of each solution of one question; a solution without steps gets an empty list."""
        return self.score_many([(question, solutions)])[0]

    def score_many(
        self,
        items: Sequence[tuple[str, Sequence[str]]],
        batch_tokens: int = 16384,
        on_done: Callable[[int, list[StepScores]], None] | None = None,
    ) -> list[list[StepScores]]:
        """Step scores of every solution of every question.

        Args:
            items: (question, solution texts), split into steps by `shepherd.steps.split`.
            batch_tokens: most tokens in one request.
            on_done: called with (index, step scores) of each item, in order, as soon as it is known.

        Returns:
            For each item, for each solution, one score in [0, 1] a step; steps beyond the context that the
            server names score 0.

        Raises:
            ShepherdError: if the rows do not fit the tags, or are no probabilities.
        """
        asked = [[(question, split(text).steps) for text in texts] for question, texts in items]
        # Repeated texts of one question are read once and get the very same numbers, so that ties stay ties.
        place = {pair: i for i, pair in enumerate(dict.fromkeys(pair for pairs in asked for pair in pairs))}
        encoded = list(self.encode(list(place)))
        context = self.reader.context if encoded else _NO_LIMIT
        known: list[StepScores] = []
        results: list[list[StepScores]] = []
        with closing(self.reader.stream(encoded, batch_tokens)) as found:
            for index, pairs in enumerate(asked):
                while pairs and len(known) <= max(place[pair] for pair in pairs):
                    known.append([float(f"{score:.8g}") for score in next(found).tolist()])
                results.append([list(known[place[pair]]) for pair in pairs])
                self._count([encoded[place[pair]] for pair in pairs], context)
                if on_done is not None:
                    on_done(index, results[-1])
        return results

    def _count(self, solutions: Sequence[EncodedSolution], context: int) -> None:
        old = self.counts
        self.counts = ScoringCounts(
            solutions=old.solutions + len(solutions),
            steps=old.steps + sum(len(each.tags) for each in solutions),
            tokens=old.tokens + sum(len(each.ids) for each in solutions),
            solutions_without_steps=old.solutions_without_steps
            + sum(not len(each.tags) for each in solutions),
            steps_beyond_context=old.steps_beyond_context
            + sum(int((each.tags >= context).sum()) for each in solutions),
        )


def _batches(solutions: Sequence[EncodedSolution], tokens: int) -> list[list[EncodedSolution]]:
    """Cut solutions, in order, into batches of at most ``tokens`` tokens, or of one solution."""
    batches: list[list[EncodedSolution]] = []
    size = 0
    for solution in solutions:
        if not batches or size + len(solution.ids) > tokens:
            batches.append([])
            size = 0
        batches[-1].append(solution)
        size += len(solution.ids)
    return batches


def _read_rows(answer: dict[str, Any], count: int) -> list[Any]:
    """The ``data`` of each input of a pooling answer, in the order of the inputs."""
    found = answer.get("data")
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise BrokenAnswerError('an answer without "data"')
    by_index = {each.get("index"): each.get("data") for each in found}
    if len(found) != count or set(by_index) != set(range(count)):
        raise BrokenAnswerError(f"an answer for {len(found)} of {count} solutions")
    return [by_index[index] for index in range(count)]
