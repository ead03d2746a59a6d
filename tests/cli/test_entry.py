"""The command imports only what it needs, and prints the same with and without options."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from showtell.cli.entry import needs_no_parsing
from showtell.export.onnx import Exported

NOT_NEEDED = ("typer", "rich", "huggingface_hub", "pyarrow", "torch", "onnx", "PIL.WebPImagePlugin")


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def pictures(tmp_path: Path, tiny_jpeg: Callable[[str], bytes]) -> list[Path]:
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in paths:
        path.write_bytes(tiny_jpeg(path.name))
    return paths


@pytest.mark.parametrize(
    ("words", "nothing"),
    [
        (["caption", "run", "a.jpg"], True),
        (["caption", "run", "a.jpg", "folder"], True),
        (["caption", "run", "a.jpg", "--greedy"], False),
        (["caption", "-r", "run", "a.jpg"], False),
        (["caption", "run"], False),
        (["caption"], False),
        (["--debug", "caption", "run", "a.jpg"], False),
        (["evaluate", "run", "a.jpg"], False),
        ([], False),
    ],
)
def test_only_captioning_without_an_option_needs_no_parsing(words: list[str], nothing: bool) -> None:
    assert needs_no_parsing(words) is nothing


@pytest.mark.thorough
def test_without_options_an_export_prints_the_same_and_imports_only_what_it_needs(
    exported: Exported, pictures: list[Path]
) -> None:
    plain = run(
        "import sys\nfrom showtell.cli.entry import main\n"
        "try:\n    main()\n"
        f"finally:\n    print(sorted(set({NOT_NEEDED}) & set(sys.modules)), file=sys.stderr)",
        *("caption", exported.directory, *pictures),
    )
    parsed = run(
        "from showtell.cli.entry import main; main()",
        *("caption", exported.directory, *pictures, "--format", "text"),
    )
    assert (plain.returncode, parsed.returncode) == (0, 0), plain.stderr
    assert plain.stdout == parsed.stdout
    assert len(plain.stdout.splitlines()) == 2
    note, imported = plain.stderr.splitlines()
    assert note == parsed.stderr.strip()
    assert imported == "[]"


def test_graphs_begin_to_open_before_anything_else_is_imported() -> None:
    late = ("numpy", "pydantic", "PIL", "tokenizers", "onnxruntime", "concurrent.futures", "logging")
    found = run(
        "import sys, showtell.cli.entry, showtell.cli.caption_fast\n"
        "import showtell.inference.onnx_sessions, showtell.inference.backend\n"
        f"print(sorted(set({late}) & set(sys.modules)))"
    )
    assert found.stdout == "[]\n", found.stderr


@pytest.mark.thorough
def test_failures_have_their_code_and_one_line(exported: Exported, pictures: list[Path]) -> None:
    start = "from showtell.cli.entry import main; main()"
    missing = run(start, "caption", exported.directory, pictures[0], "none.jpg")
    assert missing.returncode == 3
    assert missing.stdout.splitlines()[1] == "none.jpg\t"
    assert missing.stderr.splitlines()[1:] == [
        "1 captioned, 1 not:",
        "  cannot read none.jpg: found no such file. Check the path",
    ]
    unknown = run(start, "caption", "nowhere", pictures[0])
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("error: nowhere is not a checkpoint: found no such directory")
    assert len(unknown.stderr.splitlines()) == 1
