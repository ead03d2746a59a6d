#!/bin/sh
# sacreBLEU 2.6.0, tokenizer "zh": two of its ranges of Chinese characters are written with four hexadecimal digits where
# five are meant. '\u20000' is the two characters U+2000 and '0', and the comparison of strings takes every character from
# U+2001 to U+2A6D (dashes, quotation marks, arrows, mathematical signs, box drawings) for a Chinese one, a token of its
# own. The characters that are meant, beyond U+FFFF, are not separated: a run of them is one token. Nor is kana, so that
# Japanese text is in part one token per phrase.
#
# Prints the tokens of such texts, and fails if they change.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check sacrebleu==2.6.0
"$folder/venv/bin/python" - <<'PYTHON'
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

EXPECTED = {
    "两只狗": "两 只 狗",
    "\U00020000\U00020001\U00020002": "\U00020000\U00020001\U00020002",
    "a→b": "a → b",
    "ab≤c": "ab ≤ c",
    "a+b": "a + b",
    "a×b": "a×b",
    "犬が走っている": "犬 が 走 っている",
}
tokenize = TokenizerZh()
for text, expected in EXPECTED.items():
    found = tokenize(text)
    print(f"{text} -> {found}")
    assert found == expected, expected
print("sacrebleu's zh takes arrows for Chinese, and characters beyond U+FFFF not")
PYTHON
