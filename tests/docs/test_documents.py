"""README's form, links that lead somewhere, and pages that are made from something else."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from tests.docs import markdown

from showtell.config import recipe_reference

ROOT = markdown.ROOT
README = ROOT / "README.md"
MOST_LINES = 150
DOCUMENTS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in markdown.documents()]


def _script(name: str) -> ModuleType:
    spec = spec_from_file_location(f"docs_{name}", ROOT / "docs" / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_readme_says_in_its_first_sentence_what_this_is() -> None:
    first = README.read_text(encoding="utf-8").split("\n\n")[1].split(":")[0]
    assert "image captioning" in first.lower()
    assert "PyTorch" in first


def test_readme_shows_a_caption_the_results_and_the_speed() -> None:
    text = README.read_text(encoding="utf-8")
    assert {"docs/images/motorcycle-attention.jpg", "docs/images/speed-light.svg"} <= set(
        markdown.links(README)
    )
    assert "showtell:" in text
    assert "95 %" in text
    assert "| human" in text
    (block,) = (block for block in markdown.blocks(README) if block.info == "python")
    assert len(block.body.splitlines()) <= 6


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: Path) -> None:
    for target in markdown.links(path):
        place, _, anchor = target.partition("#")
        reached = (path.parent / place).resolve() if place else path
        assert reached.exists(), f"{path.relative_to(ROOT)}: {target}"
        if anchor:
            assert anchor in markdown.anchors(reached), f"{path.relative_to(ROOT)}: {target}"


def test_every_page_of_docs_is_in_the_table_of_contents() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w-]+)$", text, re.M))
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= listed


def test_recipe_keys_are_current() -> None:
    found = (ROOT / "docs" / "recipe-keys.md").read_text(encoding="utf-8")
    again = "python -m showtell.config.recipe_reference > docs/recipe-keys.md"
    assert found == recipe_reference.to_markdown(), f"stale; run {again}"


def test_every_recipe_key_is_described() -> None:
    bare = [
        key.name
        for section in recipe_reference.sections()
        for key in section.keys
        if not key.description and not key.name.endswith(".name")
    ]
    assert not bare


def test_the_reference_names_every_kind_of_key() -> None:
    text = recipe_reference.to_text()
    assert "optimizer.lr  (float, > 0, ≤ 1, default" in text
    assert "decoder with name: transformer" in text
    assert "objective.N.samples" in text


@pytest.mark.parametrize("name", ["speed_chart", "drawings"])
def test_drawings_are_current(name: str) -> None:
    for path, content in _script(name).files().items():
        assert path.read_text(encoding="utf-8") == content, f"stale; run python docs/scripts/{name}.py"


def test_the_drawing_of_the_packages_has_all_of_them() -> None:
    drawn = {name for row in _script("drawings").layers() for name in row}
    package = ROOT / "src" / "showtell"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms <= drawn
    assert drawn <= rooms | {path.stem for path in package.glob("*.py")}


@pytest.mark.parametrize("room", ["data", "encoders", "images", "inference", "metrics", "system", "training"])
def test_the_docstring_of_a_large_package_describes_each_of_its_files(room: str) -> None:
    package = ROOT / "src" / "showtell" / room
    named = set(re.findall(r"`(\w+)`", (package / "__init__.py").read_text(encoding="utf-8")))
    assert {path.stem for path in package.glob("[!_]*.py")} <= named


def test_the_drawing_of_an_image_names_files_that_exist() -> None:
    script = _script("drawings")
    for _, _, place in (*script.STAGES, *script.TRAINING):
        assert (ROOT / "src" / "showtell" / place).exists(), place


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="needs the extra docs")
def test_the_site_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(ROOT / "docs"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    loaded = re.compile(
        r"<(?:script|img|iframe|source)[^>]+(?:src|srcset)=.?(?:https?:)?//|<link[^>]+href=.?(?:https?:)?//[^>]+stylesheet"
        r"|<link[^>]+stylesheet[^>]+href=.?(?:https?:)?//|@import[^;]*https?://|url\(.?https?://"
    )
    pages = [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]
    assert len(pages) > 20
    for path in pages:
        found = loaded.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(tmp_path)}: {found and found[0]}"


def test_the_costs_of_many_images_are_current() -> None:
    table = _script("bulk_costs").table()
    assert table in (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8"), "run docs/scripts/bulk_costs.py"
