"""The frozen ResNet on a CPU, with fused convolutions."""

from typing import Any

from torch import Tensor, nn

from showtell.encoders.onednn_network import FusedNetwork, max_pool_3x3
from showtell.system.batch_pool import cancellable


class FusedResNet(FusedNetwork):
    """A frozen `ResNet` after `ResNet.fold_batch_norms`."""

    def _run(self, images: Tensor) -> Tensor:
        x = max_pool_3x3(self.convolve(self.plain.conv1, images, "relu"))  # [P, 64, H/4, W/4]
        maps = []
        for stage in range(1, 5):
            for block in cancellable(getattr(self.plain, f"layer{stage}")):
                x = self._block(block, x)
            if stage in self.plain.stages:
                maps.append(x)  # safe: the next stage's shortcut is a convolution and does not write into x
        return self.plain.concat_stages(maps)  # type: ignore[no-any-return]

    def _block(self, block: Any, x: Tensor) -> Tensor:
        shortcut = x if block.downsample is None else self.convolve(block.downsample[0], x, "none")
        for index in range(1, block.convolutions):
            x = self.convolve(getattr(block, f"conv{index}"), x, "relu")
        # Adds into `shortcut` in place; a block's input is not read again.
        return self.convolve_and_add_(getattr(block, f"conv{block.convolutions}"), x, shortcut)

    def _followed_by_relu(self) -> set[nn.Module]:
        # The last convolution of a block adds to its shortcut, which oneDNN's direct form alone does in place.
        return {
            getattr(block, f"conv{index}")
            for stage in range(1, 5)
            for block in getattr(self.plain, f"layer{stage}")
            for index in range(1, block.convolutions)
        }
