"""What a captioner said of each picture of a split, as JSON lines, and what became of it beside a checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from showtell.checkpoints.hub import CONFIG
from showtell.data.prepared import PreparedSet
from showtell.generation import Hypothesis
from showtell.metrics import Scores
from showtell.system.atomic import sha256_file, write_json, write_text
from showtell.tokenizer import Tokenizer
from showtell.training.evaluator import Evaluation

PREDICTIONS, JUDGED = "predictions.jsonl", "judged.json"


def write_predictions(
    path: Path,
    prepared: PreparedSet,
    evaluation: Evaluation,
    tokenizer: Tokenizer,
    grid: tuple[int, int] | None,
) -> None:
    """Write what was said of each picture, one JSON object a line, beside references, scores and attention."""
    lines = []
    for row, hypothesis, text in zip(evaluation.rows, evaluation.hypotheses, evaluation.texts, strict=True):
        key = prepared.key(row)
        looked = hypothesis.word_attention(tokenizer.word_groups(hypothesis.ids))
        line: dict[str, Any] = {
            "key": key,
            "split": prepared.split(row),
            "picture": str(prepared.image_path(row)),
            "candidate": text,
            "references": prepared.captions(row),
            "scores": evaluation.scores.per_image[key],
            "score": hypothesis.score,
            "log_prob": hypothesis.log_prob,
            "truncated": hypothesis.truncated,
            "ids": hypothesis.ids,
            "word_log_probs": hypothesis.token_log_probs,
            "words": tokenizer.words(hypothesis.ids),
            "attention": None if looked is None else np.round(looked.astype(float), 4).tolist(),
            "grid": None if looked is None or grid is None else list(grid),
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    write_text(path, "".join(line + "\n" for line in lines))


def save_evaluation(
    checkpoint: Path,
    prepared: PreparedSet,
    evaluation: Evaluation,
    tokenizer: Tokenizer,
    grid: tuple[int, int] | None,
) -> None:
    """Write into a checkpoint what it said and how good that was, so that nobody need ask it again."""
    write_predictions(checkpoint / PREDICTIONS, prepared, evaluation, tokenizer, grid)
    scores = asdict(evaluation.scores)
    del scores["per_image"]
    judged = {
        "config_sha256": sha256_file(checkpoint / CONFIG),
        "predictions_sha256": sha256_file(checkpoint / PREDICTIONS),
        "data": prepared.fingerprint,
        "scores": scores,
        "seconds": evaluation.seconds,
    }
    write_json(checkpoint / JUDGED, judged)


def load_evaluation(checkpoint: Path, prepared: PreparedSet) -> Evaluation | None:
    """Return what `save_evaluation` kept; None where there is none, or not of this checkpoint as it is now.

    Attention comes back as it was written: one map a word, rounded to four digits.
    """
    try:
        judged = json.loads((checkpoint / JUDGED).read_text(encoding="utf-8"))
        digests = [sha256_file(checkpoint / name) for name in (CONFIG, PREDICTIONS)]
    except FileNotFoundError:
        return None
    if [judged["config_sha256"], judged["predictions_sha256"], judged["data"]] != [
        *digests,
        prepared.fingerprint,
    ]:
        return None
    text = (checkpoint / PREDICTIONS).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.split("\n") if line]
    place = {prepared.key(row): row for row in range(len(prepared))}
    hypotheses = [
        Hypothesis(
            line["ids"],
            line["score"],
            line["log_prob"],
            line["word_log_probs"],
            line["truncated"],
            None if line["attention"] is None else np.array(line["attention"], np.float32),
        )
        for line in lines
    ]
    references: tuple[int, int] = tuple(judged["scores"].pop("references"))
    scores = Scores(
        per_image={line["key"]: line["scores"] for line in lines}, references=references, **judged["scores"]
    )
    return Evaluation(
        rows=[place[line["key"]] for line in lines],
        hypotheses=hypotheses,
        texts=[line["candidate"] for line in lines],
        scores=scores,
        seconds=judged["seconds"],
    )
