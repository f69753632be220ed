"""Do the engines at hand score alike?"""

from __future__ import annotations

from collections.abc import Iterator

from shepherd.serving import ServerConfig
from verifier.doctor.finding import Finding
from verifier.engines import Scorer
from verifier.parity import installed_scorers, parity


def compare_engines(verifier: str, server: str | None, served_as: str | None) -> Iterator[Finding]:
    """A line an engine: the largest difference to transformers in float32 on golden texts.

    Args:
        verifier: as `shepherd score --verifier` takes it.
        server: endpoint that serves it, up to and with ``/v1``; None for none.
        served_as: its name there.
    """
    config = None if server is None else ServerConfig(base_url=server)
    engines: list[Scorer] = installed_scorers()
    if server is not None:
        engines.append("server")
    for each in parity(verifier, engines, server=config, served_as=served_as):
        name = f"parity of {each.engine}"
        said = each.line().removeprefix(f"{each.engine}: ")
        if each.ok:
            yield Finding(name, "ok", said)
        elif each.largest is None:
            yield Finding(name, "fail", "gave no scores", said)
        else:
            said, _, fix = said.rpartition("; ")
            yield Finding(name, "fail", said, fix)
