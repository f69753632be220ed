"""The files that decide what a command of this room does: their hashes go into the run's manifest."""

from __future__ import annotations

from pathlib import Path

from generation.config import DemoConfig, RerankConfig, SamplerConfig
from shepherd.assets import asset, resolve_model
from shepherd.problems import files_of
from verifier.adapter import find_adapter
from verifier.calibrated import calibration_file
from verifier.places import input_files


def sampling_files(config: SamplerConfig) -> list[Path]:
    """The model, its adapter, and the problems."""
    adapter = [] if config.adapter is None else _model_files(str(find_adapter(config.adapter)))
    problems = files_of(config.problems.source, config.problems.split)
    return [*_model_files(config.model), *adapter, *problems]


def rerank_files(config: RerankConfig) -> list[Path]:
    """The model's files where it samples, the verifier's where it scores."""
    pool = str(asset("pool")) if config.pool.file == "embedded" else config.pool.file
    files = sampling_files(config) if pool is None else [Path(pool)]
    if config.scores is not None:
        files.append(Path(config.scores))
    elif config.verifier is not None:
        files += input_files(config.verifier)
    if config.calibration != "none":
        files.append(calibration_file(str(config.verifier), config.calibration_from))
    return [*files, *(file for each in config.controls.values() for file in input_files(each))]


def demo_files(config: DemoConfig) -> list[Path]:
    """The models of both generators, and the verifier's."""
    models = [file for each in (config.weak, config.strong) for file in _model_files(each.model)]
    return [*models, *input_files(config.verifier)]


def _model_files(name: str) -> list[Path]:
    """Weights, tokenizer and settings of a model folder; nothing for a hub name."""
    folder = Path(resolve_model(name))
    return [each for pattern in ("*.safetensors", "*.json") for each in sorted(folder.glob(pattern))]
