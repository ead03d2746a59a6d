"""Hugging Face's captioners of usual size, built from their configurations with random weights.

ViT-GPT2 is a ViT-base encoder with a GPT-2 decoder (239 million parameters), BLIP-base a ViT-base at 384 pixels with
a BERT-base decoder (224 million). Both generate with the same beam size and a fixed number of new tokens; random
weights take the same time as trained ones. Images are decoded and resized as ours are, in as many threads, one batch
ahead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from showtell.config.preprocessing import Preprocessing
from showtell.encoders.encoder import fast_dtype
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image

VIT_GPT2, BLIP = "ViT-GPT2", "BLIP-base"


class HuggingFace:
    """A captioner of Hugging Face's.

    Args:
        name: ``ViT-GPT2`` or ``BLIP-base``.
        dtype: What it computes in; None: the fastest that this processor has.
    """

    def __init__(self, name: str, dtype: torch.dtype | None = None) -> None:
        self.name, self.dtype = name, dtype or fast_dtype()
        before = torch.get_default_dtype()
        # Born in its own precision: weights in float32 first would double the memory that it took.
        torch.set_default_dtype(self.dtype)
        try:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.model, size = {VIT_GPT2: _vit_gpt2, BLIP: _blip}[name]()
        finally:
            torch.set_default_dtype(before)
        self.model = self.model.to(self.dtype).eval()
        self.preprocessing = Preprocessing(size=size)

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return sum(weight.numel() for weight in self.model.parameters())

    def caption(self, paths: Sequence[Path], *, batch: int, beam_size: int, words: int) -> int:
        """Caption files; return the number of generated tokens."""
        num_tokens = 0
        with torch.inference_mode():
            for images in self._batches(paths, batch):
                tokens = self.model.generate(
                    pixel_values=images,
                    num_beams=beam_size,
                    do_sample=False,
                    min_new_tokens=words,
                    max_new_tokens=words,
                )
                num_tokens += tokens.numel()
        return num_tokens

    def _batches(self, paths: Sequence[Path], batch: int) -> Iterator[Tensor]:
        """Yield normalized images [P, 3, S, S], the next batch decoded meanwhile."""
        starts = [*range(0, len(paths), batch), len(paths)]
        mean, std = (
            255 * torch.tensor(values) for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
            pending = [[threads.submit(self._open, path) for path in paths[:batch]]]
            for _, end in pairwise(starts):
                pending.append([threads.submit(self._open, path) for path in paths[end : end + batch]])
                images = torch.from_numpy(np.stack([future.result() for future in pending.pop(0)]))
                yield ((images - mean) / std).to(self.dtype).permute(0, 3, 1, 2)

    def _open(self, path: Path) -> Any:
        return preprocess_image(load_image(path), self.preprocessing)


def _vit_gpt2() -> tuple[Any, int]:
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    decoder = GPT2Config(is_decoder=True, add_cross_attention=True)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), decoder)
    config.decoder_start_token_id = config.eos_token_id = decoder.eos_token_id
    config.pad_token_id = decoder.eos_token_id - 1  # never generated, since all captions have the same length
    model = VisionEncoderDecoderModel(config=config)
    model.generation_config.decoder_start_token_id = decoder.bos_token_id
    model.generation_config.bos_token_id = decoder.bos_token_id
    model.generation_config.eos_token_id = decoder.eos_token_id
    model.generation_config.pad_token_id = config.pad_token_id
    return model, 224


def _blip() -> tuple[Any, int]:
    from transformers import BlipConfig, BlipForConditionalGeneration

    config = BlipConfig(text_config={"num_attention_heads": 12, "is_decoder": True})
    return BlipForConditionalGeneration(config), 384
