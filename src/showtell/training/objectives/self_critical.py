"""Self-critical training: sample captions and raise the probability of those with a high reward.

Self-critical sequence training (Rennie et al. 2017, equations 6 to 8) with rewards from training captions. The
baseline of a sample is the mean reward of the image's other samples (Luo 2020, "A Better Variant of Self-Critical
Sequence Training", equation 4), or the reward of the greedy caption, as in the first paper.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.recipe import SelfCritical
from showtell.data.batches import Batch, Batches
from showtell.encoders.features import EncoderInput, Features
from showtell.generation import SpecialTokens
from showtell.generation.hypothesis import should_shrink
from showtell.metrics.reward import Rewards
from showtell.training.objectives.log_likelihood import log_likelihood, teacher_forced_states

Floats = npt.NDArray[np.float64]
Reward = Callable[[Sequence[Sequence[int]], npt.NDArray[np.int64], npt.NDArray[np.bool_]], Floats]
"""Maps N samples, their images int64 [N], and whether each is flipped bool [N], to rewards [N]."""


@dataclass(frozen=True)
class SelfCriticalObjective:
    """Samples without dropout, then weights the log-probabilities of the samples by their advantage.

    Both are those of the tempered distribution, so the gradient is that of its expected reward.
    A sample has at most ``max_tokens`` and its end. A truncated sample has no end; all its tokens count, or the
    gradient would not be that of the expected reward.
    """

    options: SelfCritical
    reward: Reward
    specials: SpecialTokens
    max_tokens: int

    def __call__(
        self, model: CaptioningModel, batch: Batch, step: int
    ) -> tuple[Tensor, int, dict[str, float]]:
        """Return the summed loss of all sampled tokens, their number, and the mean reward times that number."""
        was_training = model.training
        model.eval()
        with torch.no_grad():
            memory = model.encode(batch.inputs)
            sampled = self._generate(model, memory, greedy=False)  # [P, K, T]
            greedy = self._generate(model, memory, greedy=True) if self.options.baseline == "greedy" else None
        model.train(was_training)
        # Rewards are computed while the network reads the samples.
        with ThreadPoolExecutor(max_workers=1) as worker:
            rewards = worker.submit(self._advantages, batch, sampled, greedy)
            # A frozen encoder's output is reused; a trained encoder runs again for its gradient.
            trains_encoder = model.encoder is not None and model.encoder.spec.trainable
            inputs: EncoderInput = batch.inputs if trains_encoder else memory
            hidden, targets, real = teacher_forced_states(model, model.encode(inputs), sampled)
            log_probs = log_likelihood(self._sampling_logits(model.decoder.project(hidden)), targets)
            reward, advantage = rewards.result()
        weight = torch.as_tensor(advantage, dtype=log_probs.dtype, device=log_probs.device)  # [P, K]
        num_tokens = len(log_probs)
        loss = -(weight.unsqueeze(2).expand(real.shape)[real] * log_probs).sum()
        return loss, num_tokens, {"reward": float(reward.mean()) * num_tokens}

    def _generate(self, model: CaptioningModel, memory: Features, *, greedy: bool) -> Tensor:
        """Return captions int64 [P, K, T], ``<bos>`` first, ``<pad>`` after their end."""
        specials, num_images = self.specials, len(memory.pooled)
        num_hypotheses = 1 if greedy else self.options.samples
        sequences = torch.full(
            (num_images * num_hypotheses, self.max_tokens + 2), specials.pad, device=memory.pooled.device
        )
        sequences[:, 0] = specials.bos
        # Finished captions leave the batch from the end of their image's row: P' images x K' hypotheses are alive.
        positions = torch.arange(len(sequences), device=sequences.device).view(num_images, num_hypotheses)
        state = model.decoder.init_state(memory, num_hypotheses)
        tokens = sequences[:, 0].view_as(positions)
        alive, length = torch.ones_like(positions, dtype=torch.bool), 1
        while bool(alive.any()) and length < sequences.shape[1]:
            has_alive, most = alive.any(dim=1), int(alive.sum(dim=1).max())
            if most < alive.shape[1]:
                first = alive.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
                state = state.reorder(first)
                positions, tokens, alive = (part.gather(1, first) for part in (positions, tokens, alive))
            if should_shrink(int(has_alive.sum()), len(has_alive)):
                state = state.filter(has_alive.nonzero().squeeze(1))
                positions, tokens, alive = positions[has_alive], tokens[has_alive], alive[has_alive]
            logits, state, _ = model.decoder.step(tokens, state)
            logits = self._sampling_logits(logits.float())
            tokens = logits.argmax(dim=2) if greedy else _sample(logits)
            tokens = tokens.masked_fill(~alive, specials.pad)
            sequences[positions, length] = tokens
            alive = alive & (tokens != specials.eos)
            length += 1
        return sequences[:, :length].view(num_images, num_hypotheses, -1)

    def _sampling_logits(self, logits: Tensor) -> Tensor:
        """Return logits [..., V] over the temperature, -infinity for tokens that a caption never has."""
        banned = torch.tensor(self.specials.banned_ids, device=logits.device)
        return logits.index_fill(-1, banned, -math.inf).div_(self.options.temperature)

    def _advantages(self, batch: Batch, sampled: Tensor, greedy: Tensor | None) -> tuple[Floats, Floats]:
        """Return rewards and advantages, float64 [P, K]."""
        reward = self._rewards(batch, sampled)
        if greedy is not None:
            return reward, reward - self._rewards(batch, greedy)
        others = (reward.sum(axis=1, keepdims=True) - reward) / (reward.shape[1] - 1)
        return reward, reward - others

    def _rewards(self, batch: Batch, sequences: Tensor) -> Floats:
        """Return the rewards of captions int64 [P, K, T] of a batch's images, float64 [P, K]."""
        num_images, num_hypotheses, _ = sequences.shape
        captions = [
            [token for token in ids if token not in (self.specials.pad, self.specials.bos)]
            for ids in sequences.flatten(0, 1).tolist()
        ]
        rows, mirrored = (np.repeat(values, num_hypotheses) for values in (batch.rows, batch.mirrored))
        return self.reward(captions, rows, mirrored).reshape(num_images, num_hypotheses)


def build_self_critical(options: SelfCritical, batches: Batches) -> SelfCriticalObjective:
    """Return the objective with rewards from the images' training captions, see `showtell.metrics.reward`.

    A flipped image counts as an image of its own, whose captions have left and right swapped. The document
    frequencies are then those of both; differences of their logarithms do not change.
    """
    references = list(batches.references(mirrored=False))
    if batches.options.flip:
        references += batches.references(mirrored=True)
    rewards = Rewards(references, cider=options.cider, bleu=options.bleu)

    def reward(
        samples: Sequence[Sequence[int]], rows: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]
    ) -> Floats:
        return rewards(samples, np.searchsorted(batches.rows, rows) + len(batches.rows) * mirrored)

    specials = SpecialTokens.of(batches.tokenizer)
    return SelfCriticalObjective(options, reward, specials, batches.options.max_tokens)


def _sample(logits: Tensor) -> Tensor:
    """Sample a token for every row of logits [P, K, V] -> int64 [P, K], by inverting the cumulative distribution."""
    cumulative = logits.softmax(dim=2).cumsum(dim=2)
    point = torch.rand(*logits.shape[:2], 1, device=logits.device) * cumulative[:, :, -1:]
    # A token of probability 0 has the sum of its predecessor; right=True: the first sum above the point.
    return torch.searchsorted(cumulative, point, right=True).squeeze(2).clamp_max(logits.shape[2] - 1)
