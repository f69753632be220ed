"""`shepherd sft`. Heavy imports stay inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from shepherd.console import RunOptions, run_options

if TYPE_CHECKING:
    from generation.learn.sft.config import SftConfig

RESULT = "results.json"


@click.command()
@click.option(
    "--data",
    metavar="SOURCE",
    help="embedded, gsm8k, or solved problems as JSON lines: question and answer (GSM8K), solution or steps.",
)
@click.option("--base", metavar="MODEL", help="embedded:weak, a folder or a hub name.")
@run_options
def sft(options: RunOptions, data: str | None, base: str | None) -> None:
    """Fine-tune a generator on right solutions (LoRA, TRL's SFTTrainer).

    Writes the run directory with adapter/: a LoRA adapter and its tokenizer. Sample from it with
    shepherd generate --set adapter=RUN, and the same prompt keys as here.
    """
    from generation.learn.sft.config import SftConfig
    from shepherd.files import write_json
    from shepherd.invocation import resolve
    from shepherd.runs import Run

    asked = resolve("sft", SftConfig, options, {"data": data, "base": base})
    run, config = asked.run, asked.config
    if run is not None and run.is_done:
        _show(run.path, options.as_json)
        return
    if options.dry_run:
        from generation.learn.sft.plan import plan_sft
        from verifier.dry_run import show_dry_run

        show_dry_run("sft", config, plan_sft(config), options.as_json)
        return
    from generation.learn.sft.prepare import prepare  # torch takes seconds to import

    prepared = prepare(config)
    if run is None:
        run = Run.create("sft", config, options.out, {"training": config.seed}, _inputs(config))
        click.echo(f"run: {run.path}", err=True)
    from generation.learn.sft.train import train

    result = train(prepared, run)
    write_json(run.path / RESULT, result.to_json())
    run.finish()
    _show(run.path, options.as_json)


def _inputs(config: SftConfig) -> list[Path]:
    """Files whose SHA-256 the manifest keeps: the data, and the model where it is a folder."""
    from shepherd.assets import resolve_model

    files = [] if config.data in {"embedded", "gsm8k"} else [Path(config.data)]
    folder = Path(resolve_model(config.base))
    return files + [each for pattern in ("*.safetensors", "*.json") for each in sorted(folder.glob(pattern))]


def _show(run: Path, as_json: bool) -> None:
    """The result of a finished fine-tuning."""
    from shepherd.console import print_json, table
    from shepherd.files import read_json

    result = read_json(run / RESULT)
    if as_json:
        print_json({"run": str(run), **result})
        return
    train, before, after = result["counts"]["train"], result["heldout_loss_before"], result["heldout_loss"]
    rows = [
        ("solutions", f"{train['rows']:,}"),
        ("solution tokens", f"{train['solution_tokens']:,}"),
        ("left out: too long", f"{train['too_long']:,}"),
        ("optimizer steps", f"{result['steps']:,}"),
    ]
    if after is not None:
        rows += [
            ("held-out solutions", f"{result['counts']['heldout']['rows']:,}"),
            ("held-out loss a token, before", f"{before:.4f}"),
            ("held-out loss a token, after", f"{after:.4f}"),
        ]
    table("supervised fine-tuning", ("", "value"), rows)
    click.echo(f"adapter: {result['folder']}\nuse it: shepherd generate --set adapter={run}")
