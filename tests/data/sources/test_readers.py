"""Each reader detects its format and keeps texts unchanged; single bad entries are reported, not raised."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.problems import KINDS
from showtell.data.sources.base import Problem, Source
from showtell.data.sources.registry import READERS, find_reader, open_source
from showtell.errors import ConfigError, DataError

WritePictures = Callable[[Path, Iterable[str]], None]
WART = "2258277193_586949ec62.jpg.1"


@pytest.fixture
def flickr8k(tmp_path: Path, write_images: WritePictures) -> Path:
    """A set in the official layout: two training pictures, one of each other split, one listed nowhere."""
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    write_images(tmp_path / "Flicker8k_Dataset", names)
    lines = [f"{name}#{number}\t{name[0]} says {number} ." for name in [*names, WART] for number in range(2)]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    for split, content in (("train", "b.jpg\na.jpg\n"), ("dev", "c.jpg\n"), ("test", "d.jpg\n")):
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text(content)
    return tmp_path


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(example.key, example.split, example.captions) for example in source.examples]


def test_the_official_layout_is_recognized_and_read(flickr8k: Path) -> None:
    source = open_source(flickr8k)
    assert source.name == "flickr8k"
    assert contents(source) == [
        ("b.jpg", "train", ("b says 0 .", "b says 1 .")),
        ("a.jpg", "train", ("a says 0 .", "a says 1 .")),
        ("c.jpg", "dev", ("c says 0 .", "c says 1 .")),
        ("d.jpg", "test", ("d says 0 .", "d says 1 .")),
    ]
    assert source.examples[0].image == flickr8k / "Flicker8k_Dataset" / "b.jpg"


def test_lists_and_lines_of_copies_of_the_dataset_are_read(flickr8k: Path) -> None:
    official = contents(open_source(flickr8k))
    tokens, dev = flickr8k / "Flickr8k.token.txt", flickr8k / "Flickr_8k.devImages.txt"
    tokens.write_text(tokens.read_text().replace("\t", " ").replace("says 0", "says #0 twice"))
    (flickr8k / "Flickr_8k.trainImages.txt").write_text("Flicker8k_Dataset/b.jpg\nFlicker8k_Dataset\\a.jpg\n")
    (flickr8k / "Flickr_8k.testImages.txt").write_text("d\n")
    dev.rename(flickr8k / "Flickr_8k.valImages.txt")
    captions = [(text.replace("says 0", "says #0 twice") for text in texts) for _, _, texts in official]
    assert contents(open_source(flickr8k)) == [
        (key, split, tuple(texts)) for (key, split, _), texts in zip(official, captions, strict=True)
    ]


def test_the_captions_of_a_image_that_does_not_exist_are_a_problem(flickr8k: Path) -> None:
    assert open_source(flickr8k).problems == [
        Problem("captions-without-image", WART, "2 captions of a name that is not an image")
    ]


def test_images_in_no_list_are_left_aside_and_counted(flickr8k: Path) -> None:
    assert open_source(flickr8k).notes == ["1 images are in no split list and were left out"]
    (flickr8k / "Flickr_8k.testImages.txt").unlink()
    source = open_source(flickr8k)
    assert {example.split for example in source.examples} == {"train", "dev"}
    assert source.notes == ["2 images are in no split list and were left out"]
    assert len(source.problems) == 1


def test_a_name_twice_in_a_list_is_reported_and_read_once(flickr8k: Path) -> None:
    (flickr8k / "Flickr_8k.devImages.txt").write_text("c.jpg\nc.jpg\n")
    source = open_source(flickr8k)
    assert [example.key for example in source.examples].count("c.jpg") == 1
    assert Problem("listed-twice", "c.jpg", "2 times in Flickr_8k.devImages.txt") in source.problems


def test_without_any_list_all_images_belong_to_the_set(flickr8k: Path) -> None:
    for file in flickr8k.glob("Flickr_8k.*Images.txt"):
        file.unlink()
    source = open_source(flickr8k)
    assert [(example.key, example.split) for example in source.examples] == [
        (name, "") for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", WART)
    ]


@pytest.mark.parametrize("folder", ["Flickr8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "Images"])
def test_other_names_of_the_image_folder_are_found(flickr8k: Path, folder: str) -> None:
    (flickr8k / "Flicker8k_Dataset").rename(flickr8k / "moved")
    (flickr8k / folder).parent.mkdir(exist_ok=True)
    (flickr8k / "moved").rename(flickr8k / folder)
    assert open_source(flickr8k).examples[0].image == flickr8k / folder / "b.jpg"


def test_the_texts_may_are_in_their_own_folder(flickr8k: Path) -> None:
    texts = flickr8k / "Flickr8k_text"
    texts.mkdir()
    for file in flickr8k.glob("*.txt"):
        file.rename(texts / file.name)
    assert len(open_source(flickr8k).examples) == 4


def test_a_missing_image_folder_is_an_error(flickr8k: Path) -> None:
    (flickr8k / "Flicker8k_Dataset").rename(flickr8k / "elsewhere")
    with pytest.raises(
        DataError, match=r"no image folder in .*: expected one of Flicker8k_Dataset, .*Unpack"
    ):
        open_source(flickr8k)


def test_lines_of_the_token_file_that_make_no_sense_are_reported(flickr8k: Path) -> None:
    tokens = flickr8k / "Flickr8k.token.txt"
    tokens.write_text("no tab here\n#0\tno name\n\n" + tokens.read_text())
    source = open_source(flickr8k)
    assert [(problem.kind, problem.key) for problem in source.problems[:2]] == [
        ("unreadable-line", "Flickr8k.token.txt:1"),
        ("unreadable-line", "Flickr8k.token.txt:2"),
    ]
    assert "'no tab here' is not NAME#NUMBER<TAB>CAPTION" in source.problems[0].detail
    assert len(source.examples) == 4


def test_byte_order_mark_crlf_and_separators_inside_captions_are_handled(flickr8k: Path) -> None:
    tokens = flickr8k / "Flickr8k.token.txt"
    text = "a.jpg#0\tÉté\u2028à # la\x0bplage\tvoilà\r\nb.jpg#0\t犬が走る\r\n"
    tokens.write_bytes(b"\xef\xbb\xbf" + text.encode())
    source = open_source(flickr8k)
    assert contents(source)[:2] == [
        ("b.jpg", "train", ("犬が走る",)),
        ("a.jpg", "train", ("Été\u2028à # la\x0bplage\tvoilà",)),
    ]


def test_another_encoding_is_an_error_that_says_so(flickr8k: Path) -> None:
    (flickr8k / "Flickr8k.token.txt").write_bytes("a.jpg#0\tété".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"token\.txt: found byte 0xE9 at position 8; expected UTF-8\. Save the file as"
    ):
        open_source(flickr8k)


def test_kaggles_layout_is_recognized_and_read(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path / "Images", ["a.jpg", "b.jpg", "unmentioned.jpg"])
    (tmp_path / "captions.txt").write_text(
        'image,caption\na.jpg,A dog , running .\na.jpg,"A dog, asleep ."\nb.jpg,"He says ""no"" ."\n'
    )
    source = open_source(tmp_path)
    assert source.name == "flickr8k-kaggle"
    assert contents(source) == [
        ("a.jpg", "", ("A dog , running .", "A dog, asleep .")),
        ("b.jpg", "", ('He says "no" .',)),
    ]
    assert source.examples[0].image == tmp_path / "Images" / "a.jpg"
    assert source.problems == [Problem("no-captions", "unmentioned.jpg", "not in captions.txt")]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("header", ["image,caption,split", " File_Name ,text,SPLIT", "path,sentence,subset"])
def test_csv_columns_and_delimiters_are_found(tmp_path: Path, delimiter: str, header: str) -> None:
    lines = [header, "x/a.jpg,A dog.,train", "./x/a.jpg,A cat.,train", "b.jpg,A cow.,val"]
    table = tmp_path / ("set.tsv" if delimiter == "\t" else "set.csv")
    table.write_text("\r\n".join(lines).replace(",", delimiter))
    source = open_source(table)
    assert source.name == "csv"
    assert contents(source) == [("x/a.jpg", "train", ("A dog.", "A cat.")), ("b.jpg", "val", ("A cow.",))]
    assert source.examples[0].image == tmp_path / "x" / "a.jpg"


def test_csv_captions_in_numbered_columns_are_all_read(tmp_path: Path) -> None:
    table = tmp_path / "set.csv"
    table.write_text("image,caption_0,split,Caption1\na.jpg,A dog.,train,A cat.\n")
    assert contents(open_source(table)) == [("a.jpg", "train", ("A dog.", "A cat."))]


def test_csv_captions_keep_quotes_commas_and_line_breaks(tmp_path: Path) -> None:
    table = tmp_path / "set.csv"
    table.write_bytes(
        '\ufeffimage,caption\na.jpg,"A ""big"" dog,\r\nthen a cat"\n\nb.jpg,éàü 犬, and more\n'.encode()
    )
    assert contents(open_source(table)) == [
        ("a.jpg", "", ('A "big" dog,\r\nthen a cat',)),
        ("b.jpg", "", ("éàü 犬, and more",)),
    ]


def test_csv_rows_of_the_wrong_width_are_reported(tmp_path: Path) -> None:
    table = tmp_path / "set.csv"
    table.write_text(
        "image,caption,split\na.jpg,A dog, a cat,train\nb.jpg,A cow.,train\nc.jpg\n,A hen.,train\n"
    )
    source = open_source(table)
    assert contents(source) == [("b.jpg", "train", ("A cow.",))]
    assert source.problems == [
        Problem("unreadable-line", "set.csv:2", "4 fields, 3 columns: put captions in quotes"),
        Problem("unreadable-line", "set.csv:4", "1 fields, 3 columns: some are missing"),
        Problem("unreadable-line", "set.csv:5", "no image in 'image'"),
    ]


def test_a_long_csv_field_without_end_is_text(tmp_path: Path) -> None:
    table, caption = tmp_path / "set.csv", '"' + "never closed " * 20_000
    table.write_text(f"image,caption\na.jpg,A dog.\nb.jpg,{caption}")
    assert contents(open_source(table)) == [("a.jpg", "", ("A dog.",)), ("b.jpg", "", (caption,))]


@pytest.mark.parametrize("text", ["", "a.jpg,A dog.\n", "image\na.jpg\n", "name,title\na.jpg,A dog.\n"])
def test_a_csv_without_a_header_is_an_error(tmp_path: Path, text: str) -> None:
    table = tmp_path / "set.csv"
    table.write_text(text)
    with pytest.raises(
        DataError, match=r"expected a header with an image column .*Add a header line, for example"
    ):
        open_source(table)


def test_jsonl_with_captions_one_by_one_or_as_a_list(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    rows = [
        {"image": "a.jpg", "captions": ["One.", "Two,\nthree."], "split": "train"},
        {"file_name": "a.jpg", "text": "Vier 犬.", "split": "train"},
        {"path": "/data/b.jpg", "caption": "Five.", "split": None},
    ]
    file.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    )
    source = open_source(file)
    assert source.name == "jsonl"
    assert contents(source) == [
        ("a.jpg", "train", ("One.", "Two,\nthree.", "Vier 犬.")),
        ("/data/b.jpg", "", ("Five.",)),
    ]
    assert source.examples[1].image == Path("/data/b.jpg")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"image": "a.jpg", "caption": "x"', "not JSON: "),
        ("[" * 100_000, "not JSON: "),
        ("[1, 2]", "expected an object, found list"),
        ('{"caption": "x"}', "no image (image, file_name"),
        ('{"image": 7, "caption": "x"}', "no image in 'image'"),
        ('{"image": " ", "caption": "x"}', "no image in 'image'"),
        ('{"image": "a.jpg"}', "no caption (caption, captions"),
        ('{"image": "a.jpg", "caption": 7}', "caption is neither text nor a list of texts"),
        ('{"image": "a.jpg", "captions": ["x", null]}', "captions is neither text nor a list of texts"),
    ],
)
def test_jsonl_lines_that_make_no_sense_are_reported(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text('{"image": "ok.jpg", "caption": "Fine."}\n\n' + line + "\n")
    source = open_source(file)
    assert contents(source) == [("ok.jpg", "", ("Fine.",))]
    assert [(problem.kind, problem.key) for problem in source.problems] == [
        ("unreadable-line", "set.jsonl:3")
    ]
    assert source.problems[0].detail.startswith(told)


def test_an_unknown_format_is_misuse_with_a_near_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown format 'flickr'\. Did you mean 'flickr8k'\?"):
        open_source(tmp_path, "flickr")


def test_nothing_there_or_nothing_recognized_is_an_error_that_lists_what_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: found no such file or directory\. Check the path"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match="unknown dataset format of") as caught:
        open_source(tmp_path)
    for name in READERS:
        assert f"{name}: {find_reader(name).LAYOUT}" in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_forced_reader_says_what_it_misses(tmp_path: Path, name: str) -> None:
    if name == "folder":
        assert list(open_source(tmp_path, name).examples) == []
        return
    with pytest.raises(DataError, match=r"expected|cannot read"):
        open_source(tmp_path, name)


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be read")
def test_a_folder_that_may_not_be_read_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(DataError, match=r"shut: found Permission denied\. Check path and permissions"):
        open_source(tmp_path / "shut")


def test_a_format_can_be_forced(flickr8k: Path) -> None:
    os.link(flickr8k / "Flicker8k_Dataset/a.jpg", flickr8k / "Flicker8k_Dataset/forced.jpg")
    (flickr8k / "Flicker8k_Dataset/forced.txt").write_text("Forced.")
    source = open_source(flickr8k, "folder")
    assert ("Flicker8k_Dataset/forced.jpg", "", ("Forced.",)) in contents(source)


@given(st.binary(max_size=300), st.sampled_from(["csv", "jsonl", "flickr8k", "flickr8k-kaggle"]))
def test_any_bytes_in_a_text_file_give_a_source_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "Images").mkdir()
    file = {"csv": "set.csv", "jsonl": "set.jsonl", "flickr8k": "Flickr8k.token.txt"}.get(
        name, "captions.txt"
    )
    (folder / file).write_bytes((b"image,caption\n" if name in ("csv", "flickr8k-kaggle") else b"") + data)
    try:
        source = open_source(folder / file if name in ("csv", "jsonl") else folder, name)
    except DataError:
        return
    assert {problem.kind for problem in source.problems} <= set(KINDS)


UTF_16 = {
    "coco": {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"image_id": 1, "caption": "Une fenêtre."}],
    },
    "karpathy": {
        "images": [{"filename": "1.jpg", "split": "", "sentences": [{"raw": "Une fenêtre."}]}],
    },
    "json": [{"image": "1.jpg", "caption": "Une fenêtre."}],
    "caption-list": "1.jpg#0\tUne fenêtre.",
    "split-tables": "image,caption\n1.jpg,Une fenêtre.",
}


@pytest.mark.parametrize("name", UTF_16)
def test_annotations_in_utf_16_are_read(tmp_path: Path, write_images: WritePictures, name: str) -> None:
    write_images(tmp_path / "images", ["1.jpg"])
    content = UTF_16[name]
    suffix = {"caption-list": "txt", "split-tables": "csv"}.get(name, "json")
    file = tmp_path / f"captions.{suffix}"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-16")
    source = open_source(tmp_path)
    assert source.name == name
    assert [example.captions for example in source.examples] == [("Une fenêtre.",)]
