"""A ``config.json`` that anyone may have written: loaded, or refused in one line, in bounded time and memory."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.errors import CheckpointError, ShowtellError
from showtell.inference.onnx_files import is_export
from showtell.system.atomic import sha256_file, write_summed_json

DELETED = object()


@pytest.fixture
def directory(tiny_checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    return shutil.copytree(tiny_checkpoint("attention"), tmp_path / "copy")


def rewrite(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    write_summed_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[" * 200_000, "more than 64 levels"),
        ('{"kind":' * 200_000, "more than 64 levels"),
        ('{"kind": ' + "9" * 5_000 + "}", "a whole number of 5,000 digits"),
        ('{"kind": 1, "kind": 2}', "the key 'kind' twice"),
        ('{"kind": NaN}', "the number NaN"),
        ("[]", "list indices"),
        ("7", "not subscriptable"),
    ],
)
def test_odd_json_is_a_broken_configuration(directory: Path, text: str, found: str) -> None:
    (directory / "config.json").write_text(text, encoding="utf-8")
    assert not is_export(directory)
    with pytest.raises(CheckpointError, match=rf"is not a checkpoint: found a broken config\.json.*{found}"):
        load_checkpoint(directory)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "decoder.safetensors"])
def test_what_is_no_file_is_not_read(directory: Path, make: Callable[[Path], None], name: str) -> None:
    (directory / name).unlink()
    make(directory / name)
    assert not is_export(directory)
    with pytest.raises(CheckpointError, match=r"not a file|no such file"):
        load_checkpoint(directory)


@pytest.mark.parametrize(
    "claim",
    [
        {
            "decoder": {
                "name": "attention",
                "embedding": 8192,
                "hidden": 8192,
                "attention": 8,
                "region_dim": 8,
            }
        },
        {"vocabulary": 499_999},
    ],
)
def test_claimed_sizes_are_compared_before_memory_is_taken(directory: Path, claim: dict[str, Any]) -> None:
    rewrite(directory, **claim)
    with pytest.raises(CheckpointError, match="does not fit the decoder"):
        load_checkpoint(directory)


@pytest.mark.thorough
def test_a_tokenizer_of_a_million_words_is_refused_before_its_tables_are_built(directory: Path) -> None:
    path = directory / "tokenizer.json"
    parts = json.loads(path.read_text(encoding="utf-8"))
    parts["model"]["vocab"] = {f"word{number}": number for number in range(1_000_000)}
    path.write_text(json.dumps(parts), encoding="utf-8")
    files = json.loads((directory / "config.json").read_text(encoding="utf-8"))["files"]
    rewrite(directory, files={**files, "tokenizer.json": sha256_file(path)})
    with pytest.raises(
        CheckpointError, match=r"does not fit the decoder: found 1,000,000 tokens; expected \d+"
    ):
        load_checkpoint(directory)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in (
        value if isinstance(value, dict) else range(min(1, len(value))) if isinstance(value, list) else ()
    ):
        yield (*path, key)
        yield from paths(value[key], (*path, key))


@pytest.mark.parametrize(
    "value",
    [
        None,
        pytest.param(DELETED, id="deleted"),
        *(
            pytest.param(value, marks=pytest.mark.thorough)
            for value in (-1, 1e300, "x", ["x"], {"x": 1}, 2**63)
        ),
    ],
    ids=repr,
)
def test_a_value_of_another_kind_is_loaded_or_refused(directory: Path, value: Any) -> None:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    refused = 0
    for path in paths(config):
        changed = copy.deepcopy(config)
        node = changed
        for key in path[:-1]:
            node = node[key]
        if value is DELETED:
            del node[path[-1]]
        else:
            node[path[-1]] = value
        write_summed_json(directory / "config.json", changed)
        try:
            load_checkpoint(directory)
        except ShowtellError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize(
    ("old", "new"), [('"beam_size": 3', '"beam_size": 2'), ('"max_tokens": 8', '"max_tokens": 9')]
)
def test_a_changed_decoding_default_is_refused_with_the_way_to_change_it(
    directory: Path, old: str, new: str
) -> None:
    path = directory / "config.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"other values than were written.*showtell bundle DIR -o NEW --beam-size"
    ):
        load_checkpoint(directory)
    # As an earlier version wrote it.
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["sha256_of_values"]
    path.write_text(json.dumps(values), encoding="utf-8")
    load_checkpoint(directory)
