"""``showtell index``, and captions with neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from showtell.cli.main import app
from showtell.data.prepared import PreparedSet


def test_a_captioner_is_indexed_and_names_its_neighbours(
    frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path
) -> None:
    out = tmp_path / "own"
    arguments = ["index", frozen_captioner.directory, "--data", toy_set.directory, "-o", out]
    found = CliRunner().invoke(
        app, [str(word) for word in [*arguments, "--neighbours", 3, "--device", "cpu"]]
    )
    assert found.exit_code == 0, found.output
    assert "datastore: 16 images, 32 captions, 0.0 MB" in found.stderr
    sizes = dict(line.split(": ") for line in found.stdout.splitlines())
    assert (
        sizes[str(out / "datastore.safetensors")]
        == f"{(out / 'datastore.safetensors').stat().st_size / 1e6:.2f} MB"
    )
    image = toy_set.image_path(20)
    rows = tmp_path / "captions.jsonl"
    options = ["-o", rows, "--show-neighbours", "--device", "cpu"]
    found = CliRunner().invoke(app, [str(word) for word in ["caption", out, image, *options]])
    assert found.exit_code == 0, found.output
    row = json.loads(rows.read_text())
    known = {toy_set.key(int(number)) for number in toy_set.split_rows("train")}
    assert {neighbour["key"] for neighbour in row["neighbours"]} <= known
    assert 1 <= len(row["neighbours"]) <= 3


def test_neighbours_need_a_format_that_has_them(frozen_captioner: Any, toy_set: PreparedSet) -> None:
    from showtell.errors import ConfigError

    arguments = ["caption", frozen_captioner.directory, toy_set.image_path(20), "--show-neighbours"]
    found = CliRunner().invoke(app, [str(word) for word in arguments])
    assert isinstance(found.exception, ConfigError)
    assert "--show-neighbours cannot be used: found format text; expected --format jsonl" in str(
        found.exception
    )


def test_neighbours_need_retrieval(frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path) -> None:
    from showtell.errors import ConfigError

    arguments = ["caption", frozen_captioner.directory, toy_set.image_path(20), "--show-neighbours"]
    arguments += ["-o", tmp_path / "rows.jsonl"]
    found = CliRunner().invoke(app, [str(word) for word in arguments])
    assert isinstance(found.exception, ConfigError)
    assert "--show-neighbours cannot be used: found retrieval 'off'" in str(found.exception)
    assert not (tmp_path / "rows.jsonl").exists()
