"""What a policy learns from, as tokens: a prompt as sampling begins with it, then what is learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
"""Label of a token without loss."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Tokens of one text; those from `start` (>= 1) on are what is learnt or measured, the end among them."""

    ids: tuple[int, ...]
    start: int

    @property
    def labels(self) -> list[int]:
        """What each token is to be predicted as, -100 on the prompt."""
        return [IGNORED] * self.start + list(self.ids[self.start :])


def order_digest(rows: Iterable[TokenRow], order: NDArray[np.int64]) -> str:
    """Hash of tokens and order: a checkpoint is continued only under the plan it was made with."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.array(row.ids, dtype=np.int64).tobytes() + row.start.to_bytes(8, "little"))
    digest.update(order.astype(np.int64).tobytes())
    return digest.hexdigest()
