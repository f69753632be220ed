"""What `shepherd train-prm` and `shepherd score` print: tables, or JSON for machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shepherd.console import clean, print_json, stdout, table
from shepherd.files import read_json

RESULT = "results.json"

# Title and columns, by the head that was trained.
_METRIC_TABLE = {
    "lm": ("held-out step metrics", ("metric", "verifier", "position alone")),
    "classifier": ("held-out step metrics, classifier head", ("metric", "verifier", "position alone")),
    "outcome": ("held-out metrics, outcome head", ("metric", "verifier", "length or position alone")),
}


def show_steps(steps: tuple[str, ...], scores: list[float], whole: dict[str, float]) -> None:
    """One solution: each step with its score, coloured where the terminal can, then the solution's scores."""
    from rich.text import Text

    console = stdout()
    for step, value in zip(steps, scores, strict=True):
        line = Text(f"{value:.3f}", style=_colour(value))
        line.append(f"  {clean(step)}", style="default")
        console.print(line, soft_wrap=True)
    if not steps:
        console.print("no steps: such a solution scores 0", soft_wrap=True)
    summary = "  ".join(f"{how} {value:.3f}" for how, value in whole.items())
    console.print(Text(f"solution: {summary}", style="bold"), soft_wrap=True)


def _colour(value: float) -> str:
    """Red for a step that is likely wrong, green for one that is likely right."""
    if value < 0.35:
        return "bold red"
    return "yellow" if value < 0.65 else "green"


def show_training(run: Path, as_json: bool) -> None:
    """The result of a finished training: step metrics beside their baselines, and what was left out."""
    result = read_json(run / RESULT)
    if as_json:
        print_json({"run": str(run), **result})
        return
    metrics = result["metrics"]
    rows = [
        (name, _number(each["value"]), _number(each["baseline"]))
        for name, each in metrics.items()
        if isinstance(each, dict) and "value" in each
    ]
    if metrics:
        rows.append(("loss", _number(metrics["loss"]), ""))
    counts, train = result["counts"], result["counts"]["train"]
    notes = [
        f"{train['rows']:,} solutions, {train['labelled_steps']:,} labelled steps",
        f"the adapter of optimizer step {result['best_step']:,} of {result['steps']:,}",
        *_notes(counts),
        f"verifier {result['verifier_id']}: {result['folder']}",
    ]
    if rows:
        table(*_METRIC_TABLE[result.get("head", "lm")], rows)
    if result.get("ranks"):
        _show_ranks(result["ranks"])
    for note in notes:
        click.echo(note)


def _show_ranks(ranks: dict[str, int]) -> None:
    from verifier.adalora import ranks_by_kind

    rows = [(kind, layers, low, high) for kind, (layers, low, high) in sorted(ranks_by_kind(ranks).items())]
    title = f"AdaLoRA: {sum(ranks.values()):,} singular values kept"
    table(title, ("layers", "count", "least rank", "largest"), rows)


def _notes(counts: dict[str, Any]) -> list[str]:
    """Lines on what was repaired, left out and cut; nothing where nothing was."""
    read, train = counts["read"], counts["train"]
    lines = []
    if read["oddities"]:
        lines.append("repaired or noted: " + ", ".join(f"{k} {v:,}" for k, v in read["oddities"].items()))
    if read["skipped"]:
        lines.append("left out: " + ", ".join(f"{k} {v:,}" for k, v in read["skipped"].items()))
    if train.get("rows_one_class"):
        lines.append(f"no pair: {train['rows_one_class']:,} solutions of questions all right or all wrong")
    if train["steps_cut"] or train["rows_too_long"]:
        lines.append(
            f"too long: {train['rows_cut']:,} solutions lost {train['steps_cut']:,} steps, "
            f"{train['rows_too_long']:,} left out"
        )
    return lines


def show_scoring(run: Path, as_json: bool) -> None:
    """The result of a finished scoring: what was scored, and what could not be."""
    result = read_json(run / RESULT)
    path = run / "scores.jsonl"
    if as_json:
        print_json({"run": str(run), "scores": str(path), **result})
        return
    counts = result["scored_now"]
    rows = [
        ("problems", f"{result['problems']:,}"),
        ("candidates", f"{result['candidates']:,}"),
        ("problems read from the store", f"{result.get('from_store', 0):,}"),
        ("steps", f"{counts['steps']:,}"),
        ("mean step score", _number(result["mean_step_score"])),
        ("solutions without steps (score 0)", f"{counts['solutions_without_steps']:,}"),
        ("steps beyond the model's context (score 0)", f"{counts['steps_beyond_context']:,}"),
    ]
    table(f"scores by verifier {result['verifier']}", ("", "value"), rows, str(path))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
