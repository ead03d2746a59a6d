"""``showtell caption``: options, exit codes, what goes where."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from showtell.inference.captioner import Captioner

Write = Callable[[Path, Iterable[str]], None]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def caption(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tiny_checkpoint: Callable[[str], Path],
) -> Run:
    """Run ``showtell caption`` with a tiny checkpoint; return exit code, stdout and stderr."""
    from showtell.cli.main import main

    def run(*arguments: object, decoder: str = "attention") -> tuple[int, str, str]:
        words = ["showtell", "caption", tiny_checkpoint(decoder), "--device", "cpu", *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ending:
            main()
        captured = capfd.readouterr()
        return int(ending.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def pictures(tmp_path: Path, write_images: Write) -> Path:
    write_images(tmp_path / "in", ["a.png", "b.png", "c.png"])
    return tmp_path / "in"


def test_each_picture_is_a_line_of_standard_output(
    caption: Run, pictures: Path, tiny_checkpoint: Callable[[str], Path]
) -> None:
    code, out, err = caption(pictures / "b.png", pictures, "--beam-size", 2)
    assert (code, len(err.splitlines())) == (0, 1)
    lines = [line.split("\t") for line in out.splitlines()]
    assert [Path(path).name for path, _ in lines] == ["b.png", "a.png", "b.png", "c.png"]
    expected = Captioner.load(tiny_checkpoint("attention"), device="cpu").caption(
        [pictures / "a.png"], beam_size=2
    )
    assert lines[1][1] == expected[0].text


def test_some_failed_is_exit_code_3_and_told_on_stderr(caption: Run, pictures: Path) -> None:
    for number in range(12):
        (pictures / f"bad{number}.png").write_bytes(b"")
    code, out, err = caption(pictures)
    assert code == 3
    assert len(out.splitlines()) == 15
    assert "3 captioned, 12 not:" in err
    assert err.count("found an empty file") == 10
    assert "and 2 more" in err
    assert "12 of one kind: an empty file" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "json"], "--format json cannot be used. Did you mean 'jsonl'?"),
        (["--greedy", "--beam-size", "3"], "conflicting decoding options: found beam and greedy"),
        (["--sample", "--beam-size", "3"], "conflicting decoding options: found beam and sample"),
        (["--greedy", "--top-k", "3"], "conflicting decoding options: found greedy and sample"),
        (["--beam-size", "0"], "'beam_size': Input should be greater than or equal to 1"),
        (["--batch-size", "0"], "batch_size is out of range"),
        (["--min-tokens", "9"], "'min_tokens': more than max_tokens, 8"),
    ],
)
def test_misuse_is_exit_code_2(caption: Run, pictures: Path, options: list[str], words: str) -> None:
    code, out, err = caption(pictures, *options)
    assert (code, out) == (2, "")
    assert words in err


def test_attention_of_a_decoder_without_it_is_misuse(caption: Run, pictures: Path, tmp_path: Path) -> None:
    code, _, err = caption(pictures, "--attention", tmp_path / "maps", decoder="lstm")
    assert code == 2
    assert "a decoder that does not attend to regions" in err


def test_what_is_not_there_is_exit_code_1(caption: Run, tmp_path: Path) -> None:
    code, _, err = caption(tmp_path)
    assert code == 1
    assert "nothing to caption" in err


@pytest.mark.thorough
def test_all_beams_samples_and_forms(caption: Run, pictures: Path, tmp_path: Path) -> None:
    code, out, _ = caption(pictures / "a.png", "--all-hypotheses", "--beam-size", 4, "--format", "jsonl")
    assert code == 0
    assert len(json.loads(out)["alternatives"]) == 4
    _, out, _ = caption(
        pictures / "a.png", "--all-hypotheses", "--samples", 3, "--seed", 1, "--format", "csv"
    )
    assert [line.split(",")[1] for line in out.splitlines()] == ["rank", "1", "2", "3"]
    again = caption(pictures / "a.png", "--all-hypotheses", "--samples", 3, "--seed", 1, "--format", "csv")[1]
    assert again == out
    code, out, _ = caption(pictures, "-o", tmp_path / "out.txt", "--greedy", "--max-tokens", 3)
    assert (code, out) == (0, "")
    written = [line.split("\t")[1] for line in (tmp_path / "out.txt").read_text().splitlines()]
    assert len(written) == 3
    assert all(len(text.split()) <= 3 for text in written)


def test_the_suffix_of_the_output_decides_the_form(caption: Run, pictures: Path, tmp_path: Path) -> None:
    first = {
        "out.csv": "path,caption,score,error,confidence",
        "out.jsonl": "{",
        "out.tsv": str(pictures),
        "out": str(pictures),
    }
    for name, beginning in first.items():
        assert caption(pictures, "-o", tmp_path / name)[0] == 0
        assert (tmp_path / name).read_text().startswith(beginning)
    assert caption(pictures, "-o", tmp_path / "odd.dat", "--format", "jsonl")[0] == 0
    assert (tmp_path / "odd.dat").read_text().startswith("{")
    code, _, err = caption(pictures, "-o", tmp_path / "out.xlsx")
    assert code == 2
    assert "found the suffix '.xlsx'; expected .csv, .jsonl, .txt, .tsv" in " ".join(err.split())
    assert not (tmp_path / "out.xlsx").exists()


def test_samples_are_all_written(caption: Run, pictures: Path) -> None:
    for options in (["--sample", "--samples", 3], ["--samples", 3]):
        code, out, _ = caption(pictures / "a.png", *options)
        assert (code, len(out.splitlines())) == (0, 3)


def test_a_captioner_after_the_images_is_recognized(
    pictures: Path, tiny_checkpoint: Callable[[str], Path]
) -> None:
    start = "from showtell.cli.entry import main; main()"
    words = ["caption", str(pictures / "a.png"), str(tiny_checkpoint("lstm"))]
    run = subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "a.png is not a captioner: found a file. The captioner goes first" in " ".join(run.stderr.split())


def test_attention_is_drawn(caption: Run, pictures: Path, tmp_path: Path) -> None:
    assert caption(pictures, "--attention", tmp_path / "maps")[0] == 0
    drawn = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert drawn == [f"{name}.attention.png" for name in "abc"]


@pytest.mark.thorough
def test_a_reader_that_leaves_early_is_no_error(
    pictures: Path, tiny_checkpoint: Callable[[str], Path]
) -> None:
    script = "from showtell.cli.main import main; main()"
    command = [sys.executable, "-c", script, "caption", str(tiny_checkpoint("lstm")), *[str(pictures)] * 3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read().decode().splitlines()[1:] == []
        assert run.wait() == 1


@pytest.mark.thorough
def test_help_needs_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['showtell', 'caption', '--help']\n"
        "from showtell.cli.main import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for option in ("--beam-size", "--attention", "--recursive", "--encoder-weights", "─ A file per image ─"):
        assert option in run.stdout


@pytest.mark.thorough
def test_captioning_without_torch_names_the_extra(pictures: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['showtell', 'caption', 'none', sys.argv[1]]\n"
        "from showtell.cli.main import main; main()"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(pictures)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "torch is not available" in run.stderr
    assert "pip install -e '.[train]'" in run.stderr


def test_what_it_runs_on_is_said(caption: Run, pictures: Path) -> None:
    code, _, stderr = caption(pictures, "--threads", 1, "--device", "cpu")
    assert code == 0
    assert re.search(r": cpu, (float32|bfloat16), 1 threads$", stderr.splitlines()[0])


def test_sidecars_and_their_options(caption: Run, pictures: Path, tmp_path: Path) -> None:
    code, out, err = caption(pictures, "--sidecar", ".caption", "--prefix", "ohwx ", "--suffix", ".")
    assert (code, out) == (0, "")
    texts = [path.read_text() for path in sorted(pictures.glob("*.caption"))]
    assert len(texts) == 3
    assert all(text.startswith("ohwx ") and text.endswith(".") for text in texts)
    _, _, err = caption(pictures, "--sidecar", ".caption")
    assert "3 images have a description already; 0 are to be captioned" in err
    caption(pictures, "--sidecar", ".caption", "--overwrite", "--greedy")
    assert not (pictures / "a.caption").read_text().startswith("ohwx ")
    caption(pictures, "--xmp", "--sidecar-dir", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.png.xmp",
        "b.png.xmp",
        "c.png.xmp",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sidecar", ".txt", "-o", "out"], "--sidecar .txt cannot be used: found -o too"),
        (["--sidecar", ".txt", "--xmp"], "--sidecar .txt cannot be used: found --xmp too"),
        (["--sidecar", ".txt", "--format", "csv"], "--sidecar .txt cannot be used: found --format too"),
        (["--sidecar", ".png"], "--sidecar .png cannot be used: found a suffix of other files"),
        (["--sidecar-dir", "out"], "are for side-cars. Add --sidecar .txt"),
        (["--on-existing", "append"], "are for side-cars. Add --sidecar .txt"),
        (["--xmp", "--overwrite", "--on-existing", "append"], "found --overwrite and --on-existing append"),
        (["--prefix", "a\nb"], "--prefix and --suffix are one line of text"),
    ],
)
def test_options_of_sidecars_that_cannot_be_used(
    caption: Run, pictures: Path, options: list[str], words: str
) -> None:
    code, out, err = caption(pictures, *options)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())


def test_a_dry_run_needs_no_captioner(pictures: Path) -> None:
    (pictures / "d.jpg").write_bytes((pictures / "a.png").read_bytes())
    (pictures / "d.png").touch()
    start = "import sys; sys.modules['torch'] = None; from showtell.cli.entry import main; main()"
    words = ["caption", "none/here", str(pictures), "--sidecar", ".txt", "--dry-run"]
    run = subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True, check=False)
    assert [line.split("\t")[0] for line in run.stdout.splitlines()] == ["caption"] * 3 + ["fail"] * 2
    assert "3 could be captioned, 2 not:" in run.stderr
    assert run.returncode == 3
    assert {path.suffix for path in pictures.iterdir()} == {".png", ".jpg"}


def test_sources_are_files_in_lists_and_addresses(caption: Run, pictures: Path) -> None:
    names = sorted(map(str, pictures.iterdir()))
    pytest.importorskip("fsspec")
    listed = pictures.parent / "list.txt"
    listed.write_text("\n".join(names), encoding="utf-8")
    by_list = caption("--filelist", listed, "--greedy")
    assert [line.partition("\t")[0] for line in by_list[1].splitlines()] == names
    for options in ([], ["--greedy"]):
        address = f"file://{names[0]}"
        code, out, _ = caption(address, *options)
        assert (code, out.partition("\t")[0]) == (0, address)
    code, _, err = caption("--greedy")
    assert (code, "there is nothing to caption. Name images, or a list of them" in err) == (2, True)
