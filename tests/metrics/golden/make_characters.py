"""Write ``ptb_characters.json``: which characters the reference's lexer takes for letters, marks, digits and symbols.

    SHOWTELL_COCOEVAL=/path/to/a/python/with/pycocoevalcap python make_characters.py

Needs Java. Every character of the basic plane is put into a few short texts; what comes out is its class.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from make_golden import ask  # noqa: E402

TARGET = HERE.parents[2] / "src" / "showtell" / "metrics" / "ptb_characters.json"
TEXTS = ("a{}b", "x {} y", "x 1{}2 y", "x {}{} y")
# What the texts become for a character of a class, with the character itself written as C
CLASSES = {
    "letters": ("aCb", "x C y", "x 1C2 y", "x CC y"),
    "marks": ("aCb", "x C y", "x 1 C2 y", "x CC y"),
    "symbols": ("a C b", "x C y", "x 1 C 2 y", "x C C y"),
}


def pack(characters: list[str]) -> str:
    spans: list[list[int]] = []
    for code in map(ord, characters):
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in spans)


def main() -> None:
    skipped = {*range(0xD800, 0xE000), *map(ord, "\n\r\x0b\x0c\u2028\u2029")}
    characters = [chr(code) for code in range(1, 0x10000) if code not in skipped]
    answers = [ask({"captions": [text.format(c, c) for c in characters]})["tokens"] for text in TEXTS]
    found: dict[str, list[str]] = {name: [] for name in [*CLASSES, "digits"]}
    # A digit behaves like a letter here, except that a number cannot be the second part of a name
    dotted = ask({"captions": [f"z a.{c} z" for c in characters]})["tokens"]
    for character, *row in zip(characters, dotted, *answers, strict=True):
        if character.isascii() and character.isalnum():
            found["digits" if character.isdigit() else "letters"].append(character)
            continue
        lower = character.lower()
        if lower == "σ":
            # At the end of a word a capital sigma becomes another letter than inside
            dot, *texts = [text.replace("ς", "σ") for text in row]
        else:
            dot, *texts = row
        shapes = tuple(text.replace(lower, "C") for text in texts)
        if shapes == CLASSES["letters"] and not character.isascii():
            found["letters" if f"a.{lower}" in dot else "digits"].append(character)
        for name in ("marks", "symbols"):
            if shapes == CLASSES[name]:
                found[name].append(character)
    TARGET.write_text(json.dumps({name: pack(found[name]) for name in found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
