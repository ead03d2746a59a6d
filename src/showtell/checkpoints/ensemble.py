"""Checkpoints as one model, an ensemble."""

from collections.abc import Sequence

from torch import nn

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import Checkpoint
from showtell.checkpoints.hub import ENCODER, TOKENIZER
from showtell.encoders.encoder import identity_differences
from showtell.errors import CheckpointError
from showtell.generation.ensemble import EnsembleDecoder


class Ensemble(EnsembleDecoder, nn.Module):
    """`EnsembleDecoder` as a module; see `showtell.decoders.base.BaseDecoder`."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        nn.Module.__init__(self)
        EnsembleDecoder.__init__(self, nn.ModuleList(members))  # type: ignore[arg-type]


def make_ensemble(checkpoints: Sequence[Checkpoint]) -> CaptioningModel:
    """Return captioners as one model with the first one's encoder; a CheckpointError if one does not fit it."""
    check_compatible(checkpoints, action="join an ensemble with the first")
    ensemble = Ensemble([checkpoint.model.decoder for checkpoint in checkpoints])
    return CaptioningModel(ensemble, checkpoints[0].model.encoder).eval()  # type: ignore[arg-type]


def check_compatible(checkpoints: Sequence[Checkpoint], *, action: str) -> None:
    """Raise a CheckpointError that names the ``action`` if one has another vocabulary or encoder than the first."""
    first = checkpoints[0]
    for number, other in enumerate(checkpoints[1:], start=2):
        cannot = f"captioner {number} cannot {action}"
        if other.config["files"][TOKENIZER] != first.config["files"][TOKENIZER]:
            raise CheckpointError(
                cannot,
                found="another vocabulary",
                expected=f"the same {first.tokenizer.size:,} tokens",
                mend="Train them on the same prepared set with the same tokenizer",
            )
        differences = identity_differences(
            other.config["encoder"]["identity"], first.config["encoder"]["identity"]
        )
        # A fine-tuned encoder's identity is that of the weights it started from.
        if not differences and other.config["files"].get(ENCODER) != first.config["files"].get(ENCODER):
            specs = [each.config["encoder"]["spec"] for each in (first, other)]
            differences = (
                ["fine-tuned with its own decoder"] if any(spec["trainable"] for spec in specs) else []
            )
        if differences:
            raise CheckpointError(cannot, found=f"another encoder: {'; '.join(differences)}")
