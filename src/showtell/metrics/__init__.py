"""Caption scores without Java: the digits of coco-caption in pure Python and numpy.

`evaluate` is the entry: captions are tokenized (`ptb_tokenizer` by `ptb_rules`, or `score_tokenizers`) into a
`caption_table`, whose `ngrams` are scored block by block (`blocks`) by `bleu`, `cider` and `rouge`; `meteor` calls
its own program. `score_files` does so for two files (`matching`), `reward` for samples in training.

About scores: `bootstrap`, `explain`, `calibration`. About captions alone: `caption_stats`.
"""

from showtell.metrics.evaluate import METRICS, Scorer, Scores, evaluate
from showtell.metrics.ptb_tokenizer import tokenize

__all__ = ["METRICS", "Scorer", "Scores", "evaluate", "tokenize"]
