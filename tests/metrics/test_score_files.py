"""COCO's files and JSON lines give the same captions; errors name the file and the line."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from showtell.errors import DataError, ScoreError
from showtell.metrics import evaluate
from showtell.metrics.score_files import read_captions, score_files

REFERENCES = {
    "1": ["a dog runs on the grass", "a brown dog"],
    "2": ["a red bus", "a bus drives"],
    "3": ["two men"],
}
CANDIDATES = {"1": "a dog runs", "2": "a red bus", "3": "two women"}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read_references(path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for key, texts in read_captions(path):
        captions.setdefault(key, []).extend(texts)
    return captions


@pytest.fixture
def references(tmp_path: Path) -> Path:
    rows = [
        {"image_id": int(key), "id": 0, "caption": text}
        for key, texts in REFERENCES.items()
        for text in texts
    ]
    images = [{"id": int(key), "file_name": f"{key}.jpg"} for key in REFERENCES]
    return write(tmp_path / "references.json", {"images": images, "annotations": rows})


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    return write(
        tmp_path / "candidates.json",
        [{"image_id": int(key), "caption": text} for key, text in CANDIDATES.items()],
    )


def test_coco_files_score_like_the_captions_in_them(references: Path, candidates: Path) -> None:
    assert read_references(references) == REFERENCES
    assert read_references(candidates) == {key: [text] for key, text in CANDIDATES.items()}
    assert score_files(references, candidates) == evaluate(REFERENCES, CANDIDATES)


@pytest.mark.parametrize("name", ["image_id", "image", "key", "path"])
def test_json_lines_score_like_coco_files(name: str, tmp_path: Path, candidates: Path) -> None:
    grouped = "\n".join(json.dumps({name: key, "captions": texts}) for key, texts in REFERENCES.items())
    single = "\n\n".join(
        json.dumps({name: key, "caption": text}) for key, texts in REFERENCES.items() for text in texts
    )
    for text in (grouped, single + "\n", "\ufeff" + grouped):
        assert score_files(write(tmp_path / "r.jsonl", text), candidates) == evaluate(REFERENCES, CANDIDATES)


def test_one_line_of_json_is_json_lines(tmp_path: Path) -> None:
    row = {"path": "a.jpg", "caption": "a dog"}
    assert list(read_captions(write(tmp_path / "c.jsonl", row))) == [("a.jpg", ["a dog"])]


def test_line_breaks_inside_a_json_string_do_not_end_a_row(tmp_path: Path) -> None:
    rows = '{"key": "1", "caption": "a\u2028dog"}\r\n{"key": "2", "caption": "a\\ncat"}\r\n'
    assert read_references(write(tmp_path / "c.jsonl", rows)) == {"1": ["a\u2028dog"], "2": ["a\ncat"]}


def test_a_subset_is_refused_unless_asked_for_and_then_signed(references: Path, tmp_path: Path) -> None:
    some = write(
        tmp_path / "some.json", [{"image_id": 2, "caption": "a bus"}, {"image_id": 1, "caption": "a dog"}]
    )
    with pytest.raises(ScoreError, match=r"1 of 3 images have no candidate \(3\).*--subset"):
        score_files(references, some)
    scores = score_files(references, some, subset=True)
    assert scores.num_images == 2
    assert "|images:2-of-3|" in scores.signature
    assert scores.values == evaluate({k: REFERENCES[k] for k in "12"}, {"1": "a dog", "2": "a bus"}).values


def test_a_subset_that_is_whole_is_signed_as_whole(references: Path, candidates: Path) -> None:
    assert score_files(references, candidates, subset=True) == score_files(references, candidates)


def test_candidates_for_unknown_images_are_refused_even_with_subset(references: Path, tmp_path: Path) -> None:
    rows = [{"image_id": key, "caption": "a dog"} for key in (1, 7, 8)]
    for subset in (False, True):
        with pytest.raises(ScoreError, match=r"2 candidates are for images without references \(7, 8\)"):
            score_files(references, write(tmp_path / "c.json", rows), subset=subset)


def test_several_candidates_for_one_image_are_all_named(references: Path, tmp_path: Path) -> None:
    rows = [{"image_id": key, "caption": "a dog"} for key in (1, 2, 2, 3, 1, 1)] + [
        {"image_id": 9, "captions": ["a", "b"]}
    ]
    with pytest.raises(ScoreError, match=r"several candidates.*found 3 such images \(1: 3, 2: 2, 9: 2\)"):
        score_files(references, write(tmp_path / "c.json", rows))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_other_encodings_and_large_ids_are_read(tmp_path: Path, encoding: str) -> None:
    rows = [{"image_id": 2**70, "caption": "a dog"}, {"image_id": "b", "caption": "eine Tür"}]
    expected = {str(2**70): ["a dog"], "b": ["eine Tür"]}
    path = tmp_path / "c.json"
    contents = (rows, {"annotations": rows}, "\n".join(map(json.dumps, rows)))
    for content in (text if isinstance(text, str) else json.dumps(text) for text in contents):
        path.write_text(content, encoding=encoding)
        assert read_references(path) == expected


def test_images_listed_without_a_caption_are_refused(tmp_path: Path, candidates: Path) -> None:
    content = {"images": [{"id": 1}, {"id": 2}], "annotations": [{"image_id": 1, "caption": "a dog"}]}
    some = write(tmp_path / "c.json", [{"image_id": key, "caption": "a dog"} for key in (1, 2)])
    with pytest.raises(ScoreError, match=r"needs a list of references: found 1 without \(2\)"):
        score_files(write(tmp_path / "r.json", content), some)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a dog runs\n", r"line 1: found 'a dog runs'.*expected COCO annotations .*Correct the file"),
        ('{"key": "1", "caption": "a"}\nnonsense', "line 2: found 'nonsense'"),
        ('[{"image_id": 1, "caption": "a"}, {"caption": "b"}]', "entry 1: found .*which names no image"),
        ('{"annotations": [{"image_id": 1}]}', r"annotations\[0\]: found \[None\] in place of a caption"),
        ('{"key": "1", "caption": 5}', r"line 1: found \[5\] in place of a caption"),
        (
            '{"path": "a.jpg", "caption": null, "error": "cut short"}',
            "line 1: found the error 'cut short' in place",
        ),
        ("[1, 2]", "entry 0: found '1', which names no image"),
        ('[{"image_id": 1.5, "caption": "a"}]', "entry 0: found .*1.5.* which names no image"),
        ('{"captions": {}}', "line 1: found .*which names no image"),
        ("5", "line 1: found '5', which names no image"),
        ('{"annotations": [', r"after images\[0\]: found no JSON"),
        ('[{"image_id": 1, "caption": "a"}, {"image', r"after entry 0: found no JSON"),
        ('{"key": "1", "caption": "a"', 'line 1: found \'{"key".*delimiter'),
    ],
)
def test_a_file_that_is_neither_is_refused_with_its_line(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", content)
    with pytest.raises(DataError, match=message) as caught:
        read_references(path)
    assert str(path) in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none.json: found No such file"):
        read_references(tmp_path / "none.json")
    with pytest.raises(DataError, match="Is a directory"):
        read_references(tmp_path)
    (tmp_path / "latin.json").write_bytes('{"key": "1", "caption": "café"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"byte 0xE9 at position 28; expected UTF-8. Save the file as UTF-8"):
        read_references(tmp_path / "latin.json")


def test_an_empty_file_has_nothing_to_score(tmp_path: Path, candidates: Path) -> None:
    with pytest.raises(ScoreError, match="no references"):
        score_files(write(tmp_path / "r.jsonl", ""), write(tmp_path / "c.json", []))


@pytest.mark.parametrize(("images", "where"), [([None], "images\\[0\\]"), ([{"id": 1}, 7], "images\\[1\\]")])
def test_images_that_are_no_objects_are_named(tmp_path: Path, images: object, where: str) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps({"images": images, "annotations": []}))
    with pytest.raises(DataError, match=rf"annotations\.json, {where}: found"):
        read_references(file)


def test_predictions_of_an_evaluation_are_candidates(tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    file.write_text('{"key": "a.jpg", "candidate": "a dog", "references": ["a dog runs"]}\n')
    assert list(read_captions(file)) == [("a.jpg", ["a dog"])]


@pytest.mark.thorough
@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_scoring_does_not_import_pandas(tmp_path: Path) -> None:
    """pyarrow imports it in common calls where it is installed, which takes a fifth of a second."""
    lines = [json.dumps({"image": key, "caption": text}) for key, text in CANDIDATES.items()]
    file = write(tmp_path / "captions.jsonl", "\n".join(lines))
    script = (
        "import sys; from pathlib import Path; from showtell.metrics.score_files import score_files\n"
        "score_files(Path(sys.argv[1]), Path(sys.argv[1])); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(file)], check=True)


def test_ids_are_the_same_as_text_and_as_numbers(tmp_path: Path) -> None:
    some = write(tmp_path / "c.json", [{"image_id": key, "caption": "a dog"} for key in (1.0, 2, "3")])
    rows = [{"image_id": key, "caption": "a dog"} for key in ("1", 2.0, 3)]
    references = write(tmp_path / "r.json", {"annotations": rows})
    assert score_files(references, some, metrics=["bleu"]).num_images == 3
