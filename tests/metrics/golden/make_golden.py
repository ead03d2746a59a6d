"""Write the golden files of this folder with the reference's answers.

    SHOWTELL_COCOEVAL=/path/to/a/python/with/pycocoevalcap SHOWTELL_SHARED=/path/to/data python make_golden.py

Needs Java; the real data only for ``corpora.json``, which keeps scores and hashes and no captions.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from nasty import nasty_strings  # noqa: E402

SHARED = Path(os.environ.get("SHOWTELL_SHARED", HERE.parents[3] / "shared"))


def ask(question: dict) -> dict:
    python = os.environ["SHOWTELL_COCOEVAL"]
    answer = subprocess.run(
        [python, str(HERE / "reference.py")],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(answer.stdout)


def read_corpora(shared: Path) -> dict[str, dict[str, list[str]]]:
    flickr: dict[str, list[str]] = {}
    folder = shared / "data" / "flickr8k"
    names = [folder / f"Flickr_8k.{split}Images.txt" for split in ("train", "dev")]
    kept = {name for path in names for name in path.read_text().split()}
    for line in (folder / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        key, caption = line.split("\t")
        if key.split("#")[0] in kept:
            flickr.setdefault(key.split("#")[0], []).append(caption)
    coco: dict[str, list[str]] = {}
    annotations = shared / "data" / "coco_mini" / "official" / "captions_val2017.json"
    for row in json.loads(annotations.read_text(encoding="utf-8"))["annotations"]:
        coco.setdefault(str(row["image_id"]), []).append(row["caption"])
    return {"flickr8k": flickr, "coco_val2017": coco}


def hash_tokens(tokenised: list[str]) -> str:
    return hashlib.sha256("\n".join(tokenised).encode()).hexdigest()


def main() -> None:
    strings = nasty_strings(3200, seed=1)
    tokens = ask({"captions": strings})["tokens"]
    with (HERE / "tokens.jsonl").open("w", encoding="utf-8") as file:
        for string, answer in zip(strings, tokens, strict=True):
            file.write(json.dumps([string, answer], ensure_ascii=True) + "\n")

    # Pictures 0 to 59 with one to five references; candidates good, bad, empty, repeated and unknown
    pool = iter(nasty_strings(900, seed=2)[::-1])
    references = {f"{place}": [next(pool) for _ in range(1 + place % 5)] for place in range(60)}
    candidates = {
        key: [captions[0], captions[-1] + " dog dog dog", "", "zzq qqz zzq qqz zzq", next(pool)][int(key) % 5]
        for key, captions in references.items()
    }
    answer = ask({"references": references, "candidates": candidates})
    scores = {"references": references, "candidates": candidates} | {
        name: answer[name] for name in ("values", "per_image")
    }
    (HERE / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")

    corpora = {}
    for name, captions in read_corpora(SHARED).items():
        rest = {key: texts[1:] for key, texts in captions.items()}
        first = {key: texts[0] for key, texts in captions.items()}
        answer = ask({"references": rest, "candidates": first, "plain": True})
        flat = [text for texts in captions.values() for text in texts]
        corpora[name] = {
            "num_images": len(captions),
            "captions": len(flat),
            "tokens_sha256": hash_tokens(ask({"captions": flat})["tokens"]),
            "values": answer["values"],
        }
    (HERE / "corpora.json").write_text(json.dumps(corpora, indent=1) + "\n")


if __name__ == "__main__":
    main()
