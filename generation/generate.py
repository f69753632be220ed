"""`shepherd generate`: candidates of problems, appended as they are finished, in an order a resume repeats.

The plan cuts problems into chunks before anything is sampled: ``chunk // n`` problems are one batch, always
the same ones. A run that was killed samples the chunk it was in again and appends what was missing; the pool
has the same bytes as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from generation.config import EMBEDDED_PROBLEMS, ProblemsConfig, PromptConfig, SamplerConfig
from generation.engines import Engine, Prompt, Sampling, StreamingEngine, load_engine
from shepherd.console import progress
from shepherd.errors import ShepherdError
from shepherd.files import append_line, read_finished, write_error
from shepherd.records import Candidate, Problem, ProblemPool, read_problems

POOL = "pool.jsonl"


def load_problems(config: ProblemsConfig) -> list[Problem]:
    """The problems a config names, in their order."""
    if config.source != "embedded":
        return read_problems(config.source, config.limit)
    from generation.embedded.world import generate_problems

    count = EMBEDDED_PROBLEMS if config.limit is None else config.limit
    return [each.problem for each in generate_problems(config.split, count, config.seed)]


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
    pools = list(finished)
    if len(finished) < len(problems):
        loaded = engine or load_engine(
            config.engine,
            config.model,
            device=config.device,
            dtype=config.dtype,
            vllm=config.vllm,
            server=config.server,
            trust_remote_code=config.trust_remote_code,
        )
        try:
            pools += _append(config, n, problems, len(finished), path, loaded)
        finally:
            if engine is None:
                loaded.close()
    return pools


def _append(
    config: SamplerConfig, n: int, problems: Sequence[Problem], done: int, path: Path, engine: Engine
) -> Iterator[ProblemPool]:
    """Sample the chunks that are not finished, and append their problems one by one."""
    sampling = Sampling(**config.sampling.model_dump())
    chunks = [each for each in plan(len(problems), n, config.chunk) if each.stop > done]
    tokens = 0
    with (
        progress("sampling", len(problems) * n, "candidates", done * n) as bar,
        open_to_append(path) as handle,
    ):
        for chunk in chunks:
            sample: Callable[..., Iterable[list[Candidate]]] = engine.generate
            if isinstance(engine, StreamingEngine):
                # no batch is behind it, so what was finished before the kill need not be sampled again
                chunk, sample = range(max(chunk.start, done), chunk.stop), engine.stream
            mine = [problems[index] for index in chunk]
            sampled = sample(prompts_of(mine, config.prompt), n, sampling, config.seed)
            for index, candidates in zip(chunk, sampled, strict=True):
                tokens += sum(each.tokens or 0 for each in candidates)
                if index < done:
                    continue  # finished before the kill; sampled again because a batch is sampled whole
                pool = ProblemPool(problems[index], tuple(candidates))
                append_line(handle, pool.to_json())
                yield pool
                bar.note(f"{tokens:,} tokens")
                bar.advance(n)


def prompts_of(problems: Sequence[Problem], config: PromptConfig) -> list[Prompt]:
    """Prompts of problems, named by their ids."""
    return [
        Prompt(each.id, config.template.replace("{question}", each.question.strip()), config.chat)
        for each in problems
    ]


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


@contextmanager
def open_to_append(path: Path) -> Iterator[TextIO]:
    """Open a file for lines, as UTF-8; what the disk refuses is a `ShepherdError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a", encoding="utf-8", newline="\n")
    except OSError as error:
        raise write_error(path, error) or error from error
    with handle:
        yield handle


def summary(pools: Sequence[ProblemPool]) -> dict[str, int]:
    """What a pool holds, as counts."""
    candidates = [each for pool in pools for each in pool.candidates]
    return {
        "problems": len(pools),
        "candidates": len(candidates),
        "tokens": sum(each.tokens or 0 for each in candidates),
        "cut_at_max_new_tokens": sum(each.finish_reason == "length" for each in candidates),
    }
