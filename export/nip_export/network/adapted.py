"""A model whose answer is read as logits (N, C), and the names of a model's layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

ENDINGS: dict[Callable[..., Any], str] = {
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax), "softmax"),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, Tensor.sigmoid, torch.special.expit), "sigmoid"),
    **dict.fromkeys(
        (F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.special.log_softmax), "log-softmax"
    ),
    **dict.fromkeys((F.logsigmoid,), "log-sigmoid"),
}
"""Functions by which a classifier turns logits into probabilities, or their logarithms."""


class EndingWatch(TorchFunctionMode):
    """Remembers what went into every function of :data:`ENDINGS`, modules that call them included."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[object, Tensor, str]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = ENDINGS.get(func)
        if name is not None and args:
            self._seen.append((result, args[0], name))
        return result

    def before(self, output: Tensor) -> tuple[Tensor, str] | None:
        """What entered the function that returned this tensor, in its shape, and the function's name.

        None if no such function did; a reshape after it does not hide it.
        """
        for result, entered, name in reversed(self._seen):
            itself = isinstance(result, Tensor) and (result is output or same_view(result, output))
            if itself:
                return entered.reshape(output.shape), name
        return None


def same_view(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same numbers in other shapes."""
    bases = [tensor if tensor._base is None else tensor._base for tensor in (one, other)]
    return bases[0] is bases[1] and one.numel() == other.numel()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How logits are read out of what a model returns.

    Attributes:
        path: keys, indices or attribute names that lead from what is returned to the tensor.
        ending: the function before which logits are taken, or None.
        flatten: whether axes of length 1 behind (N, C) are dropped.
        binary: whether the one logit z becomes two, (−z, z).
    """

    path: tuple[str | int, ...] = ()
    ending: str | None = None
    flatten: bool = False
    binary: bool = False

    def select(self, returned: Any) -> Any:
        """The tensor among what the model returned."""
        for key in self.path:
            by_name = isinstance(key, str) and not hasattr(returned, "keys")
            returned = getattr(returned, str(key)) if by_name else returned[key]
        return returned

    def logits(self, output: Tensor) -> Tensor:
        """Float32 logits (N, C) of the tensor, or of what stood before the model's last function."""
        if self.flatten:
            output = output.flatten(1)
        if self.binary:
            z = output.reshape(-1, 1)
            output = torch.cat((-z, z), 1)
        return output.float()


class Adapted(nn.Module):
    """A model with its answer read as :class:`Answer` says. Its layers keep the model's own names."""

    def __init__(self, network: nn.Module, answer: Answer) -> None:
        super().__init__()
        self.network = network
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C) float32 of inputs (N, …)."""
        if self.answer.ending is None:
            return self.answer.logits(self.answer.select(self.network(x)))
        with EndingWatch() as watch:
            output = self.answer.select(self.network(x))
        found = watch.before(output)
        return self.answer.logits(found[0] if found is not None else output)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that layer names refer to."""
    return model.network if isinstance(model, Adapted) else model


def named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All layers with their names, "" for the model itself."""
    yield from unwrapped(model).named_modules()
