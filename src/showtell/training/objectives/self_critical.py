"""Self-critical training: sample captions and raise the probability of those with a high reward.

Self-critical sequence training (Rennie et al. 2017, equations 6 to 8) with rewards from training captions. The
baseline of a sample is the mean reward of the image's other samples (Luo 2020, "A Better Variant of Self-Critical
Sequence Training", equation 4), or the reward of the greedy caption, as in the first paper.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.recipe import SelfCritical
from showtell.data.batches import Batch, Batches
from showtell.encoders.features import EncoderInput, Features
from showtell.generation import SpecialTokens
from showtell.generation.sequences import should_shrink_batch
from showtell.metrics.reward import Rewards
from showtell.training.objectives.log_likelihood import log_likelihood, teacher_forced_states

Reward = Callable[
    [Sequence[Sequence[int]], npt.NDArray[np.int64], npt.NDArray[np.bool_]], npt.NDArray[np.float64]
]


class SelfCriticalObjective:
    """Samples without dropout, then weights the log-probabilities of the samples by their advantage.

    Args:
        options: Samples per image, baseline, temperature.
        reward: Scores N samples of images int64 [N], flipped where bool [N] is true.
        specials: Ids of the special tokens.
        max_tokens: A sample has at most one token more than this, its end included. A truncated sample has no end;
            all its tokens count, or the gradient would not be that of the expected reward.
    """

    def __init__(
        self, options: SelfCritical, reward: Reward, specials: SpecialTokens, *, max_tokens: int
    ) -> None:
        self.options, self.specials, self.max_tokens = options, specials, max_tokens
        self._reward = reward

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
            log_probs, real = self._log_probs(model, batch.inputs if trains_encoder else memory, sampled)
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
        places = torch.arange(len(sequences), device=sequences.device).view(num_images, num_hypotheses)
        state = model.decoder.init_state(memory, num_hypotheses)
        tokens = sequences[:, 0].view_as(places)
        alive, length = torch.ones_like(places, dtype=torch.bool), 1
        while bool(alive.any()) and length < sequences.shape[1]:
            has_alive, most = alive.any(dim=1), int(alive.sum(dim=1).max())
            if most < alive.shape[1]:
                first = alive.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
                state = state.reorder(first)
                places, tokens, alive = (part.gather(1, first) for part in (places, tokens, alive))
            if should_shrink_batch(int(has_alive.sum()), len(has_alive)):
                state = state.filter(has_alive.nonzero().squeeze(1))
                places, tokens, alive = places[has_alive], tokens[has_alive], alive[has_alive]
            logits, state, _ = model.decoder.step(tokens, state)  # type: ignore[arg-type]
            logits = self._mask_banned(logits.float())
            tokens = logits.argmax(dim=2) if greedy else _sample(logits / self.options.temperature)
            tokens = tokens.masked_fill(~alive, specials.pad)
            sequences[places, length] = tokens
            alive = alive & (tokens != specials.eos)
            length += 1
        return sequences[:, :length].view(num_images, num_hypotheses, -1)

    def _mask_banned(self, logits: Tensor) -> Tensor:
        """Return logits [..., V] with -infinity for tokens that a caption never has."""
        return logits.index_fill(-1, torch.tensor(self.specials.banned_ids, device=logits.device), -math.inf)

    def _log_probs(
        self, model: CaptioningModel, memory: EncoderInput, sampled: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities float32 [N] of the N sampled tokens, and their mask, bool [P, K, T - 1]."""
        hidden, targets, real = teacher_forced_states(model, model.encode(memory), sampled, self.specials.pad)
        return log_likelihood(self._mask_banned(model.decoder.project(hidden)), targets), real

    def _advantages(
        self, batch: Batch, sampled: Tensor, greedy: Tensor | None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return rewards and advantages, float64 [P, K]."""
        reward = reward_sequences(self._reward, batch, sampled, self.specials)
        if greedy is not None:
            return reward, reward - reward_sequences(self._reward, batch, greedy, self.specials)
        samples = reward.shape[1]
        others = (reward.sum(axis=1, keepdims=True) - reward) / (samples - 1)
        return reward, reward - others


def reward_sequences(
    reward: Reward, batch: Batch, sequences: Tensor, specials: SpecialTokens
) -> npt.NDArray[np.float64]:
    """Return the rewards of captions int64 [P, K, T] of a batch's images, float64 [P, K]."""
    num_images, num_hypotheses, _ = sequences.shape
    captions = [
        [token for token in ids if token not in (specials.pad, specials.bos)]
        for ids in sequences.flatten(0, 1).tolist()
    ]
    rows, mirrored = (np.repeat(values, num_hypotheses) for values in (batch.rows, batch.mirrored))
    return reward(captions, rows, mirrored).reshape(num_images, num_hypotheses)


def build_self_critical(options: SelfCritical, batches: Batches) -> SelfCriticalObjective:
    """Return the self-critical objective on these batches."""
    reward = make_reward(batches, cider=options.cider, bleu=options.bleu)
    return SelfCriticalObjective(
        options, reward, SpecialTokens.of(batches.tokenizer), max_tokens=batches.options.max_tokens
    )


def make_reward(batches: Batches, *, cider: float, bleu: float) -> Reward:
    """Return the reward of captions against their image's training captions, see `showtell.metrics.reward`.

    A flipped image counts as an image of its own, whose captions have left and right swapped. The document
    frequencies are then those of both; differences of their logarithms do not change.
    """
    rows = batches.rows
    references = list(batches.references(mirrored=False))
    if batches.options.flip:
        references += batches.references(mirrored=True)
    rewards = Rewards(references, cider=cider, bleu=bleu)

    def reward(
        samples: Sequence[Sequence[int]], image_rows: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        return rewards(samples, np.searchsorted(rows, image_rows) + len(rows) * mirrored)

    return reward


def _sample(logits: Tensor) -> Tensor:
    """Sample a token for every row of logits [P, K, V] -> int64 [P, K], by inverting the cumulative distribution."""
    cumulative = logits.softmax(dim=2).cumsum(dim=2)
    point = torch.rand(*logits.shape[:2], 1, device=logits.device) * cumulative[:, :, -1:]
    # A token of probability 0 has the sum of its predecessor; right=True: the first sum above the point.
    return torch.searchsorted(cumulative, point, right=True).squeeze(2).clamp_max(logits.shape[2] - 1)
