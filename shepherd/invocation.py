"""What a command is asked to do: the config that its options make, or the run that it goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from shepherd.config import Config, load_config
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from shepherd.console import RunOptions
    from shepherd.runs import Run

C = TypeVar("C", bound=Config)


@dataclass(frozen=True, slots=True)
class Invocation(Generic[C]):
    """What a command is to do.

    Attributes:
        config: resolved, or the run's own.
        run: the run that it goes on with; None for a new one.
    """

    config: C
    run: Run | None


def resolve(
    command: str,
    schema: type[C],
    options: RunOptions,
    named: Mapping[str, object],
    more: Sequence[str] = (),
) -> Invocation[C]:
    """Resolve the config of a command, or open the run to go on with.

    Args:
        command: its name, which with ``_`` for ``-`` is also the name of its config folder.
        schema: of its config.
        options: what every command is given; ``seed`` is a key of every config.
        named: config keys that have an option of their own, None where it was not given.
        more: further overrides.

    Raises:
        ShepherdError: for a config that cannot be; for a run that is none of this command; where a run is to
            be resumed with another config than its own.
    """
    keys: dict[str, object] = {**named, "seed": options.seed}
    given = [
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in keys.items() if value is not None
    ]
    overrides = [*options.overrides, *given, *more]
    if options.resume is None:
        return Invocation(load_config(schema, command.replace("-", "_"), options.config, overrides), None)
    if overrides or options.config != "embedded" or options.dry_run:
        raise ShepherdError(
            f"--resume {options.resume}: a resumed run keeps its config; drop the options that change it"
        )
    from shepherd.runs import Run

    run, config = Run.resume(options.resume, command, schema)
    return Invocation(config, run)
