"""Verifiers whose model another process runs: here are their tokenizer, ids and checks, there the weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from shepherd.files import read_json
from shepherd.serving import ServerConfig, VllmConfig
from verifier.config import PublishedConfig
from verifier.description import rule_of_verifier
from verifier.engines import Scorer
from verifier.engines.require import require_scorer
from verifier.places import Place, find_place
from verifier.scoring import Encode, Verifier


class Described(NamedTuple):
    """Everything about a verifier but its weights.

    Attributes:
        model: folder of config and weights.
        id: as the verifier has it in every engine.
        encode: (question, steps) pairs as tokens, each with the positions its scores are read at.
        step_tag_id: the token at which scores are read; None where no one token stands for them.
        labels: names of the good and the bad token; None for a model with a head of two classes.
        good: which of the two classes is good.
    """

    model: Path
    id: str
    encode: Encode
    step_tag_id: int | None
    labels: tuple[str, str] | None
    good: int


def load_with_vllm(
    name: str,
    config: VllmConfig,
    *,
    device: str = "auto",
    format: str = "auto",
    published: PublishedConfig | None = None,
) -> Verifier:
    """Start vLLM with an exported or a published verifier; the caller closes it.

    Args:
        name: as the user calls it.
        config: how vLLM is to run it.
        device: ``auto`` is what the installed vLLM was built for.
        format: input format of a published verifier.
        published: how a published verifier is loaded.
    """
    from verifier.engines.vllm import VllmReader

    options = published or PublishedConfig()
    described = describe(name, "vllm", format=format, published=options)
    reader = VllmReader.start(
        str(described.model),
        config,
        name=name,
        step_tag_id=described.step_tag_id,
        labels=described.labels,
        good=described.good,
        device=device,
        dtype=options.dtype,
    )
    return Verifier(reader, described.encode, described.id, name, rule=rule_of_verifier(name))


def load_from_server(
    name: str,
    config: ServerConfig,
    served_as: str | None,
    *,
    format: str = "auto",
    published: PublishedConfig | None = None,
) -> Verifier:
    """A verifier that a server holds; the caller closes it.

    Args:
        name: as the user calls it here: its tokenizer and ids are read here.
        config: where the server is.
        served_as: its name there; None where it is the same.
        format: input format of a published verifier.
        published: how a published verifier is loaded.
    """
    from verifier.engines.server import Positions, ServerReader

    described = describe(name, "server", format=format, published=published or PublishedConfig())
    positions: Positions = "all" if described.step_tag_id is None else "step"
    reader = ServerReader(config, served_as or name, positions, good=described.good)
    return Verifier(reader, described.encode, described.id, name, rule=rule_of_verifier(name))


def describe(name: str, scorer: Scorer, *, format: str, published: PublishedConfig) -> Described:
    """Read all of a verifier but its weights.

    Raises:
        ShepherdError: as `require_scorer`.
    """
    require_scorer(scorer, name, published)
    place = find_place(name)
    return _exported(place) if place.kind == "exported" else _published(name, place, format, published)


def _exported(place: Place) -> Described:
    from verifier import tags
    from verifier.export.description import read_description
    from verifier.export.folder import check_weights
    from verifier.model import load_tokenizer

    assert place.folder is not None  # an export has a verifier.json, so it lies in a folder
    found = read_description(place.folder)
    check_weights(place.folder, found)
    tokenizer = load_tokenizer(str(place.folder))
    tags.check(found.contract, tokenizer, str(place.folder))
    encode = partial(tags.encode, tokenizer, found.contract)
    good = found.classes.index("good")
    return Described(place.folder, found.id, encode, found.contract.tag_id, None, good)


def _published(name: str, place: Place, format: str, options: PublishedConfig) -> Described:
    from verifier.engines.vllm import label_names
    from verifier.formats import recognise
    from verifier.formats.checkpoint import locate, own_dtype
    from verifier.formats.load import identify
    from verifier.model import load_tokenizer, pick_device

    checkpoint = locate(name, place.folder)
    config = read_json(checkpoint.folder / "config.json")
    known = recognise(name, config, format)
    tokenizer = load_tokenizer(str(checkpoint.folder))
    written = known(tokenizer, options)
    identity = identify(
        known, checkpoint, tokenizer, options, own_dtype(options.dtype, config, pick_device("auto").type)
    )
    labels = None if written.label_ids is None else label_names(tokenizer, *written.label_ids)
    good = written.good_class
    return Described(checkpoint.folder, identity, written.encode, written.step_tag_id, labels, good)
