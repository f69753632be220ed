"""`shepherd export`. Heavy imports stay inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shepherd.console import print_json, user_errors
from shepherd.errors import ShepherdError


@click.command("export")
@click.argument("source", metavar="[VERIFIER|RUN]", default="embedded")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("exported"),
    show_default=True,
    metavar="DIR",
    help="Folder to write.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    show_default=True,
    help="Of the merged weights; auto is the base's own.",
)
@click.option("--base", metavar="FOLDER|NAME", help="The unquantized base, where it is not where it was.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the golden texts are scored.",
)
@click.option("--push", "repository", metavar="OWNER/NAME", help="Upload the folder to the hub afterwards.")
@click.option("--public", is_flag=True, help="A repository that --push makes is public.  [default: private]")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the base.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def export(
    source: str,
    out: Path,
    dtype: str,
    base: str | None,
    device: str,
    repository: str | None,
    public: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Merge an adapter into its unquantized base, as a model that needs no adapter any more.

    A verifier becomes a token-classification model with two classes, which `shepherd score --verifier DIR`,
    transformers and vLLM (vllm.json has the arguments) read; how far its scores are from the verifier's own
    is measured on golden texts and printed. A run of a generator (an SFT or DPO adapter) becomes that
    generator, merged.
    """
    with user_errors():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ShepherdError(f"{out}: is there already; choose another --out, or remove it first")
        if public and repository is None:
            raise ShepherdError("--public: of what? name a repository with --push OWNER/NAME")
        result = _export(
            source, out, device, {"dtype": dtype, "base": base, "trust_remote_code": trust_remote_code}
        )
        if repository is not None:
            from verifier.export.push import push

            result["pushed"] = push(out, repository, public=public)
        if as_json:
            print_json(result)
            return
        click.echo(_sentence(result))
        if repository is not None:
            click.echo(f"pushed: {result['pushed']}")


def _export(source: str, out: Path, device: str, how: dict[str, Any]) -> dict[str, Any]:
    """Export what the source is: a verifier, or else a generator's adapter."""
    from verifier.export.generator import export_generator, find_adapter
    from verifier.export.verifier import export_verifier
    from verifier.places import find_place

    place = None if source != "embedded" and not _has_verifier(source) else find_place(source)
    if place is None:
        adapter = find_adapter(source)
        if adapter is None:
            raise ShepherdError(
                f"{source}: neither a verifier nor an adapter; give a run of shepherd train-prm, a verifier "
                "folder, or a run or a folder with adapter_config.json"
            )
        return export_generator(adapter, out, log=_say, **how).to_json()
    if place.kind != "trained":
        raise ShepherdError(f"{source}: is exported already; there is no adapter to merge")
    return export_verifier(source, out, device=device, log=_say, **how).to_json()


def _has_verifier(source: str) -> bool:
    return any((Path(source) / place / "verifier.json").is_file() for place in ("", "verifier"))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _sentence(result: dict[str, Any]) -> str:
    """What was written, for people."""
    if result["kind"] == "generator":
        return (
            f"generator: {result['base']} with its adapter merged in ({result['dtype']}): {result['folder']}"
        )
    return (
        f"verifier {result['verifier']} ({result['dtype']}), exported from {result['source_verifier']}: "
        f"{result['folder']}\nlargest difference of {result['steps_compared']} golden step scores from the "
        f"verifier's own: {result['largest_difference']:.2g}"
    )
