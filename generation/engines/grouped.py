"""Members arranged by their groups: one padded table, so that all groups are worked on at once."""

from __future__ import annotations

import torch
from torch import Tensor


class Grouped:
    """A table ``(groups, most members of one)``, and the way back.

    Args:
        of: Group of each member, shape ``(members,)``.
        groups: How many there are.

    Example:
        >>> grouped = Grouped(torch.tensor([1, 0, 1]), 2)
        >>> grouped.lay_out(torch.tensor([5, 6, 7])).tolist()
        [[6, 5], [5, 7]]
        >>> grouped.take_back(grouped.lay_out(torch.tensor([5, 6, 7]))).tolist()
        [5, 6, 7]
    """

    def __init__(self, of: Tensor, groups: int) -> None:
        order = of.argsort(stable=True)
        counts = of.bincount(minlength=groups)
        self.groups, self.width = groups, int(counts.max())
        starts = counts.cumsum(0) - counts
        sorted_of = of[order]
        place = sorted_of * self.width + torch.arange(len(of), device=of.device) - starts[sorted_of]
        self.member = order.new_zeros(groups * self.width)  # where there is none, the first stands in
        self.member[place] = order
        self.place = torch.empty_like(order)
        self.place[order] = place

    def lay_out(self, values: Tensor) -> Tensor:
        """Values of members ``(members, …)`` as a table ``(groups, width, …)``; gaps hold any member's."""
        return values[self.member].view(self.groups, self.width, *values.shape[1:])

    def take_back(self, table: Tensor) -> Tensor:
        """The members' values of a table, in their own order."""
        return table.flatten(0, 1)[self.place]
