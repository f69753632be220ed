"""`shepherd export` of a verifier: merge, cut the head to two rows, measure, and then give it its name."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory, atomic_write, sha256_file, write_json
from verifier import folder as trained
from verifier import model as models
from verifier.description import find, read_description
from verifier.export import vllm
from verifier.export.card import write_card
from verifier.export.classifier import Rows, rows_of, token_classifier
from verifier.export.description import CLASSES, Exported, write_description
from verifier.export.folder import load, save_model
from verifier.export.merge import load_unquantized, merge
from verifier.golden_texts import GOLDEN_TEXTS

Log = Callable[[str], None]
StepScores = list[list[list[float]]]


class ExportResult(NamedTuple):
    """What was written, and how far its scores are from the source's on the golden texts."""

    folder: Path
    verifier: str
    source_verifier: str
    dtype: str
    largest_difference: float
    steps_compared: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**self._asdict(), "kind": "verifier", "folder": str(self.folder)}


def export_verifier(
    name: str,
    out: Path,
    *,
    dtype: str = "auto",
    base: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    log: Log = lambda _: None,
) -> ExportResult:
    """Write a trained verifier as one token-classification model.

    Args:
        name: a verifier folder, a run of `shepherd train-prm`, or ``embedded``.
        out: the folder to write, whole or not at all.
        dtype: of the merged weights; ``auto`` is the base's own.
        base: where the base lies; None for where verifier.json says.
        device: on which the golden texts are scored; merging is done on the CPU.
        trust_remote_code: run code that comes with the base.
        log: told what is done, a line at a time.
    """
    source = find(name)
    described = read_description(source)
    log(f"scoring {len(GOLDEN_TEXTS)} golden questions with {name} ({described.quantization})")
    rows, wanted = _ask_source(name, device, trust_remote_code)
    where = base or described.base
    log(f"merging the adapter into {where}, unquantized")
    merged = load_unquantized(where, dtype, trust_remote_code=trust_remote_code)
    if models.base_fingerprint(merged, described.contract) != described.base_fingerprint:
        raise ShepherdError(
            f"{where}: not the base that {name} was trained on; give the right one with --base"
        )
    model = token_classifier(merge(merged, source / "adapter"), rows)
    written_as = str(model.dtype).removeprefix("torch.")
    with atomic_directory(out) as aside:
        save_model(model, models.load_tokenizer(str(source / "tokenizer")), aside)
        del model, merged
        gc.collect()
        made = Exported(
            contract=described.contract,
            classes=CLASSES,
            dtype=written_as,
            max_length=described.max_length,
            base=described.base,
            source_verifier=described.id,
            source_quantization=described.quantization,
            head=described.head,
            training_text=described.training_text,
            calibration=described.calibration,
            weights_sha256={path.name: sha256_file(path) for path in sorted(aside.glob("*.safetensors"))},
        )
        write_description(aside, made)
        got = load(str(aside), device=device).score_many(GOLDEN_TEXTS)
        differences = _differences(wanted, got)
        made = replace(made, largest_difference=max(differences))
        write_description(aside, made)
        write_json(aside / "vllm.json", vllm.describe(made.contract, written_as))
        with atomic_write(aside / "README.md") as handle:
            card = (source / "README.md").read_text("utf-8") if (source / "README.md").is_file() else ""
            handle.write(write_card(card, made))
    return ExportResult(out, made.id, described.id, written_as, max(differences), len(differences))


def _ask_source(name: str, device: str, trust_remote_code: bool) -> tuple[Rows, StepScores]:
    """The head's rows and the golden scores of the verifier as it is; it is let go of afterwards."""
    source = trained.load(name, device=device, trust_remote_code=trust_remote_code)
    reader = source.reader
    assert isinstance(reader, models.TagReader)  # what is trained is read in this process
    width = reader.body.config.get_text_config().hidden_size
    return rows_of(reader.head, width, reader.device), source.score_many(GOLDEN_TEXTS)


def _differences(one: StepScores, other: StepScores) -> list[float]:
    """Between scores of the same steps, in their order."""
    flat = [[step for item in each for solution in item for step in solution] for each in (one, other)]
    return [abs(mine - theirs) for mine, theirs in zip(*flat, strict=True)]
