"""Count the bytes of tensors that are alive, whatever device they are on, and the most there ever were."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Allocations(TorchDispatchMode):
    """Follows every storage that an operation makes, from then until nobody holds it.

    What was there before is not counted: a storage that an operation is given, and that none made, is not
    followed when a view of it is returned.

    Under `FakeTensorMode` tensors have sizes and no numbers. What asks for a number (a loss to be logged, a
    norm to be checked) is given 1, so that the real training step runs there too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and _is_fake(args[0]):
            return 1.0 if args[0].dtype.is_floating_point else 1
        given = {each.untyped_storage()._cdata for each in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for each in _tensors(result):
            if each.untyped_storage()._cdata not in given:
                self._follow(each.untyped_storage())
        return result

    def restart(self) -> None:
        """Forget the peak, not what is alive."""
        self.peak = self.now

    def _follow(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    for each in tree_iter(tree):
        if isinstance(each, torch.Tensor) and each.device.type != "meta":
            yield each


def _is_fake(tensor: torch.Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(tensor, FakeTensor)
