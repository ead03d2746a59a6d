"""Reward training: the captioner samples sentences, and those better than its others become likelier.

Self-critical sequence training (Rennie et al. 2017, equations 6 to 8) with the reward of training captions. The
baseline of a sample is the mean reward of the picture's other samples (Luo 2020, "A Better Variant of
Self-Critical Sequence Training", equation 4), or the reward of the greedy sentence, as in the first paper.
"""

from __future__ import annotations

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
from showtell.training.log_likelihood import log_likelihood, teacher_forced_states

Reward = Callable[
    [Sequence[Sequence[int]], npt.NDArray[np.int64], npt.NDArray[np.bool_]], npt.NDArray[np.float64]
]


class SelfCriticalObjective:
    """Samples without dropout, then weighs the log-probabilities of the samples by how good they were.

    Args:
        options: Samples per picture, baseline, temperature.
        reward: Takes N samples, the rows of their pictures int64 [N], and which are mirrored bool [N].
        specials: Ids of the special tokens.
        max_tokens: A sample has at most one token more than this, its end included. What is cut has no end; all
            that was drawn counts, or the gradient would not be that of the expected reward.
    """

    def __init__(
        self, options: SelfCritical, reward: Reward, specials: SpecialTokens, *, max_tokens: int
    ) -> None:
        self.options, self.specials, self.max_tokens = options, specials, max_tokens
        self._reward = reward

    def __call__(
        self, model: CaptioningModel, batch: Batch, step: int
    ) -> tuple[Tensor, int, dict[str, float]]:
        """Return the summed loss of all sampled tokens, how many there are, and the mean reward times that."""
        was_training = model.training
        model.eval()
        with torch.no_grad():
            memory = model.encode(batch.inputs)
            sampled = self._say(model, memory, greedy=False)  # [P, K, T]
            greedy = self._say(model, memory, greedy=True) if self.options.baseline == "greedy" else None
        model.train(was_training)
        # The reward is worked out while the network reads the samples once more.
        with ThreadPoolExecutor(max_workers=1) as worker:
            rewards = worker.submit(self._judge, batch, sampled, greedy)
            # A frozen encoder need not look twice; one that is trained looks again, for its gradient.
            trains_encoder = model.encoder is not None and model.encoder.spec.trainable
            log_probs, real = self._log_probs(model, batch.inputs if trains_encoder else memory, sampled)
            reward, advantage = rewards.result()
        weight = torch.as_tensor(advantage, dtype=log_probs.dtype, device=log_probs.device)  # [P, K]
        loss, tokens = -(weight.unsqueeze(2).expand(real.shape)[real] * log_probs).sum(), len(log_probs)
        return loss, tokens, {"reward": float(reward.mean()) * tokens}

    def _say(self, model: CaptioningModel, memory: Features, *, greedy: bool) -> Tensor:
        """Return sentences int64 [P, K, T], ``<bos>`` first, ``<pad>`` after their end."""
        specials, pictures = self.specials, len(memory.pooled)
        hypotheses = 1 if greedy else self.options.samples
        said = torch.full(
            (pictures * hypotheses, self.max_tokens + 2), specials.pad, device=memory.pooled.device
        )
        said[:, 0] = specials.bos
        # Sentences that have ended leave, at the end of their pictures' rows: P' pictures x K' are still going on.
        places = torch.arange(len(said), device=said.device).view(pictures, hypotheses)
        state, tokens = model.decoder.init_state(memory, hypotheses), said[:, 0].view_as(places)
        going, length = torch.ones_like(places, dtype=torch.bool), 1
        while bool(going.any()) and length < said.shape[1]:
            still, most = going.any(dim=1), int(going.sum(dim=1).max())
            if most < going.shape[1]:
                first = going.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
                state = state.reorder(first)
                places, tokens, going = (part.gather(1, first) for part in (places, tokens, going))
            if should_shrink_batch(state, int(still.sum()), len(still)):
                state = state.filter(still.nonzero().squeeze(1))
                places, tokens, going = places[still], tokens[still], going[still]
            logits, state, _ = model.decoder.step(tokens, state)  # type: ignore[arg-type]
            logits = self._allowed(logits.float())
            tokens = logits.argmax(dim=2) if greedy else _draw(logits / self.options.temperature)
            tokens = tokens.masked_fill(~going, specials.pad)
            said[places, length] = tokens
            going = going & (tokens != specials.eos)
            length += 1
        return said[:, :length].view(pictures, hypotheses, -1)

    def _allowed(self, logits: Tensor) -> Tensor:
        """Return logits [..., V] with -infinity where a token is never said."""
        return logits.index_fill(-1, torch.tensor(self.specials.banned_ids, device=logits.device), -math.inf)

    def _log_probs(
        self, model: CaptioningModel, memory: EncoderInput, sampled: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities float32 [N] of the N tokens said, and where they stand, bool [P, K, T - 1]."""
        held, targets, real = teacher_forced_states(model, model.encode(memory), sampled, self.specials.pad)
        return log_likelihood(self._allowed(model.decoder.project(held)), targets), real

    def _judge(
        self, batch: Batch, sampled: Tensor, greedy: Tensor | None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return rewards and advantages, float64 [P, K]."""
        reward = self._reward_of(batch, sampled)
        if greedy is not None:
            return reward, reward - self._reward_of(batch, greedy)
        samples = reward.shape[1]
        others = (reward.sum(axis=1, keepdims=True) - reward) / (samples - 1)
        return reward, reward - others

    def _reward_of(self, batch: Batch, said: Tensor) -> npt.NDArray[np.float64]:
        """Return the rewards of sentences [P, K, T], float64 [P, K]."""
        return reward_sequences(self._reward, batch, said, self.specials)


def reward_sequences(
    reward: Reward, batch: Batch, said: Tensor, specials: SpecialTokens
) -> npt.NDArray[np.float64]:
    """Return the rewards of sentences int64 [P, K, T] about a batch's pictures, float64 [P, K]."""
    pictures, hypotheses, _ = said.shape
    lines = [
        [token for token in line if token not in (specials.pad, specials.bos)]
        for line in said.flatten(0, 1).tolist()
    ]
    rows, mirrored = (np.repeat(of_pictures, hypotheses) for of_pictures in (batch.rows, batch.mirrored))
    return reward(lines, rows, mirrored).reshape(pictures, hypotheses)


def build_self_critical(options: SelfCritical, batches: Batches) -> SelfCriticalObjective:
    """Return the objective of reward training on these batches."""
    reward = make_reward(batches, cider=options.cider, bleu=options.bleu)
    return SelfCriticalObjective(
        options, reward, SpecialTokens.of(batches.tokenizer), max_tokens=batches.options.max_tokens
    )


def make_reward(batches: Batches, *, cider: float, bleu: float) -> Reward:
    """Return what judges captions by the training captions of their pictures, see `showtell.metrics.reward`.

    Where views are mirrored, a mirrored picture counts as one of its own, whose captions say left for right; the
    document frequencies are then those of both, and their logarithms' differences stay what they were.
    """
    rows = batches.rows
    references = list(batches.references(mirrored=False))
    if batches.options.flip:
        references += batches.references(mirrored=True)
    rewards = Rewards(references, cider=cider, bleu=bleu)

    def reward(
        samples: Sequence[Sequence[int]], of: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        return rewards(samples, np.searchsorted(rows, of) + len(rows) * mirrored)

    return reward


def _draw(logits: Tensor) -> Tensor:
    """Draw a token for every row of logits [P, K, V] -> int64 [P, K], by where a uniform number falls."""
    mass = logits.softmax(dim=2).cumsum(dim=2)
    point = torch.rand(*logits.shape[:2], 1, device=logits.device) * mass[:, :, -1:]
    # A token of no mass has the sum of the one before it; right: the first sum above the point.
    return torch.searchsorted(mass, point, right=True).squeeze(2).clamp_max(logits.shape[2] - 1)
