"""Every Python block of the documents compiles and imports names that exist; the quick ones run."""

from __future__ import annotations

import ast
import importlib
import warnings

import pytest
from tests.docs import markdown

BLOCKS = [block for path in markdown.documents() for block in markdown.blocks(path) if block.info == "python"]
# These caption two examples by a captioner of the repository.
RUN = (markdown.ROOT / "README.md", markdown.ROOT / "docs" / "api.md")
QUICK = [block for block in BLOCKS if block.path in RUN and "models/" in block.body]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_compiles_and_its_imports_exist(block: markdown.Block) -> None:
    tree = ast.parse(block.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "showtell":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block.place}: showtell has no {alias.name}"


def test_there_are_blocks_that_run() -> None:
    assert len({block.path for block in QUICK}) >= 2


@pytest.mark.parametrize("block", QUICK, ids=lambda block: block.place)
def test_a_quick_block_runs(
    block: markdown.Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(markdown.ROOT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(block.body, block.place, "exec"), {"__name__": "__main__"})
    assert "yellow car" in capsys.readouterr().out or "captions" not in block.body
