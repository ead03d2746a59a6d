"""A run's directory: what may change between two starts, and what makes it another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.errors import ConfigError
from showtell.recipes.schema import Recipe, parse_recipe
from showtell.training.run import open_run

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
        ({"encoder": {"name": "resnet50", "weights": "b2"}}, r"encoder\.weights was a1, is b2"),
        ({"encoder": {"name": "resnet18", "weights": "a1"}}, r"encoder\.name was resnet50, is resnet18"),
        ({"data": {"fingerprint": "d2"}}, r"data\.fingerprint was d1, is d2"),
    ],
)
def test_other_weights_or_data_make_another_run(
    toy_recipe: Recipe, tmp_path: Path, origin: dict[str, dict[str, str]], words: str
) -> None:
    open_run(tmp_path / "run", toy_recipe, ORIGIN, restart=False)
    with pytest.raises(ConfigError, match=rf"holds another run: found {words}\. .*--restart"):
        open_run(tmp_path / "run", toy_recipe, ORIGIN | origin, restart=False)
