"""`shepherd data check`. Heavy imports stay inside the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shepherd.console import clean, print_json, stdout, table, user_errors

if TYPE_CHECKING:
    from verifier.data.prm800k import Neutral

_SHOWN_ROWS = 3
_SHOWN_CHARACTERS = 110


@click.group()
def data() -> None:
    """Look at training data before anything is trained on it."""


@data.command()
@click.argument("source", metavar="FILE")
@click.option(
    "--tokenizer", "tokenizers", metavar="NAME|DIR", multiple=True, help="Lengths in its tokens (repeatable)."
)
@click.option(
    "--against",
    metavar="SOURCE",
    multiple=True,
    help="Evaluation problems: gsm8k, embedded, a file or a folder (repeatable).  [default: gsm8k test if it "
    "is at hand; for the packaged rows the packaged pool]",
)
@click.option(
    "--prm800k-neutral",
    "neutral",
    type=click.Choice(["good", "bad", "null"]),
    default="good",
    show_default=True,
    help="Label of a PRM800K step that was rated 0.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, each skipped row too.")
def check(
    source: str, tokenizers: tuple[str, ...], against: tuple[str, ...], neutral: Neutral, as_json: bool
) -> None:
    """Count rows, steps and lengths of FILE, and what of it stands in evaluation problems.

    FILE holds step rows (Math-Shepherd, TRL stepwise, PRM800K, question/steps/labels) or problems with
    solutions (GSM8K, MATH); a published set goes by its name: math-shepherd, trl-stepwise, prm800k, gsm8k.
    Rows that no rule can read are counted by reason, with their row numbers.
    """
    with user_errors():
        from verifier.data.check import check as look

        found = look(source, tokenizers=tokenizers, against=against, neutral=neutral)
    if as_json:
        print_json(found)
        return
    table(f"{found['kind']} of {Path(source).name}", ("", "value"), _counts(found))
    for line in (*_left_out(found), *_contamination(found["contamination"])):
        stdout().print(clean(line), soft_wrap=True)


def _counts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of the table."""
    names = {
        "lines": "lines read",
        "rows": "rows kept",
        "duplicates": "duplicates",
        "questions": "questions",
        "steps": "steps",
        "labelled_steps": "labelled steps",
        "soft_labels": "soft labels",
    }
    for key, name in names.items():
        if key in found and (found[key] or key != "soft_labels"):
            yield name, f"{found[key]:,}"
    if "share_positive" in found:
        yield "share positive", f"{found['share_positive']:.1%}"
    for name, lengths in (("characters", found["characters"]), *found["tokens"].items()):
        unit = name if name == "characters" else f"tokens of {name}"
        over = [
            f"{value:,} over {key.removeprefix('over_')}" for key, value in lengths.items() if "over" in key
        ]
        spread = " / ".join(f"{lengths[key]:,}" for key in ("p50", "p90", "p99", "max"))
        yield f"{unit}, p50 / p90 / p99 / max", "; ".join([spread, *over])


def _left_out(found: dict[str, Any]) -> Iterator[str]:
    """What was repaired, and the first of each kind that was skipped."""
    if found.get("oddities"):
        yield "repaired or noted: " + ", ".join(f"{kind} {n:,}" for kind, n in found["oddities"].items())
    for kind, rows in found.get("skipped", {}).items():
        yield f"skipped ({kind}): {len(rows):,}"
        for row in rows[:_SHOWN_ROWS]:
            yield f"  row {row['line']:,}: {row['reason'][:_SHOWN_CHARACTERS]}"


def _contamination(found: dict[str, Any]) -> Iterator[str]:
    """A line a source of evaluation problems, and the first matches."""
    for source, counts in found["against"].items():
        exact, nearly, questions = counts["exact"], counts["overlap"], found["questions"]
        yield (
            f"contamination: {exact + nearly:,} of {questions:,} questions stand in {source} "
            f"({counts['evaluation_questions_found']:,} of its {counts['questions']:,}): {exact:,} exactly, "
            f"{nearly:,} nearly; {counts['other_numbers']:,} more share a wording with other numbers"
        )
        refused = [match for match in counts["matches"] if match["kind"] != "other_numbers"]
        for match in refused[:_SHOWN_ROWS]:
            yield f"  row {match['line']:,}: {match['question'][:_SHOWN_CHARACTERS]}"
    for source, reason in found["unchecked"].items():
        yield f"contamination: not checked against {source}: {reason}"
