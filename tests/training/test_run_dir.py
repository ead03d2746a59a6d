"""A run's directory: what may change between two starts, and what makes it another run."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from showtell.config.recipe import Recipe, parse_recipe
from showtell.errors import ConfigError, DataError
from showtell.training import run_dir as run_module
from showtell.training.run_dir import differences, open_run

ORIGIN = {"data": {"fingerprint": "d1"}, "encoder": {"name": "resnet50", "weights": "a1"}}


def changed(recipe: Recipe, **sections: dict[str, object]) -> Recipe:
    values = recipe.model_dump(mode="json")
    for name, keys in sections.items():
        values[name] |= keys
    return parse_recipe(values, "the changed recipe")


def test_a_run_may_find_the_same_weights_elsewhere_and_save_at_other_times(
    toy_recipe: Recipe, tmp_path: Path
) -> None:
    open_run(tmp_path / "run", toy_recipe, ORIGIN, restart=False)
    other = changed(
        toy_recipe,
        encoder={"weights": "elsewhere.safetensors"},
        training={"save_steps": 7, "trackers": ["tensorboard"]},
    )
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    open_run(tmp_path / "run", other, ORIGIN, restart=False)
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ({"encoder": {"name": "resnet50", "weights": "b2"}}, r"encoder\.weights: a1 → b2"),
        ({"encoder": {"name": "resnet18", "weights": "a1"}}, r"encoder\.name: resnet50 → resnet18"),
        ({"data": {"fingerprint": "d2"}}, r"data\.fingerprint: d1 → d2"),
    ],
)
def test_other_weights_or_data_make_another_run(
    toy_recipe: Recipe, tmp_path: Path, origin: dict[str, dict[str, str]], words: str
) -> None:
    open_run(tmp_path / "run", toy_recipe, ORIGIN, restart=False)
    with pytest.raises(ConfigError, match=rf"holds another run: found {words}\. .*--restart"):
        open_run(tmp_path / "run", toy_recipe, ORIGIN | origin, restart=False)


def test_a_run_that_is_started_over_stays_whole_if_the_new_one_cannot_begin(
    toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run(tmp_path / "run", toy_recipe, ORIGIN, restart=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_module, "write_manifest", full)
    with pytest.raises(DataError, match="No space left on device"):
        open_run(tmp_path / "run", toy_recipe, ORIGIN, restart=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_differences_name_the_keys_and_no_whole_sections() -> None:
    old = {"recipe": {"objective": [{"name": "a", "epochs": 2}], "decoder": {"name": "lstm", "layers": 1}}}
    new = {
        "recipe": {
            "objective": [{"name": "a", "epochs": 5}, {"name": "b", "lr": 1}],
            "decoder": {"name": "attention", "attention": 8},
        },
        "teachers": ["0123456789abcdef" * 4],
    }
    assert differences(old, new) == [
        "recipe.objective.0.epochs: 2 → 5",
        "recipe.objective.1: none → b",
        "recipe.decoder.name: lstm → attention",
        'teachers: none → ["0123456789…',
    ]
