"""The process-reward verifier: rows, tag contract, model, training, scoring.

Importing this package loads no torch; `load_verifier` does, when it is called.

    from verifier import load_verifier

    verifier = load_verifier("embedded")
    verifier.score("Tom has 3 apples and buys 4. How many?", ["Step 1: 3 + 4 = 7. The answer is: 7 ки"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shepherd.serving import ServerConfig, VllmConfig
    from verifier.config import FormatName, PublishedConfig
    from verifier.engines import Scorer
    from verifier.scoring import Verifier

__all__ = ["load_verifier"]


def load_verifier(
    name_or_folder: str = "embedded",
    *,
    device: str = "auto",
    format: FormatName = "auto",
    published: PublishedConfig | None = None,
    trust_remote_code: bool = False,
    scorer: Scorer = "transformers",
    vllm: VllmConfig | None = None,
    server: ServerConfig | None = None,
    served_as: str | None = None,
) -> Verifier:
    """Load a verifier by what a user calls it.

    Args:
        name_or_folder: ``"embedded"``, a verifier folder, the run directory of `shepherd train-prm`, the
            output of `shepherd export`, or a published verifier: a folder with config.json, or a hub name.
        device: ``"auto"`` is CUDA where there is one.
        format: input format of a published verifier; ``"auto"`` recognises it.
        published: how a published verifier is loaded.
        trust_remote_code: run code that comes with a model.
        scorer: what runs the model. With ``vllm`` and ``server`` it is another process: close the verifier.
        vllm: how the scorer ``vllm`` runs it.
        server: where the scorer ``server`` finds it.
        served_as: its name at the server; None where it is the same.
    """
    if scorer == "vllm":
        from shepherd.serving import VllmConfig
        from verifier.engines.load import load_with_vllm

        return load_with_vllm(
            name_or_folder, vllm or VllmConfig(), device=device, format=format, published=published
        )
    if scorer == "server":
        from shepherd.serving import ServerConfig
        from verifier.engines.load import load_from_server

        return load_from_server(
            name_or_folder, server or ServerConfig(), served_as, format=format, published=published
        )
    from verifier.places import find_place

    place = find_place(name_or_folder)
    if place.kind == "exported":
        from verifier.export.folder import load as load_exported

        return load_exported(name_or_folder, device=device)
    if place.kind == "published":
        from verifier.formats.load import load_published

        return load_published(
            name_or_folder,
            place.folder,
            format=format,
            options=published,
            device=device,
            trust_remote_code=trust_remote_code,
        )
    from verifier.folder import load

    return load(name_or_folder, device=device, trust_remote_code=trust_remote_code)
