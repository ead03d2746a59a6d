"""Caption scores without Java: the digits of coco-caption in pure Python and numpy."""

from showtell.scoring.evaluate import METRICS, Evaluator, Scores, evaluate
from showtell.scoring.ptb import tokenize

__all__ = ["METRICS", "Evaluator", "Scores", "evaluate", "tokenize"]
