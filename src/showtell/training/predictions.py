"""The captions of a split as JSON lines, and the evaluation that is stored in a checkpoint."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from showtell.checkpoints.hub import CONFIG
from showtell.data.prepared import PreparedSet
from showtell.generation import Hypothesis
from showtell.metrics import Scores
from showtell.system.atomic import sha256_file, write_summed_json, write_text
from showtell.system.reading import as_object, read_json, read_json_lines
from showtell.tokenizer import Tokenizer
from showtell.training.evaluator import Evaluation

PREDICTIONS, EVALUATION = "predictions.jsonl", "evaluation.json"


def write_predictions(
    path: Path,
    prepared: PreparedSet,
    evaluation: Evaluation,
    tokenizer: Tokenizer,
    grid: tuple[int, int] | None,
) -> None:
    """Write one JSON object per image: the caption, its references, scores, attention and neighbours."""
    lines = []
    for row, hypothesis, text in zip(evaluation.rows, evaluation.hypotheses, evaluation.texts, strict=True):
        key = prepared.key(row)
        attention = hypothesis.word_attention(tokenizer.word_groups(hypothesis.ids))
        line: dict[str, Any] = {
            "key": key,
            "split": prepared.split(row),
            "image": str(prepared.image_path(row)),
            "candidate": text,
            "references": prepared.captions(row),
            "metrics": evaluation.scores.per_image[key],
            "model_score": hypothesis.score,
            "log_prob": hypothesis.log_prob,
            "truncated": hypothesis.truncated,
            "ids": hypothesis.ids,
            "token_log_probs": hypothesis.token_log_probs,
            "words": tokenizer.words(hypothesis.ids),
            "attention": None if attention is None else np.round(attention.astype(float), 4).tolist(),
            "grid": None if attention is None or grid is None else list(grid),
        }
        if hypothesis.neighbours:
            line["neighbours"] = [neighbour.as_json() for neighbour in hypothesis.neighbours]
        lines.append(json.dumps(line, ensure_ascii=False))
    write_text(path, "".join(line + "\n" for line in lines))


def save_evaluation(
    checkpoint: Path,
    prepared: PreparedSet,
    evaluation: Evaluation,
    tokenizer: Tokenizer,
    grid: tuple[int, int] | None,
) -> None:
    """Store an evaluation in its checkpoint, so that it need not be repeated."""
    write_predictions(checkpoint / PREDICTIONS, prepared, evaluation, tokenizer, grid)
    scores = asdict(evaluation.scores)
    del scores["per_image"]
    content = {
        "config_sha256": sha256_file(checkpoint / CONFIG),
        "predictions_sha256": sha256_file(checkpoint / PREDICTIONS),
        "data": prepared.fingerprint,
        "scores": scores,
        "seconds": evaluation.seconds,
    }
    write_summed_json(checkpoint / EVALUATION, content)


def load_evaluation(checkpoint: Path, prepared: PreparedSet) -> Evaluation | None:
    """Return the stored evaluation; None if there is none of this checkpoint and data.

    Attention is as it was written: one map per word, rounded to four digits.
    """
    try:
        content = as_object(read_json(checkpoint / EVALUATION))
        digests = [sha256_file(checkpoint / name) for name in (CONFIG, PREDICTIONS)]
        stored = [content["config_sha256"], content["predictions_sha256"], content["data"]]
    except (OSError, ValueError, KeyError):
        return None
    if stored != [*digests, prepared.fingerprint]:
        return None
    lines = read_json_lines(checkpoint / PREDICTIONS)
    row_of = {prepared.key(row): row for row in range(len(prepared))}
    hypotheses = [
        Hypothesis(
            line["ids"],
            line["model_score"],
            line["log_prob"],
            line["token_log_probs"],
            line["truncated"],
            None if line["attention"] is None else np.array(line["attention"], np.float32),
        )
        for line in lines
    ]
    references: tuple[int, int] = tuple(content["scores"].pop("references"))
    per_image = {line["key"]: line["metrics"] for line in lines}
    return Evaluation(
        rows=[row_of[line["key"]] for line in lines],
        hypotheses=hypotheses,
        texts=[line["candidate"] for line in lines],
        scores=Scores(per_image=per_image, references=references, **content["scores"]),
        seconds=content["seconds"],
    )
