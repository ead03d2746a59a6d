"""WebDataset shards: samples, captions in texts and JSON, and everything that a .tar may have besides."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from showtell.data.prepared import prepare
from showtell.data.sources import tar_file, webdataset
from showtell.data.sources.base import EmbeddedImageExample, Problem, Source
from showtell.data.sources.registry import open_source
from showtell.errors import ConfigError, DataError

TinyJpeg = Callable[[str], bytes]
Members = Mapping[str, bytes | str | dict[str, Any]]


def write_shard(path: Path, members: Members, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            text = json.dumps(content) if isinstance(content, dict) else content
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def captions(source: Source) -> dict[str, tuple[str, ...]]:
    return {example.key: example.captions for example in source.examples}


@pytest.fixture
def read(
    tmp_path: Path, tiny_jpeg: TinyJpeg
) -> Callable[[Members], tuple[Source, dict[str, tuple[str, ...]]]]:
    """Write a shard, where JPEG is the content of an image, and read it."""

    def write_and_read(members: Members, **options: str) -> tuple[Source, dict[str, tuple[str, ...]]]:
        images = {
            name: tiny_jpeg(name) if content == "JPEG" else content for name, content in members.items()
        }
        source = open_source(write_shard(tmp_path / "shard-000.tar", images), **options)
        assert source.name == "webdataset"
        return source, captions(source)

    return write_and_read


Read = Callable[..., tuple[Source, dict[str, tuple[str, ...]]]]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"txt": "One.\nTwo.\r\n"}, ("One.", "Two.")),
        ({"txt": "['One.', 'Two.']"}, ("One.", "Two.")),
        ({"TXT": "One."}, ("One.",)),
        ({"txt": "One.", "json": {"caption": "Another."}}, ("One.",)),
        ({"txt": "One\nline.", "json": {"caption": "One\nline."}}, ("One\nline.",)),
        ({"txt": "One\nline.", "json": {"status": "success"}}, ("One\nline.",)),
        ({"json": {"caption": "One."}}, ("One.",)),
        ({"json": {"captions": ["One.", "Two."]}}, ("One.", "Two.")),
        ({"caption": "One."}, ("One.",)),
        ({"0.txt": "One.", "1.txt": "Two."}, ("One.", "Two.")),
        ({"caption_0.txt": "One.", "caption_1.txt": "Two."}, ("One.", "Two.")),
        ({"human.txt": "One."}, ("One.",)),
        ({"txt": "One.", "cls": "7"}, ("One.",)),
        ({"json": '["One.", "Two."]'}, ("One.", "Two.")),
        ({"json": '"One."'}, ("One.",)),
        ({"txt": "One.", "json": "5"}, ("One.",)),
        ({"txt": "One.", "json": '[{"boxes": []}]'}, ("One.",)),
        ({"txt": "One.", "json": "null"}, ("One.",)),
    ],
)
@pytest.mark.parametrize("image", ["jpg", "JPG", "png", "photo.jpeg"])
def test_captions_are_lines_of_a_text_or_in_json(
    read: Read, fields: dict[str, Any], expected: tuple[str, ...], image: str
) -> None:
    source, found = read({f"x/a.{image}": "JPEG", **{f"x/a.{name}": text for name, text in fields.items()}})
    assert found == {f"x/a.{image.lower()}": expected}
    assert (source.problems, source.notes) == ([], [])


def test_members_need_not_be_neighbors_and_shadow_entries_are_passed_over(read: Read) -> None:
    shadows = {
        "x/._a.jpg": "shadow",
        "__MACOSX/x/._a.txt": "shadow",
        "x/.DS_Store": "shadow",
        "README": "Hello.",
    }
    source, found = read({"x/a.jpg": "JPEG", **shadows, "x/b.jpg": "JPEG", "x/a.txt": "A.", "x/b.txt": "B."})
    assert found == {"x/a.jpg": ("A.",), "x/b.jpg": ("B.",)}
    assert source.problems == []


def test_samples_that_are_incomplete_or_broken_are_reported(read: Read) -> None:
    source, found = read(
        {
            **{"ok.jpg": "JPEG", "ok.txt": "Fine."},
            "mute.jpg": "JPEG",
            "blind.txt": "No image.",
            **{"two.jpg": "JPEG", "two.short.txt": "A.", "two.long.txt": "B."},
            **{"bad.jpg": "JPEG", "bad.txt": b"\xff\xff"},
            **{"json.jpg": "JPEG", "json.json": "{"},
            **{"deep.jpg": "JPEG", "deep.json": "[" * 100_000},
            **{"long.jpg": "JPEG", "long.txt": "x" * (webdataset.MAX_TEXT + 1)},
            **{"mixed.jpg": "JPEG", "mixed.txt": '["A dog.", 5]'},
            **{"number.jpg": "JPEG", "number.json": "5"},
        }
    )
    assert found == {"ok.jpg": ("Fine.",)}
    assert source.problems[:2] == [
        Problem("no-captions", "mute.jpg", "no text in shard-000.tar"),
        Problem("captions-without-image", "blind", "no image in shard-000.tar"),
    ]
    others = {problem.key: problem.detail for problem in source.problems[2:]}
    assert {problem.kind for problem in source.problems[2:]} == {"unreadable-line"}
    assert list(others) == [
        f"shard-000.tar:{key}" for key in ("two", "bad", "json", "deep", "long", "mixed", "number")
    ]
    assert others["shard-000.tar:two"].startswith("several texts (short, long): choose columns with")
    assert others["shard-000.tar:mixed"] == "txt is neither text nor a list of texts"
    assert others["shard-000.tar:number"] == "caption is neither text nor a list of texts"
    assert others["shard-000.tar:long"] == "1,048,577 bytes, more than 1,048,576"


def test_failed_downloads_are_counted_by_status(read: Read, tmp_path: Path) -> None:
    stats = {"failed_to_download": 5, "failed_to_resize": 0}
    (tmp_path / "shard-000_stats.json").write_text(json.dumps(stats))
    (tmp_path / "shard-001_stats.json").write_text(json.dumps(stats))  # of a shard that is not read
    ok: dict[str, Any] = {"a.jpg": "JPEG", "a.txt": "A."}
    note = "rows are failed downloads and have no image (failed_to_download"
    source, _ = read(
        {**ok, "b.json": {"status": "failed_to_download"}, "c.json": {"status": "failed_to_resize"}}
    )
    assert (source.problems, source.notes) == ([], [f"2 {note} 1, failed_to_resize 1)"])
    source, _ = read(ok)
    assert (source.problems, source.notes) == ([], [f"5 {note} 5)"])


def test_of_several_images_the_first_is_read_unless_one_is_chosen(read: Read, tiny_jpeg: TinyJpeg) -> None:
    members = {"a.left.jpg": "JPEG", "a.right.jpg": "JPEG", "a.txt": "A.", "a.title.txt": "B."}
    source, found = read(members)
    assert (found, source.notes) == (
        {"a.left.jpg": ("A.",)},
        ["1 samples have several images; the first of each was read"],
    )
    source, found = read(members, image_column="right.jpg", caption_column="title")
    assert (found, source.notes) == ({"a.right.jpg": ("B.",)}, [])
    with pytest.raises(
        ConfigError, match=r"no column for --caption-column titel: found .*Did you mean 'title'"
    ):
        read(members, caption_column="titel")


@pytest.mark.parametrize(
    "pattern", ["shard-{000..002}.tar", "shard-{000,001,002}.tar", "{shard}-{000..002}.tar"]
)
def test_a_pattern_names_shards(tmp_path: Path, tiny_jpeg: TinyJpeg, pattern: str) -> None:
    for number in range(3):
        members = {"a.jpg": tiny_jpeg(str(number)), "a.txt": f"Number {number}."}
        write_shard(tmp_path / f"{'{shard}' if '{shard}' in pattern else 'shard'}-{number:03}.tar", members)
    source = open_source(tmp_path / pattern)
    assert [example.captions for example in source.examples] == [(f"Number {n}.",) for n in range(3)]
    next(tmp_path.glob("*001.tar")).unlink()
    with pytest.raises(
        DataError, match=r"cannot read .*shard.*-001\.tar: found no such file\. Check the pattern"
    ):
        open_source(tmp_path / pattern)


@pytest.mark.parametrize(
    "names",
    [
        ("train/0.tar", "val/0.tar"),
        ("train-000.tar", "val-000.tar"),
        ("coco-train-000.tar", "coco-val-000.tar"),
        ("a/coco_train2017.000.tar", "b/coco_val2017.000.tar"),
    ],
)
def test_splits_are_in_the_names_of_folders_or_shards(
    tmp_path: Path, tiny_jpeg: TinyJpeg, names: tuple[str, str]
) -> None:
    for name in names:
        write_shard(tmp_path / name, {"a.jpg": tiny_jpeg(name), "a.txt": name})
    (tmp_path / "._x.tar").write_bytes(b"shadow")
    examples = list(open_source(tmp_path).examples)
    assert [(example.split, example.captions) for example in examples] == [
        ("train", (names[0],)),
        ("val", (names[1],)),
    ]
    assert examples[0].key != examples[1].key  # two images of one name
    (tmp_path / names[1]).unlink()
    source = open_source(tmp_path)
    assert [example.split for example in source.examples] == [""]
    assert source.notes == ["all shards are in 'train', which is not used as a split"]


def test_splits_are_in_the_folders_of_a_pattern(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    for split in ("train", "val"):
        write_shard(tmp_path / split / "0.tar", {"a.jpg": tiny_jpeg(split), "a.txt": split})
    examples = open_source(tmp_path / "{train,val}" / "0.tar").examples
    assert [(example.split, *example.captions) for example in examples] == [("train",) * 2, ("val",) * 2]


def numbered(count: int, tiny_jpeg: TinyJpeg) -> dict[str, bytes | str]:
    members: dict[str, bytes | str] = {}
    for number in range(count):
        members |= {f"{number}.jpg": tiny_jpeg(str(number)), f"{number}.txt": f"{number}."}
    return members


def test_images_are_kept_byte_for_byte(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    members = {
        f"{n}.{field}": tiny_jpeg(str(n)) if field == "jpg" else f"{n}."
        for n in range(4)
        for field in ("jpg", "txt")
    }
    shard = write_shard(tmp_path / "shard.tar.gz", members, "w:gz")
    prepared = prepare(shard, tmp_path / "set")
    assert [prepared.image_path(row).read_bytes() for row in range(4)] == [
        tiny_jpeg(str(n)) for n in range(4)
    ]


def test_a_compressed_shard_is_read_without_seeking_back(
    tmp_path: Path, tiny_jpeg: TinyJpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    seek = gzip.GzipFile.seek

    def seek_forward(self: gzip.GzipFile, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_CUR or offset >= self.tell()
        return seek(self, offset, whence)

    members = numbered(20, tiny_jpeg)
    texts_first = {name: members[name] for name in sorted(members, key=lambda name: name[-3:] == "jpg")}
    shard = write_shard(tmp_path / "shard.tar.gz", texts_first, "w:gz")
    monkeypatch.setattr(gzip.GzipFile, "seek", seek_forward)
    source = open_source(shard)
    assert captions(source) == {f"{number}.jpg": (f"{number}.",) for number in range(20)}
    assert source.problems == []


@pytest.mark.parametrize(
    ("limit", "cut", "reason"),
    [(15_000, 0, "more than 15,000 bytes when unpacked"), (2**20, 60, "Compressed file ended")],
)
def test_a_compressed_shard_is_read_as_far_as_possible(
    tmp_path: Path, tiny_jpeg: TinyJpeg, monkeypatch: pytest.MonkeyPatch, limit: int, cut: int, reason: str
) -> None:
    monkeypatch.setattr(tar_file, "MAX_UNPACKED", limit)
    monkeypatch.setattr(tar_file, "_CHUNK", 1_000)
    shard = write_shard(tmp_path / "shard.tar.gz", numbered(20, tiny_jpeg), "w:gz")
    shard.write_bytes(shard.read_bytes()[: -cut or None])
    source = open_source(shard)
    assert 0 < len(captions(source)) < 20
    assert source.problems[0].key == "shard.tar.gz"
    assert source.problems[0].detail.startswith(f"cut or broken: {reason}")


def long_name(size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, size
    return info


def test_long_names_take_little_memory(tmp_path: Path) -> None:
    shard = tmp_path / "shard.tar.gz"
    with tarfile.open(shard, "w:gz") as tar:
        tar.addfile(long_name(2**24), io.BytesIO(bytes(2**24)))
    tracemalloc.start()
    source = open_source(shard)
    assert captions(source) == {}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
    assert source.problems == [
        Problem("unreadable-line", "shard.tar.gz", "not a readable .tar: a header of 16,777,216 bytes")
    ]


def test_many_long_names_in_a_row_are_reported(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for _ in range(1_000):
            tar.addfile(long_name(1), io.BytesIO(b"a"))
    source = open_source(tmp_path / "shard.tar")
    assert captions(source) == {}
    assert [problem.key for problem in source.problems] == ["shard.tar"]


@pytest.mark.parametrize("cut", [-1, 700, 1536, 2048, 2100, 5000])
def test_a_shard_that_is_cut_is_reported_and_read_up_to_there(
    tmp_path: Path, tiny_jpeg: TinyJpeg, cut: int
) -> None:
    members = {
        f"{n}.{field}": tiny_jpeg(str(n)) if field == "jpg" else f"{n}."
        for n in range(9)
        for field in ("jpg", "txt")
    }
    shard = write_shard(tmp_path / "shard.tar", members)
    content = shard.read_bytes()
    shard.write_bytes(b"no tar" if cut < 0 else content[:cut])
    source = open_source(shard)
    found = captions(source)
    assert all(text == (f"{key[0]}.",) for key, text in found.items())
    assert len(found) < 9
    assert any(problem.key == "shard.tar" for problem in source.problems)
    assert {problem.kind for problem in source.problems} <= {"unreadable-line", "no-captions"}


def test_what_follows_the_end_of_a_shard_is_reported(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    shard = write_shard(tmp_path / "a.tar", {"a.jpg": tiny_jpeg("a"), "a.txt": "A."})
    shard.write_bytes(2 * shard.read_bytes())
    source = open_source(shard)
    assert captions(source) == {"a.jpg": ("A.",)}
    assert source.problems == [
        Problem("unreadable-line", "a.tar", "a second archive follows the end of the first, and was not read")
    ]


def test_links_and_repeated_members_are_reported(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    shard = write_shard(tmp_path / "a.tar", {"a.jpg": tiny_jpeg("a"), "a.txt": "A."})
    with tarfile.open(shard, "a") as tar:
        link = tarfile.TarInfo("b.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        again = tarfile.TarInfo("a.txt")
        again.size = 6
        tar.addfile(again, io.BytesIO(b"Again."))
    source = open_source(shard)
    assert captions(source) == {"a.jpg": ("Again.",)}
    assert source.problems == [
        Problem("unreadable-line", "a.tar:b.jpg", "a link or a special file"),
        Problem("unreadable-line", "a.tar:a.txt", "twice in the shard; the last was read"),
    ]


def test_one_image_is_in_memory_at_a_time(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    source = open_source(write_shard(tmp_path / "a.tar", {"a.jpg": tiny_jpeg("a"), "a.txt": "A."}))
    assert iter(source.examples) is source.examples
    assert isinstance(next(iter(source.examples)), EmbeddedImageExample)


def test_an_archive_without_images_is_no_shard(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    write_shard(tmp_path / "backup.tar", {"notes.txt": "A."})
    (tmp_path / "a.jpg").write_bytes(tiny_jpeg("a"))
    (tmp_path / "a.txt").write_text("A dog.")
    assert open_source(tmp_path).name == "folder"


def test_columns_are_for_tables_alone(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    (tmp_path / "a.jpg").write_bytes(tiny_jpeg("a"))
    (tmp_path / "a.txt").write_text("A dog.")
    with pytest.raises(ConfigError, match=r"does not fit: found folder; expected .*imagefolder, webdataset"):
        open_source(tmp_path, caption_column="text")
    (tmp_path / "set.csv").write_text("id,photo,title\n1,a.jpg,A dog.\n")
    source = open_source(tmp_path / "set.csv", image_column="photo", caption_column="Title")
    assert captions(source) == {"a.jpg": ("A dog.",)}
    with pytest.raises(
        ConfigError, match=r"--caption-column titel: found id, photo, title\. Did you mean 'title'"
    ):
        open_source(tmp_path / "set.csv", image_column="photo", caption_column="titel")
    (tmp_path / "set.jsonl").write_text('{"photo": "a.jpg", "title": "A dog."}\n')
    with pytest.raises(
        ConfigError, match=r"--caption-column titel: found photo, title\. Did you mean 'title'"
    ):
        open_source(tmp_path / "set.jsonl", image_column="photo", caption_column="titel")


def test_names_with_dots_are_samples_of_their_own(read: Read) -> None:
    members = {f"x/img.{number}.{kind}": kind for number in (1, 2) for kind in ("jpg", "txt")}
    source, found = read({name: "JPEG" if kind == "jpg" else name for name, kind in members.items()})
    assert found == {f"x/img.{number}.jpg": (f"x/img.{number}.txt",) for number in (1, 2)}
    assert (source.problems, source.notes) == ([], [])


def test_a_split_may_be_anywhere_in_the_name_of_a_shard(tmp_path: Path, tiny_jpeg: TinyJpeg) -> None:
    for split in ("train", "val2014"):
        members = {f"{split}.jpg": tiny_jpeg(split), f"{split}.txt": "A dog."}
        write_shard(tmp_path / f"coco-{split}-00000.tar", members)
    assert {example.key: example.split for example in open_source(tmp_path).examples} == {
        "train.jpg": "train",
        "val2014.jpg": "val",
    }
