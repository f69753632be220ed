"""`shepherd generate`: candidates of problems, appended as they are finished, in an order a resume repeats.

The plan cuts problems into chunks before anything is sampled: ``chunk // n`` problems are one batch, always
the same ones. A run that was killed samples the chunk it was in again and appends what was missing; the pool
has the same bytes as if nothing had happened. A chunk that the store has is not sampled at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from generation.config import EMBEDDED_PROBLEMS, ProblemsConfig, SamplerConfig
from generation.engines import Engine, Prompt, Sampling, StreamingEngine, load_engine
from generation.kept import KeptCandidates
from generation.prompts import prompts_of
from shepherd import problems as sources
from shepherd.console import Progress, progress
from shepherd.errors import ShepherdError
from shepherd.files import append_line, open_to_append, read_finished
from shepherd.records import Candidate, Problem, ProblemPool
from shepherd.shelf import open_store, tell

POOL = "pool.jsonl"

_Answered = tuple[int, list[Candidate]]
"""A problem's place in the run, and its candidates."""


def load_problems(config: ProblemsConfig) -> list[Problem]:
    """The problems a config names, in their order.

    Raises:
        ShepherdError: with file and line of a problem that cannot be read; where ``skip`` leaves none.
    """
    if config.source == "embedded":
        from generation.embedded.world import generate_problems

        count = EMBEDDED_PROBLEMS if config.limit is None else config.limit
        drawn = generate_problems(config.split, config.skip + count, config.seed)
        return [each.problem for each in drawn[config.skip :]]
    last = None if config.limit is None else config.skip + config.limit
    found = sources.read(config.source, config.split, last)
    if len(found) <= config.skip:
        raise ShepherdError(
            f"{config.source}: has {len(found):,} problems, and skip={config.skip} leaves none"
        )
    return found[config.skip :]


def plan(problems: int, n: int, chunk: int) -> list[range]:
    """Cut problems into chunks of about ``chunk`` rows, never fewer than one problem.

    Example:
        >>> plan(5, n=16, chunk=32)
        [range(0, 2), range(2, 4), range(4, 5)]
        >>> plan(2, n=64, chunk=32)
        [range(0, 1), range(1, 2)]
    """
    size = max(1, chunk // n)
    return [range(start, min(start + size, problems)) for start in range(0, problems, size)]


def sample_pool(
    config: SamplerConfig, n: int, problems: Sequence[Problem], path: Path, engine: Engine | None = None
) -> list[ProblemPool]:
    """Sample ``n`` candidates of every problem into the pool file ``path``, going on where it ends.

    Args:
        config: Model, engine, prompt, sampling, chunk and seed.
        n: Candidates a problem.
        problems: All problems of the run; the finished ones must be the first of them.
        path: Pool file; what a kill left half-written at its end is cut off.
        engine: A loaded engine, which stays open; else one is loaded, and closed at the end.

    Returns:
        The whole pool.
    """
    finished = [
        ProblemPool.from_json(row, str(path), line) for line, row in enumerate(read_finished(path), 1)
    ]
    _check_finished(finished, problems, n, path)
    chunks = [each for each in plan(len(problems), n, config.chunk) if each.stop > len(finished)]
    # Whose weights a given engine has, nobody can tell: it goes without the store.
    with open_store(config.store and engine is None and bool(chunks)) as store:
        chunked = _Chunked(config, n, problems, len(finished), KeptCandidates(store, config, n))
        known = chunked.read(chunks)
        if len(known) == len(chunks):
            return finished + chunked.append(
                path, chunks, lambda chunk: zip(chunk, known[chunk], strict=True)
            )
        loaded = engine or load_engine(config)
        try:
            before = len(finished) + chunked.count(known)
            chunked.kept.loaded(chunked.count(known))
            with progress("sampling", len(problems) * n, "candidates", before * n) as bar:

                def answered(chunk: range) -> Iterable[_Answered]:
                    if chunk in known:
                        return zip(chunk, known[chunk], strict=True)
                    return chunked.sample(chunk, loaded, bar)

                return finished + chunked.append(path, chunks, answered)
        finally:
            if engine is None:
                loaded.close()


@dataclass(slots=True)
class _Chunked:
    """The chunks of a run: read from the store, sampled, appended.

    Attributes:
        done: Problems whose lines are in the pool file already.
        tokens: Sampled so far.
    """

    config: SamplerConfig
    n: int
    problems: Sequence[Problem]
    done: int
    kept: KeptCandidates
    tokens: int = 0

    def count(self, chunks: Iterable[range]) -> int:
        """Problems of chunks that are not in the pool file."""
        return sum(chunk.stop - max(chunk.start, self.done) for chunk in chunks)

    def read(self, chunks: Sequence[range]) -> dict[range, list[list[Candidate]]]:
        """The candidates of those chunks that the store has; how many is told."""
        known = {}
        for chunk in chunks:
            candidates = self.kept.read(*self._asked(chunk))
            if candidates is not None:
                known[chunk] = candidates
        if count := self.count(known):
            tell(f"{count:,} problems, {count * self.n:,} candidates of {self.config.model}")
        return known

    def sample(self, chunk: range, engine: Engine, bar: Progress) -> Iterator[_Answered]:
        """Sample a chunk, keep it in the store, and give its problems' candidates one by one."""
        sampling = Sampling(**self.config.sampling.model_dump())
        if isinstance(engine, StreamingEngine):
            # No batch is behind it: what was finished before a kill need not be sampled again, and what is
            # finished is given before the chunk is whole.
            left = range(max(chunk.start, self.done), chunk.stop)
            found = engine.stream(self._asked(left)[1], self.n, sampling, self.config.seed)
            sampled = []
            for index, candidates in zip(left, found, strict=True):
                sampled.append(candidates)
                yield index, candidates
                self._tell(bar, [candidates])
            if left == chunk:
                self.kept.write(*self._asked(chunk), sampled)
            return
        problems, prompts = self._asked(chunk)
        sampled = engine.generate(prompts, self.n, sampling, self.config.seed)
        self.kept.write(problems, prompts, sampled)
        yield from zip(chunk, sampled, strict=True)
        self._tell(bar, sampled[max(0, self.done - chunk.start) :])

    def append(
        self, path: Path, chunks: Sequence[range], answered: Callable[[range], Iterable[_Answered]]
    ) -> list[ProblemPool]:
        """Append the problems of the chunks one by one, as they are finished."""
        pools = []
        with open_to_append(path) as handle:
            for chunk in chunks:
                for index, candidates in answered(chunk):
                    if index < self.done:
                        continue  # finished before the kill; sampled again because a batch is sampled whole
                    pools.append(ProblemPool(self.problems[index], tuple(candidates)))
                    append_line(handle, pools[-1].to_json())
        return pools

    def _tell(self, bar: Progress, sampled: Sequence[Sequence[Candidate]]) -> None:
        self.tokens += sum(each.tokens or 0 for candidates in sampled for each in candidates)
        bar.note(f"{self.tokens:,} tokens")
        bar.advance(len(sampled) * self.n)

    def _asked(self, chunk: range) -> tuple[list[Problem], list[Prompt]]:
        problems = [self.problems[index] for index in chunk]
        return problems, prompts_of(problems, self.config.prompt)


def _check_finished(finished: Sequence[ProblemPool], problems: Sequence[Problem], n: int, path: Path) -> None:
    """A pool file that is not the beginning of this run's pool must not be gone on with."""
    for line, (pool, problem) in enumerate(zip(finished, problems, strict=False), 1):
        if pool.problem != problem or len(pool.candidates) != n:
            raise ShepherdError(
                f'{path}:{line}: holds {len(pool.candidates)} candidates of "{pool.problem.id}", the run has '
                f'{n} of "{problem.id}" there; the problems have changed, start a new run'
            )
    if len(finished) > len(problems):
        raise ShepherdError(
            f"{path}:{len(problems) + 1}: more problems than the run has ({len(problems)}); start a new run"
        )


def summary(pools: Sequence[ProblemPool]) -> dict[str, int]:
    """What a pool holds, as counts."""
    candidates = [each for pool in pools for each in pool.candidates]
    return {
        "problems": len(pools),
        "candidates": len(candidates),
        "tokens": sum(each.tokens or 0 for each in candidates),
        "cut_at_max_new_tokens": sum(each.finish_reason == "length" for each in candidates),
    }
