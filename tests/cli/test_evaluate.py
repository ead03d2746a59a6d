"""``showtell evaluate`` decodes with its options, and gives the captions of ``showtell caption``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from showtell import Captioner
from showtell.checkpoints.checkpoint import load_checkpoint, save_portable
from showtell.cli import caption
from showtell.cli.evaluate import command
from showtell.config.generation import DecodingOptions
from showtell.data.prepared import PreparedSet
from showtell.system.atomic import write_summed_json
from showtell.tokenizer import SPECIALS

app = typer.Typer()
app.command("evaluate")(command)
app.command("caption")(caption.command)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_a_beam_size_means_beam_search_whatever_the_checkpoint_names(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    place, given = tmp_path / "checkpoint", []
    shutil.copytree(tiny_checkpoint("lstm"), place)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    config["generation"]["method"] = method
    write_summed_json(place / "config.json", config)

    def evaluate(checkpoint: Path, *, options: DecodingOptions, **rest: Any) -> None:
        given.append(options)
        raise typer.Exit

    monkeypatch.setattr("showtell.training.evaluate.evaluate_checkpoint", evaluate)
    for more in ([], ["--beam-size", "5"]):
        result = CliRunner().invoke(app, ["evaluate", str(place), "--data", "set", *more])
        assert result.exit_code == 0, result.output
    assert [(options.method, options.max_tokens) for options in given] == [(method, 8), ("beam", 8)]
    assert given[1].beam_size == 5


@pytest.mark.thorough
@pytest.mark.parametrize("options", [["--beam-size", "4"], ["--beam-size", "1"]], ids=" ".join)
@pytest.mark.parametrize("decoder", ["lstm", "attention"])
def test_no_caption_has_a_special_token_however_probable(
    tiny_checkpoint: Callable[[str], Path],
    toy_set: PreparedSet,
    tmp_path: Path,
    decoder: str,
    options: list[str],
) -> None:
    loaded = load_checkpoint(tiny_checkpoint(decoder))
    words = loaded.tokenizer
    with torch.no_grad():
        loaded.model.decoder.output.bias[[words.pad_id, words.bos_id, words.unk_id]] += 1000.0
    save_portable(loaded, tmp_path / "place")
    (tmp_path / "place" / "README.md").unlink()  # a checkpoint needs no card
    pictures = [str(toy_set.image_path(int(row))) for row in toy_set.split_rows("dev")]

    captioned = CliRunner().invoke(
        app, ["caption", str(tmp_path / "place"), *pictures, "--format", "jsonl", *options]
    )
    assert captioned.exit_code == 0, captioned.output
    from_caption = [
        json.loads(line)["caption"] for line in captioned.stdout.splitlines() if line.startswith("{")
    ]
    predictions = tmp_path / "predictions.jsonl"
    place, data = str(tmp_path / "place"), str(toy_set.directory)
    arguments = ["evaluate", place, "--data", data, "--predictions", str(predictions), *options]
    evaluated = CliRunner().invoke(app, arguments)
    assert evaluated.exit_code == 0, evaluated.output
    rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    captions = Captioner.load(place, device="cpu").caption(pictures, beam_size=int(options[1]))

    assert from_caption == [row["candidate"] for row in rows] == [one.text for one in captions]
    assert all(from_caption)
    for row, one in zip(rows, captions, strict=True):
        assert not set(row["ids"]) & {words.pad_id, words.bos_id, words.eos_id, words.unk_id}
        for shown in (
            row["words"],
            one.words,
            [row["candidate"]],
            [other.text for other in one.alternatives],
        ):
            assert not any(special in text for special in SPECIALS for text in shown)


def test_caption_statistics_are_printed_with_the_scores(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet
) -> None:
    arguments = ["evaluate", str(tiny_checkpoint("lstm")), "--data", str(toy_set.directory)]
    table = CliRunner().invoke(app, arguments)
    as_json = CliRunner().invoke(app, [*arguments, "--format", "json"])
    assert (table.exit_code, as_json.exit_code) == (0, 0), table.output + as_json.output
    rows = [line for line in as_json.stdout.splitlines() if line.startswith("{")]
    values = json.loads(rows[0])
    quality = values["quality"]
    assert list(quality) == [
        *("repeated", "bad_ending", "unknown", "words", "distinct_words", "distinct_captions", "unseen")
    ]
    # Its vocabulary is that of another set.
    assert quality["unknown"] > 0
    assert quality["unseen"] == 1.0
    scores, figures = table.stdout.strip().split("\n\n")
    assert scores.splitlines()[-1] == values["signature"]
    assert figures.splitlines()[1].split()[-1] == "100.0"
    assert f"{quality['words']:.1f}" in figures


@pytest.mark.thorough
def test_an_export_is_evaluated_without_torch(exported: Any, toy_set: PreparedSet) -> None:
    script = (
        "import sys; sys.argv = ['showtell', 'evaluate', *sys.argv[1:]]\n"
        "from showtell.cli.main import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    arguments = [str(exported.directory), "--data", str(toy_set.directory)]
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "CIDEr-D" in run.stdout


def test_captioners_form_an_ensemble(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet, tmp_path: Path
) -> None:
    first, lstm = str(tiny_checkpoint("attention")), tiny_checkpoint("lstm")
    second = shutil.copytree(lstm, str(tmp_path / "lstm"))
    # Each has a fine-tuned encoder, which members must share.
    shutil.copy(f"{first}/encoder.safetensors", second)
    configs = [json.loads(Path(each, "config.json").read_text()) for each in (first, second)]
    configs[1]["files"]["encoder.safetensors"] = configs[0]["files"]["encoder.safetensors"]
    write_summed_json(Path(second, "config.json"), configs[1])

    def scores(*arguments: str) -> dict[str, Any]:
        given = ["evaluate", *arguments, "--data", str(toy_set.directory), "--format", "json"]
        result = CliRunner().invoke(app, given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        values: dict[str, Any] = json.loads(result.stdout)
        del values["seconds"]
        return values

    alone = scores(first)
    assert scores(first, "--ensemble-with", first) == alone
    assert set(scores(first, "--ensemble-with", second, "--ensemble-with", first)) == set(alone)
