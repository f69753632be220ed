"""The command table: names and one-line helps; a command's module is imported when it is asked for.

This is the one place that imports by name, so that ``shepherd --help`` imports no torch.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from shepherd.console import user_errors

# Name -> (where the command is, its one-line help). In the order in which they are used.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("generation.cli:demo", "The whole pipeline on the embedded world, in a few minutes."),
    "train-prm": ("verifier.cli:train_prm", "Train a step-tagged verifier (QLoRA)."),
    "compare-heads": ("verifier.compare.cli:compare_heads", "Train each head of a verifier; compare them."),
    "sft": ("generation.learn.sft.cli:sft", "Fine-tune a generator on right solutions (LoRA)."),
    "generate": ("generation.cli:generate", "Sample candidate solutions of problems."),
    "score": ("verifier.cli:score", "Score every step of a pool's candidates, or of one solution."),
    "eval-steps": ("verifier.evaluate.cli:eval_steps", "Judge step scores on rows with step labels."),
    "rerank": ("generation.cli:rerank", "Sample, score, choose the best of n; against majority vote."),
    "compare": ("generation.compare.cli:compare", "Compare generators and verifiers on the same problems."),
    "pairs": ("generation.pairs.cli:pairs", "Accept/reject pairs of scored candidates, for DPO."),
    "dpo-loop": ("generation.learn.loop.cli:dpo_loop", "Improve a generator by its verifier (DPO, DAgger)."),
    "grpo": ("generation.learn.grpo.cli:grpo", "Improve a generator by GRPO: outcome or process rewards."),
    "report": ("eval.page.cli:report", "Runs as one HTML page, with every step to look at."),
    "export": ("verifier.export.cli:export", "Merge an adapter into its 16-bit base; push it to the hub."),
    "problems": ("generation.embedded.cli:problems", "Write problems of the embedded world to a file."),
    "data": ("verifier.data.cli:data", "Check training data: rows, lengths, contamination."),
    "store": ("shepherd.store_cli:store", "What was computed once: list, export, import, prune, verify."),
    "doctor": ("verifier.doctor.cli:doctor", "Check this machine, with a fix for each failing line."),
    "runs": ("shepherd.runs_cli:runs", "List the runs: state, age, size."),
}


class _Table(click.Group):
    """A group whose commands are looked up in ``COMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        if name not in COMMANDS and close and not name.startswith("-"):
            ctx.fail(f"No such command '{name}'; did you mean {close[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        with user_errors():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                click.echo(f"\nstopped{_how_to_go_on(ctx)}", err=True)
                ctx.exit(130)


def _how_to_go_on(ctx: click.Context) -> str:
    """The command that resumes the run this process was working on; nothing if there was none."""
    runs = sys.modules.get("shepherd.runs")
    active = runs.active_run() if runs else None
    if active is None:
        return ""
    return f"; go on with: shepherd {ctx.invoked_subcommand or active.command} --resume {active.path}"


@click.group(cls=_Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shepherd-prm", prog_name="shepherd")
def cli() -> None:
    """Train a step-tagged verifier, rerank with it, and see honestly what it is worth.

    Every command works with no other argument: an embedded world of problems and models stands behind it.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the ``shepherd`` script."""
    # The tokenizers warn on every fork otherwise; they are not where the time goes.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    cli.main(args=None if argv is None else list(argv), prog_name="shepherd")
