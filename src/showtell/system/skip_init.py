"""Modules without random initial values, for weights that are loaded next."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

_RANDOM = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_)


class SkipRandomInit(TorchFunctionMode):
    """Leaves the weights of modules built inside the block as the memory was; every one must be loaded after it.

    The random values of a ResNet-50 take a quarter of a second, and on the device ``meta`` the first ones make torch
    import 800 modules, which takes more than a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, unless it fills a tensor with random initial values."""
        kwargs = kwargs or {}
        return kwargs["tensor"] if func in _RANDOM else func(*args, **kwargs)
