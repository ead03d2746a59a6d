"""coco-caption's scores as people compute them: ``pycocoevalcap`` with its Java tokenizer."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D")


def missing(*, java: bool = True) -> str:
    """Return why it cannot run here; nothing where it can."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        return "pycocoevalcap is not installed (pip install -e '.[bench]')"
    return "no java on this machine" if java and shutil.which("java") is None else ""


def scores(references: Mapping[str, Sequence[str]], candidates: Mapping[str, str]) -> dict[str, float]:
    """Tokenize and score a corpus."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    truth = tokenizer.tokenize(
        {key: [{"caption": text} for text in texts] for key, texts in references.items()}
    )
    candidate_tokens = tokenizer.tokenize({key: [{"caption": text}] for key, text in candidates.items()})
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(truth, candidate_tokens, verbose=0)
        rouge, _ = Rouge().compute_score(truth, candidate_tokens)
        cider, _ = Cider().compute_score(truth, candidate_tokens)
    return dict(zip(NAMES, map(float, [*bleu, rouge, cider]), strict=True))


def cider_of_samples(
    references: Sequence[Sequence[str]], samples: Sequence[str], images: Sequence[int]
) -> list[float]:
    """Return CIDEr-D of each sample against the references of its image; all are tokens between spaces."""
    from pycocoevalcap.cider.cider import Cider

    truth: dict[int, Any] = {place: references[image] for place, image in enumerate(images)}
    _, each = Cider().compute_score(truth, {place: [text] for place, text in enumerate(samples)})
    return [float(value) for value in each]
