"""XMP side-cars: descriptions that photo managers read, among everything else that is in them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from showtell.bulk.caption_files import caption_files
from showtell.bulk.sidecars import OnExisting, Sidecars
from showtell.bulk.xmp import merge, read_description
from showtell.errors import DataError
from showtell.inference.captioner import Captioner

etree = pytest.importorskip("lxml.etree")

Write = Callable[[Path, Iterable[str]], None]

FOREIGN = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="darktable">
 <!-- a comment -->
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:mine="http://example.com/mine/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" mine:flag="yes" {attributes}>
   <dc:subject><rdf:Bag><rdf:li>cat</rdf:li></rdf:Bag></dc:subject>
   <mine:history>
    <rdf:Seq><rdf:li mine:step="1" rdf:parseType="Resource"><mine:x>2</mine:x></rdf:li></rdf:Seq>
   </mine:history>
   <mine:link rdf:resource="http://example.com/x"/>
   {elements}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
ALTERNATIVES = "<{0}><rdf:Alt>{1}</rdf:Alt></{0}>"
GERMAN = '<rdf:li xml:lang="de-DE">Ein Hund</rdf:li>'
DEFAULT = '<rdf:li xml:lang="x-default">My dog</rdf:li>'
PATH = Path("a.jpg.xmp")


def foreign(elements: str = "", attributes: str = "") -> bytes:
    return FOREIGN.format(elements=elements, attributes=attributes).encode()


def texts(content: bytes) -> list[dict[str, str]]:
    """Return the texts of both descriptions and of the alternative text by language."""
    names = ("{*}description", "{*}ImageDescription", "{*}AltTextAccessibility")
    root = etree.fromstring(content)
    language = "{http://www.w3.org/XML/1998/namespace}lang"
    return [
        {item.get(language): item.text for item in root.iterfind(f".//{name}//{{*}}li")} for name in names
    ]


def test_a_new_sidecar_has_descriptions_and_an_alternative_text() -> None:
    long = "a dog " * 60
    content = merge(b"", long, long, PATH, overwrite=False)
    description, image_description, alt_text = texts(content)
    assert description == image_description == {"x-default": long}
    assert alt_text["x-default"].endswith(" a…")
    assert 240 < len(alt_text["x-default"]) <= 250
    assert read_description(content, PATH) == long


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (foreign(), ""),
        (foreign(ALTERNATIVES.format("dc:description", GERMAN + DEFAULT)), "My dog"),
        (foreign(ALTERNATIVES.format("dc:description", GERMAN)), "Ein Hund"),
        (foreign(ALTERNATIVES.format("tiff:ImageDescription", DEFAULT)), "My dog"),
        (foreign("<dc:description>My dog</dc:description>"), "My dog"),
        (foreign(attributes='dc:description="My dog"'), "My dog"),
        (foreign(ALTERNATIVES.format("dc:description", '<rdf:li xml:lang="x-default"/>')), ""),
        (foreign().decode().replace("?>", "?>\n", 1).encode("utf-16"), ""),
    ],
)
def test_every_form_of_a_description_is_read_and_replaced(content: bytes, expected: str) -> None:
    assert read_description(content, PATH) == expected
    merged = merge(content, "new", "new", PATH, overwrite=True)
    german = {"de-DE": "Ein Hund"} if b"Ein Hund" in content else {}
    assert texts(merged) == [{"x-default": "new", **german}, {"x-default": "new"}, {"x-default": "new"}]
    assert b"My dog" not in merged


def test_everything_else_stays_to_the_byte() -> None:
    content = foreign(ALTERNATIVES.format("dc:description", GERMAN))
    merged = merge(content, "new", "new", PATH, overwrite=False)
    for line in content.splitlines():
        if b"dc:description" not in line and b"xmlns" not in line:
            assert line.strip() in merged
    before, after = (
        [element.tag for element in etree.fromstring(each).iter() if "mine" in str(element.tag)]
        for each in (content, merged)
    )
    assert before == after != []
    assert merge(merged, "new", "new", PATH, overwrite=False) == merged


def test_an_alternative_text_is_kept_unless_it_is_to_be_replaced() -> None:
    content = merge(b"", "", "theirs", PATH, overwrite=False)
    assert texts(merge(content, "new", "new", PATH, overwrite=False))[2] == {"x-default": "theirs"}
    assert texts(merge(content, "new", "new", PATH, overwrite=True))[2] == {"x-default": "new"}


ENTITY = '<!DOCTYPE x [<!ENTITY e SYSTEM "file://{path}"><!ENTITY a "{text}">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_and_nothing_is_expanded(tmp_path: Path, encoding: str) -> None:
    entity = ENTITY.format(path=tmp_path / "secret", text="a" * 100)
    text = entity + foreign(ALTERNATIVES.format("dc:title", "<rdf:li>&e;&a;</rdf:li>")).decode()
    with pytest.raises(DataError, match=r"cannot use a\.jpg\.xmp as a side-car: found a document type"):
        read_description(text.encode(encoding), PATH)


@pytest.mark.parametrize("content", [b"text", b"<a/>", b"<x:xmpmeta", foreign()[:-80], b"<a>" * 300])
def test_what_is_no_xmp_is_a_problem(content: bytes) -> None:
    with pytest.raises(DataError, match=r"cannot use a\.jpg\.xmp as a side-car: found .*an XMP packet"):
        read_description(content, PATH)


@pytest.fixture(scope="module")
def captioner(tiny_checkpoint: Callable[[str], Path]) -> Captioner:
    return Captioner.load(tiny_checkpoint("attention"), device="cpu")


@pytest.fixture
def caption(captioner: Captioner, tmp_path: Path) -> Callable[..., Any]:
    """Caption the folder into XMP."""

    def run(on_existing: OnExisting = "skip", **options: Any) -> Any:
        sidecars = Sidecars([tmp_path], ".xmp", on_existing=on_existing)
        return caption_files(captioner, [tmp_path], output=sidecars, **options)

    return run


def test_images_with_a_description_are_skipped_and_others_keep_their_tags(
    tmp_path: Path, write_images: Write, captioner: Captioner, caption: Callable[..., Any]
) -> None:
    write_images(tmp_path, ["a.jpg", "a.png", "b.png", "bad.png"])
    (tmp_path / "a.jpg.xmp").write_bytes(foreign())
    theirs = foreign(ALTERNATIVES.format("dc:description", DEFAULT))
    (tmp_path / "b.png.xmp").write_bytes(theirs)
    (tmp_path / "bad.png.xmp").write_bytes(b"<no XMP")
    report = caption(all_hypotheses=True, beam_size=2)
    assert (report.num_captioned, report.num_failed) == (2, 1)
    assert (tmp_path / "b.png.xmp").read_bytes() == theirs
    assert (tmp_path / "bad.png.xmp").read_bytes() == b"<no XMP"
    merged = (tmp_path / "a.jpg.xmp").read_bytes()
    best, second = (each.text for each in captioner.caption(tmp_path / "a.jpg", beam_size=2).alternatives)
    assert texts(merged)[0] == {"x-default": f"{best}\n{second}"}
    assert texts(merged)[2] == {"x-default": best}
    assert b"mine:history" in merged
    assert (tmp_path / "a.png.xmp").exists()
    assert caption().num_captioned == 0


def test_a_caption_is_added_to_a_description_once(
    tmp_path: Path, write_images: Write, captioner: Captioner, caption: Callable[..., Any]
) -> None:
    write_images(tmp_path, ["a.png"])
    (tmp_path / "a.png.xmp").write_bytes(foreign(ALTERNATIVES.format("dc:description", DEFAULT)))
    text = captioner.caption(tmp_path / "a.png").text
    for _ in range(2):
        caption("append")
        assert texts((tmp_path / "a.png.xmp").read_bytes())[0] == {"x-default": f"My dog\n{text}"}


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_exiftool_reads_what_is_written(
    tmp_path: Path, write_images: Write, captioner: Captioner, caption: Callable[..., Any]
) -> None:
    write_images(tmp_path, ["a.jpg", "ü.jpg"])
    (tmp_path / "a.jpg.xmp").write_bytes(foreign(ALTERNATIVES.format("dc:description", GERMAN)))
    caption("overwrite", prefix="<&é> ")
    tags = ["-XMP-dc:Description", "-XMP-tiff:ImageDescription", "-XMP-iptcCore:AltTextAccessibility"]
    kept = ["-XMP-dc:Description-de-DE", "-XMP-dc:Subject"]
    run = subprocess.run(
        ["exiftool", "-j", "-validate", *tags, *kept, tmp_path / "a.jpg.xmp", tmp_path / "ü.jpg.xmp"],
        capture_output=True,
        check=True,
    )
    first, second = json.loads(run.stdout)
    text = f"<&é> {captioner.caption(tmp_path / 'a.jpg').text}"
    assert [first[name] for name in ("Description", "ImageDescription", "AltTextAccessibility")] == [text] * 3
    assert (first["Description-de-DE"], first["Subject"]) == ("Ein Hund", "cat")
    assert second["Description"].startswith("<&é> ")
