"""Ask pycocoevalcap (and so Java) for tokens and scores. Run by a Python that has it; JSON in, JSON out.

    {"captions": [...]}                      -> {"tokens": [...]}, each caption tokenised as if alone
    {"references": {...}, "candidates": ...} -> {"values": {...}, "per_image": {...}}

With ``"plain": true`` captions follow each other as in pycocoevalcap, and the next one may decide how one ends.
"""

import json
import sys

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

BREAKS = dict.fromkeys(map(ord, "\n\r\x0b\x0c\u2028\u2029"), " ")
# The lexer looks at the next line to see whether a sentence ends: this line says that one does
FULL_STOP = {"caption": "The end"}


def clean(caption: str) -> dict[str, str]:
    return {"caption": caption.translate(BREAKS)}


def tokenize(captions: dict[str, list[str]], plain: bool) -> dict[str, list[str]]:
    gap = [] if plain else [FULL_STOP]
    lines = {key: [line for text in texts for line in (clean(text), *gap)] for key, texts in captions.items()}
    return {key: tokens[:: 1 + len(gap)] for key, tokens in PTBTokenizer().tokenize(lines).items()}


def main() -> None:
    sys.stdin.reconfigure(encoding="utf-8")
    question = json.load(sys.stdin)
    plain = question.get("plain", False)
    if "captions" in question:
        print(json.dumps({"tokens": tokenize({"": question["captions"]}, plain)[""]}))
        return
    references = tokenize(question["references"], plain)
    candidates = tokenize({key: [text] for key, text in question["candidates"].items()}, plain)
    bleu, bleus = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, rouges = Rouge().compute_score(references, candidates)
    cider, ciders = Cider().compute_score(references, candidates)
    names = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"]
    columns = [*bleus, rouges, ciders]
    print(
        json.dumps(
            {
                "values": dict(zip(names, map(float, [*bleu, rouge, cider]), strict=False)),
                "per_image": {
                    key: dict(zip(names, map(float, row), strict=False))
                    for key, row in zip(references, zip(*columns, strict=False), strict=False)
                },
            }
        )
    )


main()
