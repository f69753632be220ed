"""Configs: frozen models, filled from defaults < YAML < ``--set key=value``, every fault told at once."""

from __future__ import annotations

import difflib
import os
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from shepherd.errors import ShepherdError

_PACKAGE = Path(__file__).parent


class Config(pydantic.BaseModel):
    """Base of every config: nothing changes after it is read, and a key nobody knows is refused."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        protected_namespaces=(),  # "model_…" is a word of this field
    )


C = TypeVar("C", bound=Config)


def configs_folder() -> Path:
    """Where the shipped YAML lies: inside the package in a wheel, beside it in a clone."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def list_configs(family: str) -> list[str]:
    """Names of the shipped configs of one command family, sorted."""
    return sorted(path.stem for path in (configs_folder() / family).glob("*.yaml"))


def load_config(model: type[C], family: str, name_or_file: str, overrides: Sequence[str] = ()) -> C:
    """Read a config by name (``configs/<family>/<name>.yaml``) or from a file, and apply the overrides.

    Args:
        model: Schema, a ``Config``.
        family: Folder of the shipped configs, for instance ``"rerank"``.
        name_or_file: Name of a shipped config, or path of a YAML file (it has a slash or ends in ``.yaml``).
        overrides: ``"a.b=1"`` each; the value is read as YAML.

    Raises:
        ShepherdError: with a line for every fault, each with the file (or ``--set``), the key and what to do.
    """
    path = _find(family, name_or_file)
    values = _read_yaml(path)
    where = f"{path.parent.name}/{path.name}" if path.is_relative_to(configs_folder()) else str(path)
    faults: list[str] = []
    overridden: set[str] = set()
    for override in overrides:
        fault = _apply(values, override, overridden)
        if fault:
            faults.append(fault)
    try:
        config = model.model_validate(values)
    except pydantic.ValidationError as error:
        faults += [_describe(model, fault, where, overridden) for fault in error.errors(include_url=False)]
    if faults:
        raise ShepherdError("\n".join(faults))
    return config


def dump_yaml(config: Config) -> str:
    """The whole resolved config as YAML; ``load_config`` gives the same config back."""
    dumped: str = yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    return dumped


def _find(family: str, name_or_file: str) -> Path:
    if name_or_file.endswith((".yaml", ".yml")) or os.sep in name_or_file:
        path = Path(name_or_file)
        if not path.is_file():
            raise ShepherdError(
                f"{name_or_file}: no such config file; shipped are: {', '.join(list_configs(family))}"
            )
        return path
    path = configs_folder() / family / f"{name_or_file}.yaml"
    if not path.is_file():
        names = list_configs(family)
        hint = _closest(name_or_file, names)
        raise ShepherdError(
            f"--config {name_or_file}: no config of this name; "
            + (
                f"did you mean {hint}?"
                if hint
                else f"there are: {', '.join(names)} (or a path that ends in .yaml)"
            )
        )
    return path


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-6 is a number and a repeated key is an error."""


# YAML 1.1 wants a point and a sign ("1.0e-6") and would read 1e-6 as text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, typing.Hashable) and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f'key "{key}" is there twice', key_node.start_mark
            )
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text("utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ShepherdError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ShepherdError(f"{path}: cannot be read as YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ShepherdError(f"{path}:1: expected keys and values, found {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str, overridden: set[str]) -> str | None:
    """Put one ``a.b=1`` into ``values``; gives the fault, if there is one."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key or "" in key.split("."):
        return f"--set {override}: expected key=value, as in --set a.b=1"
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError:
        return f"--set {override}: the value is not valid YAML (put it in quotes)"
    *parents, last = key.split(".")
    folder = values
    for index, parent in enumerate(parents):
        inner = folder.get(parent)
        if inner is None:
            inner = folder[parent] = {}
        if not isinstance(inner, dict):
            return f"--set {override}: {'.'.join(parents[: index + 1])} has no keys of its own"
        folder = inner
    folder[last] = value
    overridden.add(key)
    return None


def _describe(model: type[Config], fault: Any, where: str, overridden: set[str]) -> str:
    """One line for one of pydantic's faults."""
    key = ".".join(str(part) for part in fault["loc"]) or "the config"
    source = "--set" if any(key == each or key.startswith(f"{each}.") for each in overridden) else where
    if fault["type"] == "extra_forbidden":
        known = sorted(_keys_beside(model, fault["loc"]))
        hint = _closest(str(fault["loc"][-1]), known)
        what = "unknown key; " + (f"did you mean {hint}?" if hint else f"known are: {', '.join(known)}")
    elif fault["type"] == "missing":
        what = "missing; give it a value"
    else:
        what = fault["msg"].removeprefix("Value error, ")
        what = what[0].lower() + what[1:]
        if fault["type"] != "value_error":
            what += f", found {fault['input']!r:.60}"
    return f"{source}: {key}: {what}"


def _closest(word: str, words: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=0.6)), None)


def _keys_beside(model: type[pydantic.BaseModel], loc: Sequence[int | str]) -> set[str]:
    """The keys that are known where ``loc`` points to."""
    models = [model]
    for part in loc[:-1]:
        inner = [
            found
            for each in models
            if isinstance(part, str) and part in each.model_fields
            for found in _models_in(each.model_fields[part].annotation)
        ]
        models = inner or models  # the part may be a list index or the name of a union's branch
    return {name for each in models for name in each.model_fields}


def _models_in(annotation: object) -> Iterator[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
