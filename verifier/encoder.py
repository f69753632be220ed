"""What a verifier reads, as tokens, without its weights: to count them, or to plan."""

from __future__ import annotations

from functools import partial

from shepherd.files import read_json
from verifier.config import PublishedConfig
from verifier.places import find_place
from verifier.scoring import Encode


def load_encode(name: str, *, format: str = "auto", published: PublishedConfig | None = None) -> Encode:
    """The function that makes tokens of questions and steps, as the verifier of this name does.

    Args:
        name: as `load_verifier` takes it.
        format: input format of a published verifier.
        published: how a published verifier is loaded.

    Raises:
        ShepherdError: where the tokenizer is not the one that the tag contract was resolved for.
    """
    from verifier import tags
    from verifier.model import load_tokenizer

    place = find_place(name)
    if place.kind == "published":
        from verifier.formats import recognise
        from verifier.formats.checkpoint import locate

        folder = locate(name, place.folder).folder
        known = recognise(name, read_json(folder / "config.json"), format)
        return known(load_tokenizer(str(folder)), published or PublishedConfig()).encode
    assert place.folder is not None  # there is a verifier.json, so it lies in a folder
    if place.kind == "exported":
        from verifier.export.description import read_description as read_exported

        contract, at = read_exported(place.folder).contract, place.folder
    else:
        from verifier.description import read_description

        contract, at = read_description(place.folder).contract, place.folder / "tokenizer"
    tokenizer = load_tokenizer(str(at))
    tags.check(contract, tokenizer, str(place.folder))
    return partial(tags.encode, tokenizer, contract)
