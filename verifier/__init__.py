"""The process-reward verifier: rows, tag contract, model, training, scoring.

Importing this package loads no torch; `load_verifier` does, when it is called.

    from verifier import load_verifier

    verifier = load_verifier("embedded")
    verifier.score("Tom has 3 apples and buys 4. How many?", ["Step 1: 3 + 4 = 7. The answer is: 7 ки"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verifier.scoring import Verifier

__all__ = ["load_verifier"]


def load_verifier(name_or_folder: str = "embedded", *, device: str = "auto") -> Verifier:
    """Load a verifier: ``"embedded"``, a verifier folder, or the run directory of `shepherd train-prm`."""
    from verifier.folder import load

    return load(name_or_folder, device=device)
