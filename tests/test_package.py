"""What needs no torch runs without it, and no command loads it before it must."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WITHOUT_TORCH = [
    "showtell",
    "showtell.errors",
    "showtell.system.atomic",
    "showtell.system.console",
    "showtell.config.generation",
    "showtell.images.load",
    "showtell.images.preprocess",
    "showtell.data.prepared",
    "showtell.data.scenes",
    "showtell.data.sources",
    "showtell.inference.backend",
    "showtell.inference.captioner",
    "showtell.inference.onnx_files",
    "showtell.inference.onnx_config",
    "showtell.export.evaluate",
    "showtell.inference.onnx_backend",
    "showtell.inference.onnx_sessions",
    "showtell.config.decoders",
    "showtell.config.encoder",
    "showtell.config.recipe",
    "showtell.report",
    "showtell.inspection.checks",
    "showtell.inspection.fix",
    "showtell.inspection.page",
    "showtell.metrics",
    "showtell.generation",
    "showtell.tokenizer",
    "showtell.cli.caption_fast",
    "showtell.cli.entry",
    "showtell.cli.main",
]

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

BLOCK = "import sys; sys.modules['torch'] = None; "


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_what_needs_no_torch_imports_where_there_is_none() -> None:
    code = BLOCK + "; ".join(f"import {name}" for name in WITHOUT_TORCH)
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.thorough
def test_scoring_runs_where_there_is_no_torch() -> None:
    code = BLOCK + (
        "from showtell.metrics import evaluate; "
        "print(evaluate({'a': ['a red dog runs fast'], 'b': ['two cats sit here']}, "
        "{'a': 'a red dog runs fast', 'b': 'two cats sit here'}).values['BLEU-4'])"
    )
    result = run(code)
    assert float(result.stdout) == pytest.approx(1.0, abs=1e-6), result.stderr


@pytest.mark.thorough
def test_no_help_loads_torch() -> None:
    code = (
        "import sys\n"
        "from showtell.cli.main import VERBS, main\n"
        "for verb in ([], *([name] for name in VERBS)):\n"
        "    sys.argv = ['showtell', *verb, '--help']\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        assert not end.code, verb\n"
        "    assert 'torch' not in sys.modules, verb\n"
        "print(len(VERBS))"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Usage") == int(result.stdout.split()[-1]) + 1


def test_a_verb_that_needs_torch_says_which_extra_brings_it() -> None:
    code = (
        BLOCK
        + "sys.argv = ['showtell', 'train', 'flickr8k-attention', '--data', 'x', '-o', 'y']; "
        + ("from showtell.cli.main import main; main()")
    )
    result = run(code)
    assert result.returncode == 1
    assert "pip install -e '.[train]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_public_names_are_imported_on_first_use() -> None:
    code = (
        "import sys, showtell\n"
        "early = {name for name in sys.modules if name.startswith('showtell.')}\n"
        "assert not early, early\n"
        "assert set(showtell.__all__) <= set(dir(showtell))\n"
        "light = set(showtell.__all__) - {'train'}\n"
        "assert all(getattr(showtell, name) is not None for name in light)\n"
        "assert 'torch' not in sys.modules\n"
        "assert all(getattr(showtell, name).__doc__ for name in light - {'__version__'})\n"
        "assert 'attention' in showtell.list_decoders() and 'demo' in showtell.list_recipes()\n"
        "try:\n    showtell.nothing\nexcept AttributeError as error:\n    print(error)\n"
    )
    result = run(code)
    assert result.stdout.strip() == "module 'showtell' has no attribute 'nothing'", result.stderr


@pytest.mark.parametrize(
    ("set_by_user", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_give_their_core_away_unless_told_otherwise(
    set_by_user: dict[str, str], expected: str
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in WAITING}
    code = "import showtell, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=inherited | set_by_user, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected, "False"]


def test_list_decoders_are_those_of_the_registry() -> None:
    import showtell
    from showtell.decoders.registry import DECODERS

    assert showtell.list_decoders() == list(DECODERS)
    assert callable(showtell.train)
