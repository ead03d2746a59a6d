"""METEOR: the digits of pycocoevalcap's own class, and errors that name what is missing or broken."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from showtell.errors import MissingExtraError, ScoreError
from showtell.metrics import Scorer, evaluate, meteor, tokenize
from showtell.metrics.meteor import Meteor, find_program, meteor_scores

GOLDEN = Path(__file__).parent / "golden" / "scores.json"
REFERENCES = {"1": ["a dog runs", "the dog is running"], "2": ["a red bus", "a bus"]}
CANDIDATES = {"1": "a dog runs fast", "2": "a truck"}

# Answers as METEOR's program does: one exact match of a content word, and the words of the last caption.
SHAM = """#!/usr/bin/env python3
import sys
for line in sys.stdin.buffer:
    kind, *parts = line.decode().rstrip("\\n").split(" ||| ")
    print(len(parts[-1].split()), "2 0 0 1 1", "0 " * 14, "1 1 1", flush=True)
"""


def sham_score(words: int) -> float:
    """METEOR of so many content words, one of which matches one of two, in one chunk."""
    return (1 - 0.6) / (0.15 * words + 0.85 * 2)


@pytest.fixture
def sham_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called java, first on the PATH, and a package with METEOR's jar."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    write_program(java, SHAM)
    package = tmp_path / "packages" / "pycocoevalcap"
    (package / "meteor").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "meteor" / "meteor-1.5.jar").touch()
    monkeypatch.setenv("PATH", str(java.parent), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(package.parent))
    return java


def write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_meteor_stands_behind_bleu_and_in_the_signature(sham_java: Path) -> None:
    with Meteor() as meteor:
        scores = Scorer(REFERENCES, meteor=meteor).score(CANDIDATES)
    plain = evaluate(REFERENCES, CANDIDATES)
    assert list(scores.values) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D"]
    assert "metrics:bleu4+meteor-1.5+rouge-l+cider-d" in scores.signature
    assert [scores.per_image[key]["METEOR"] for key in REFERENCES] == pytest.approx(
        [sham_score(4), sham_score(2)]
    )
    # Two matches in two chunks, of 6 and of 4 words.
    assert scores.values["METEOR"] == pytest.approx((1 - 0.6) / (0.15 * 3 + 0.85 * 2))
    assert {name: scores.values[name] for name in plain.values} == plain.values


def test_separators_and_line_breaks_in_captions_shift_nothing(sham_java: Path) -> None:
    with Meteor() as meteor:
        counts = meteor.counts(
            [[["a", "|||", "dog"]], [["b\r\nc"]]], [["x", "|||", "y"], ["one\ntwo", "three"]]
        )
    assert counts[0].tolist() == [2, 3]


def test_the_program_is_started_once_and_ends_with_the_block(
    sham_java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(
        sham_java,
        SHAM.replace("import sys\n", f"import sys\nopen({str(tmp_path / 'starts')!r}, 'a').write('x')\n"),
    )
    with Meteor() as meteor:
        assert not (tmp_path / "starts").exists()
        meteor.start()
        scorer = Scorer(REFERENCES, meteor=meteor)
        assert scorer.score(CANDIDATES) == scorer.score(CANDIDATES)
        process = meteor._process
        assert process is not None
        assert process.poll() is None
    assert process.poll() is not None
    assert (tmp_path / "starts").read_text() == "x"


def test_a_program_that_dies_is_told_by_its_own_words(sham_java: Path) -> None:
    write_program(
        sham_java, "#!/bin/sh\necho 'Error: Could not reserve enough space for object heap' >&2\nexit 1\n"
    )
    with (
        pytest.raises(ScoreError, match=r"METEOR's program does not work: found Error: Could not reserve"),
        Meteor() as meteor,
    ):
        meteor.start()


def test_a_program_that_is_silent_is_ended(sham_java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(sham_java, "#!/bin/sh\necho 'a warning' >&2\nexec sleep 600\n")
    monkeypatch.setattr(meteor, "ANSWER_SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(ScoreError, match="does not work: found no answer in 1 seconds"):
        Meteor().start()
    assert time.monotonic() - started < 60


def test_an_answer_that_is_no_number_is_told(sham_java: Path) -> None:
    write_program(sham_java, SHAM.replace('"1 1 1"', "'1 1 0,5'"))
    with (
        Meteor() as meteor,
        pytest.raises(ScoreError, match=r"found the answer '2 2 .* in place of 23 counts"),
    ):
        meteor.counts([[["a"]]], [["a"]])


def test_sums_of_counts_are_those_of_the_program(tmp_path: Path) -> None:
    """Answers of METEOR 1.5 to the captions of golden/scores.json, with its score of each and of the corpus."""
    answers = json.loads(GOLDEN.with_name("meteor.json").read_text(encoding="utf-8"))
    counts = np.array(answers["counts"]).T
    equal = (counts[20] == 1) & (counts[0] == counts[21]) & (counts[1] == counts[22])
    assert equal.any()
    counts[20, equal] = 0
    assert meteor_scores(counts) == pytest.approx(answers["per_image"], abs=1e-15)
    assert meteor_scores(counts.sum(axis=1, keepdims=True))[0] == pytest.approx(answers["corpus"], abs=1e-15)


def test_missing_java_and_missing_package_are_named(
    sham_java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_program() == (
        str(sham_java),
        tmp_path / "packages" / "pycocoevalcap" / "meteor" / "meteor-1.5.jar",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScoreError, match=r"found no java on the PATH\. Install Java 8 or newer"):
        Meteor()
    (tmp_path / "packages" / "pycocoevalcap" / "meteor" / "meteor-1.5.jar").unlink()
    with pytest.raises(
        MissingExtraError, match=r"a pycocoevalcap without meteor-1\.5\.jar.*install -e '\.\[meteor\]'"
    ):
        Meteor()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"no package pycocoevalcap.*pip install -e '\.\[meteor\]'"):
        Meteor()


@pytest.mark.java
def test_scores_equal_those_of_pycocoevalcap(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("pycocoevalcap.meteor.meteor")
    if not shutil.which("java"):
        pytest.skip("no java")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    # Theirs reads bytes in the locale's encoding, ours in UTF-8.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8")
    # It takes three bars for the end of a reference.
    references = {
        key: [text.replace("|||", " ") for text in texts] for key, texts in golden["references"].items()
    }
    candidates = golden["candidates"]
    reference = theirs.Meteor()
    wanted, pictures = reference.compute_score(
        {key: [" ".join(one) for one in tokenize(texts)] for key, texts in references.items()},
        {key: [" ".join(tokenize([text])[0])] for key, text in candidates.items()},
    )
    reference.meteor_p.stderr.close()
    reference.meteor_p.stdout.close()
    with Meteor() as meteor:
        scores = Scorer(references, meteor=meteor).score(candidates)
    assert scores.values["METEOR"] == pytest.approx(wanted, abs=1e-12)
    assert [row["METEOR"] for row in scores.per_image.values()] == pytest.approx(pictures, abs=1e-12)
    assert 0.1 < wanted < 1


@pytest.mark.java
def test_a_locale_with_a_decimal_comma_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocoevalcap")
    if not shutil.which("java"):
        pytest.skip("no java")
    with Meteor() as meteor:
        plain = meteor.counts([[["un", "café"]]], [["un", "café"]])
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Dfile.encoding=US-ASCII")
    monkeypatch.setenv("LC_ALL", "C")
    with Meteor() as meteor:
        assert (meteor.counts([[["un", "café"]]], [["un", "café"]]) == plain).all()
