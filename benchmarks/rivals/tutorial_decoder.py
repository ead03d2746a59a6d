"""An attention captioner as tutorials write it: an LSTM cell a word, additive attention, float32.

Every caption is a row of its own, with a copy of its image's features; at each word all rows attend to all regions,
padding included. Sizes and dropout are those of the package's attention decoder. Tutorials attend to the encoder's
own 2,048 channels; with ``memory`` the regions are first projected, as the package does it, which is less work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AdditiveAttention(nn.Module):
    """Weighs regions by what the decoder holds (Bahdanau et al. 2015)."""

    def __init__(self, width: int, hidden: int, attention: int) -> None:
        super().__init__()
        self.of_regions = nn.Linear(width, attention)
        self.of_hidden = nn.Linear(hidden, attention)
        self.energy = nn.Linear(attention, 1)

    def forward(self, regions: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the context [N, D] and the weights [N, R]."""
        energy = self.energy(torch.tanh(self.of_regions(regions) + self.of_hidden(hidden).unsqueeze(1)))
        weights = functional.softmax(energy.squeeze(2), dim=1)
        return (regions * weights.unsqueeze(2)).sum(dim=1), weights


class TutorialDecoder(nn.Module):
    """Predicts every word of a caption from those before it.

    Args:
        vocabulary: Number of tokens V.
        encoder_width: Channels D of a region.
        size: Of embedding, hidden and attention alike.
        dropout: Share of zeros before the output.
        memory: Width that regions are projected to; None: not at all.
    """

    def __init__(
        self, vocabulary: int, encoder_width: int, size: int, dropout: float, memory: int | None = None
    ) -> None:
        super().__init__()
        self.project = None if memory is None else nn.Linear(encoder_width, memory)
        width = encoder_width if memory is None else memory
        self.embedding = nn.Embedding(vocabulary, size)
        self.attention = AdditiveAttention(width, size, size)
        self.initial_hidden = nn.Linear(width, size)
        self.initial_cell = nn.Linear(width, size)
        self.gate = nn.Linear(size, width)
        self.cell = nn.LSTMCell(size + width, size)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(size, vocabulary)

    def forward(self, regions: Tensor, tokens: Tensor) -> Tensor:
        """Return logits [N, T, V] for tokens [N, T] and regions [N, R, D]."""
        if self.project is not None:
            regions = torch.relu(self.project(regions))
        words = self.embedding(tokens)  # [N, T, E]
        mean = regions.mean(dim=1)
        hidden, cell = torch.tanh(self.initial_hidden(mean)), torch.tanh(self.initial_cell(mean))
        predictions = []
        for time in range(tokens.shape[1]):
            context, _ = self.attention(regions, hidden)
            context = torch.sigmoid(self.gate(hidden)) * context
            hidden, cell = self.cell(torch.cat([words[:, time], context], dim=1), (hidden, cell))
            predictions.append(self.output(self.dropout(hidden)))
        return torch.stack(predictions, dim=1)


def tutorial_step(
    decoder: TutorialDecoder,
    optimizer: torch.optim.Optimizer,
    regions: Tensor,
    tokens: Tensor,
    *,
    pad_id: int,
    clip: float,
) -> float:
    """Learn from a batch, regions float [P, R, D] and tokens int64 [P, K, T]; return the mean loss."""
    copied = regions.repeat_interleave(tokens.shape[1], dim=0)  # [P*K, R, D]
    captions = tokens.flatten(0, 1)
    logits = decoder(copied, captions[:, :-1])
    loss = functional.cross_entropy(logits.flatten(0, 1), captions[:, 1:].flatten(), ignore_index=pad_id)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(decoder.parameters(), clip)
    optimizer.step()
    return float(loss.detach())
