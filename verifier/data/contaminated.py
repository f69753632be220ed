"""Training data against evaluation problems: which are looked at, and what is said of a match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from eval.contamination import EvaluationIndex, Match, find_matches
from shepherd import problems
from shepherd.errors import ShepherdError, at
from shepherd.hub import cache_alone
from shepherd.records import StepRow

_SHOWN = 80


class ContaminationRules(Protocol):
    """The keys of a config that trains on questions."""

    @property
    def data(self) -> str:
        """Where the questions come from."""

    @property
    def evaluation_problems(self) -> tuple[str, ...] | None:
        """What to compare with; None: by the data, see `default_evaluation`."""

    @property
    def allow_contamination(self) -> bool:
        """Train all the same."""

    @property
    def drop_contaminated(self) -> bool:
        """Leave them out, and go on."""


@dataclass(frozen=True, slots=True)
class Contamination:
    """What a comparison found.

    Attributes:
        questions: training questions compared.
        against: evaluation questions by source.
        unchecked: sources that are not at hand, with the reason.
        matches: by source, the training questions that stand there too (``exact`` and ``overlap``).
        other_numbers: by source, training questions that share a wording, with other numbers.
    """

    questions: int
    against: Mapping[str, int]
    unchecked: Mapping[str, str]
    matches: Mapping[str, Sequence[Match]]
    other_numbers: Mapping[str, Sequence[Match]]

    @property
    def contaminated(self) -> frozenset[str]:
        """The training questions that must not be trained on."""
        return frozenset(match.question for found in self.matches.values() for match in found)

    def lines(self) -> Iterator[str]:
        """For a log: a line a source."""
        for source, size in self.against.items():
            found, near = self.matches[source], len(self.other_numbers[source])
            yield (
                f"contamination: {len(found):,} of {self.questions:,} training questions are in {source} too "
                f"({size:,} questions); {near:,} more share a wording with other numbers"
            )
        for source, reason in self.unchecked.items():
            yield f"contamination: not checked against {source}: {reason}"

    def to_json(self) -> dict[str, Any]:
        """As plain data, without the questions."""
        kinds = ("exact", "overlap")
        return {
            "questions": self.questions,
            "against": {
                source: {
                    "questions": size,
                    **{kind: sum(each.kind == kind for each in self.matches[source]) for kind in kinds},
                    "other_numbers": len(self.other_numbers[source]),
                    "evaluation_questions_found": len({each.evaluation for each in self.matches[source]}),
                }
                for source, size in self.against.items()
            },
            "unchecked": dict(self.unchecked),
        }


def default_evaluation(data: str) -> tuple[str, ...]:
    """What data is compared with where nothing is said.

    The embedded rows with the packaged pool; everything else, which is GSM8K-like, with GSM8K's test split.
    """
    return (problems.EMBEDDED,) if data.startswith(problems.EMBEDDED) else (problems.GSM8K,)


def compare(questions: Mapping[str, int], sources: Sequence[str], *, optional: bool = False) -> Contamination:
    """Compare training questions with evaluation problems.

    Args:
        questions: each training question with the line it first stands on.
        sources: ``"embedded"``, ``"gsm8k"``, files or folders (their test split).
        optional: a source that is not at hand is noted, not an error.
    """
    against: dict[str, int] = {}
    unchecked: dict[str, str] = {}
    matches: dict[str, list[Match]] = {}
    others: dict[str, list[Match]] = {}
    for source in sources:
        try:
            with cache_alone() if optional else nullcontext():
                index = EvaluationIndex(problems.read_questions(source))
        except ShepherdError as error:
            if not optional:
                raise
            unchecked[source] = str(error)
            continue
        found = find_matches(questions, index)
        against[source] = len(index)
        matches[source] = [match for match in found if match.kind != "other_numbers"]
        others[source] = [match for match in found if match.kind == "other_numbers"]
    return Contamination(len(questions), against, unchecked, matches, others)


def check_questions(questions: Mapping[str, int], config: ContaminationRules) -> Contamination:
    """Compare with what a config names, or with what its data calls for if that is at hand."""
    named = config.evaluation_problems
    sources = default_evaluation(config.data) if named is None else named
    return compare(questions, sources, optional=named is None)


def clean_rows(
    rows: list[StepRow], questions: Mapping[str, int], config: ContaminationRules
) -> tuple[list[StepRow], Contamination]:
    """The rows to train on; refused where evaluation problems stand among them, unless told otherwise.

    Args:
        rows: all that was read.
        questions: each of their questions with the line it first stands on.
        config: says what to compare with, and what to do with a match.

    Raises:
        ShepherdError: as `refuse_contaminated`, and where nothing would be left.
    """
    out, found = questions_to_leave_out(questions, config)
    left = [row for row in rows if row.question not in out]
    if not left:
        raise nothing_left(config)
    return left, found


def questions_to_leave_out(
    questions: Mapping[str, int], config: ContaminationRules
) -> tuple[frozenset[str], Contamination]:
    """The questions that must not be trained on; refused where there are any, unless told otherwise.

    Args and errors as for `clean_rows`.
    """
    if not config.drop_contaminated:
        return frozenset(), refuse_contaminated(questions, config)
    found = check_questions(questions, config)
    return found.contaminated, found


def nothing_left(config: ContaminationRules) -> ShepherdError:
    """The error for data of evaluation problems alone."""
    return ShepherdError(f"{config.data}: every question is an evaluation problem; use other data")


def refuse_contaminated(questions: Mapping[str, int], config: ContaminationRules) -> Contamination:
    """Compare, and refuse to train on what stands in the evaluation problems, unless the config allows it.

    Args:
        questions: each training question with the line it first stands on.
        config: says what to compare with, and whether a match is allowed.

    Returns:
        What was found; its `lines` belong into the run's log.

    Raises:
        ShepherdError: with the line of the first match, how many there are and what to do.
    """
    found = check_questions(questions, config)
    if config.allow_contamination:
        return found
    for source, matches in found.matches.items():
        if matches:
            first = matches[0]
            how = (
                "is"
                if first.kind == "exact"
                else f"shares {first.share:.0%} of its words and all numbers with"
            )
            raise at(
                config.data,
                questions[first.question],
                f"the question {first.question[:_SHOWN]!r} {how} one of {source}; {len(matches):,} of "
                f"{len(questions):,} training questions stand there too. Leave them out with "
                "--set drop_contaminated=true, or train all the same with --set allow_contamination=true",
            )
    return found
