"""Caption scores without Java: the digits of coco-caption in pure Python and numpy."""

from showtell.metrics.evaluate import METRICS, Scorer, Scores, evaluate
from showtell.metrics.ptb_tokenizer import tokenize

__all__ = ["METRICS", "Scorer", "Scores", "evaluate", "tokenize"]
