"""The page in headless Chromium, against a real server with a tiny captioner."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serve.servers import Running, picture, running

from showtell.inference.batcher import Batcher
from showtell.inference.captioner import Captioner
from showtell.inference.decode_pool import DecodePool
from showtell.system.atomic import write_summed_json
from showtell.system.reading import read_json_lines

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'showtell[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'showtell[browser]'")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium: apt-get install chromium", allow_module_level=True)

expect = sync_api.expect
expect.set_options(timeout=15_000)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NARROW = {"width": 320, "height": 640}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def served(tiny_checkpoint: Callable[[str], Path]) -> Iterator[Running]:
    with running(tiny_checkpoint("attention")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, served: Running) -> Iterator[Open]:
    """Open the page; at the end there were no errors in its scripts, and no other host was contacted."""
    contexts, errors, hosts = [], [], set()

    def open_page(url: str = "", **options: Any) -> Any:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options}
        )
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"])
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if "Content Security" in message.text else None,
        )
        page.on(
            "request", lambda request: hosts.add(re.sub(r"^(blob:)?(http://[^/]*)?.*", r"\2", request.url))
        )
        page.goto(url or served.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert hosts <= {"", *(host for host in hosts if host.startswith("http://127.0.0.1:"))}


@pytest.fixture
def images(tmp_path: Path) -> Callable[[int], list[Path]]:
    """Write PNG files of coarse squares."""

    def write(count: int) -> list[Path]:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{number}.png" for number in range(count)]
        for number, path in enumerate(paths):
            path.write_bytes(picture(number, size=(160, 120)))
        return paths

    return write


def check_accessibility(page: Any) -> None:
    """Check with axe, and that nothing is wider than the window."""
    options = {"runOnly": RULES, "resultTypes": ["violations"]}
    page.evaluate(
        "() => Promise.all(document.getAnimations().filter((each) => each.effect.getTiming().iterations === 1)"
        ".map((each) => each.finished))"
    )
    results = axe.Axe().run(page, options=options)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def add(page: Any, paths: list[Path]) -> None:
    page.set_input_files("#files", paths)


def captioned(page: Any, count: int) -> Any:
    """Wait for captions and return the cards."""
    expect(page.locator("[data-state=done]")).to_have_count(count, timeout=60_000)
    return page.locator(".card")


def words(card: Any) -> str:
    return " ".join(card.locator(".words").last.inner_text().split())


def dropped(page: Any, names: list[str], contents: bytes) -> None:
    """Drop files of the same contents on the page."""
    transfer = page.evaluate_handle(
        """([names, bytes]) => {
          const transfer = new DataTransfer();
          names.forEach((name) => transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" })));
          return transfer;
        }""",
        [names, list(contents)],
    )
    page.dispatch_event("#intake", "dragover", {"dataTransfer": transfer})
    expect(page.locator("body.dropping")).to_be_visible()
    page.dispatch_event("#intake", "drop", {"dataTransfer": transfer})
    expect(page.locator("body.dropping")).to_have_count(0)


def download(page: Any, form: str) -> bytes:
    page.select_option("#format", form)
    with page.expect_download() as started:
        page.click("#download")
    return Path(started.value.path()).read_bytes()


def test_several_images_are_captioned_as_the_service_captions_them(
    open_page: Open, served: Running, images: Callable[[int], list[Path]]
) -> None:
    page = open_page()
    add(page, paths := images(5))
    cards = captioned(page, 5)
    assert cards.locator("h3").all_text_contents() == [path.name for path in paths]
    texts = [words(card) for card in cards.all()]
    assert len({*texts}) > 1
    expect(page.locator("#counts")).to_have_text("5 of 5 images captioned")
    assert cards.first.locator("img").get_attribute("alt") == texts[0]
    for card in cards.all():
        edit(card, "a text")
    with zipfile.ZipFile(io.BytesIO(download(page, "corrections"))) as archive, served.client() as client:
        for path, text in zip(paths, texts, strict=True):
            answer = client.post("/v1/captions", content=archive.read(f"images/{path.stem}.jpg")).json()
            assert answer["captions"][0]["text"] == text


def test_dropped_and_pasted_images_are_captioned(open_page: Open) -> None:
    page = open_page()
    dropped(page, ["a.png", "b.png"], picture(1))
    page.evaluate(
        """(bytes) => {
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
          const init = { clipboardData, bubbles: true, cancelable: true };
          document.body.dispatchEvent(new ClipboardEvent("paste", init));
        }""",
        list(picture(2)),
    )
    page.evaluate(
        """async (bytes) => {
          const image = new Blob([new Uint8Array(bytes)], { type: "image/png" });
          await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
        }""",
        list(picture(3)),
    )
    page.click("#paste")
    cards = captioned(page, 4)
    assert cards.locator("h3").all_text_contents() == ["a.png", "b.png", "pasted-1.png", "pasted-2.png"]


def test_folders_are_captioned_at_any_depth_and_other_files_left_out(open_page: Open, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    for name in ("10.png", "2.png", "deep/er/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(len(name)))
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(picture(0))
    expected = ["album/2.png", "album/10.png", "album/deep/er/3.png"]

    page = open_page()
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 200, "data": data})
    cards = captioned(page, 3)
    assert cards.locator("h3").all_text_contents() == expected
    expect(page.locator("#note")).to_have_text(
        "3 images added. 2 other files are not images and were left out."
    )

    page = open_page()
    page.set_input_files("#folder", folder)
    assert captioned(page, 3).locator("h3").all_text_contents() == expected


def test_the_camera_takes_a_photo(open_page: Open) -> None:
    page = open_page()
    page.click("#take")
    expect(page.locator("#camera")).to_be_visible()
    page.wait_for_timeout(300)
    check_accessibility(page)
    expect(page.locator("#finder")).not_to_have_js_property("videoWidth", 0)
    page.click("#shoot")
    cards = captioned(page, 1)
    assert cards.locator("h3").inner_text() == "photo-1.jpg"
    assert page.evaluate(
        "document.getElementById('finder').srcObject.getTracks().every((track) => track.readyState === 'ended')"
    )


def test_images_are_sent_small_upright_and_without_metadata(open_page: Open, tmp_path: Path) -> None:
    pixels = np.zeros((600, 2400, 3), np.uint8)
    pixels[:, :1200] = (255, 0, 0)  # the left half, which is the top when upright
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGBA", (30, 20), (0, 0, 0, 0)).save(tmp_path / "b.png")
    page = open_page()
    add(page, [tmp_path / "a.jpg", tmp_path / "b.png"])
    for card in captioned(page, 2).all():
        edit(card, "a text")
    with zipfile.ZipFile(io.BytesIO(download(page, "corrections"))) as archive:
        large, clear = (Image.open(io.BytesIO(archive.read(f"images/{name}.jpg"))) for name in "ab")
    assert large.size == (448, 1792)
    assert not large.getexif()
    top, bottom = large.getpixel((200, 100)), large.getpixel((200, 1700))
    assert top[0] > 200
    assert bottom[0] < 50
    assert clear.size == (30, 20)
    assert min(clear.getpixel((5, 5))) > 250


def test_attention_follows_mouse_and_keys(open_page: Open, images: Callable[[int], list[Path]]) -> None:
    page = open_page()
    add(page, images(1))
    card = captioned(page, 1)
    overlay, where, parts = card.locator("canvas"), card.locator(".where"), card.locator(".word")
    expect(overlay).not_to_have_class("on")
    parts.nth(1).hover()
    expect(overlay).to_have_class("on")
    pattern = re.compile(
        rf"“{parts.nth(1).inner_text()}”, \d+ % sure: (all over|mostly at the [a-z ]+, \d+ %)"
    )
    expect(where).to_have_text(pattern)
    drawn = overlay.evaluate(
        "({ width, height }) => [width, height, document.querySelector('.card canvas').getContext('2d')"
        ".getImageData(0, 0, width, height).data.some((byte) => byte)]"
    )
    assert min(drawn) > 0
    page.mouse.move(0, 0)
    expect(overlay).not_to_have_class("on")

    parts.first.focus()
    page.keyboard.press("ArrowRight")
    expect(parts.nth(1)).to_be_focused()
    expect(parts.nth(1)).to_have_class(re.compile(r"\bon\b"))
    expect(page.locator("#live")).to_have_text(pattern)
    page.keyboard.press("End")
    expect(parts.last).to_be_focused()
    assert [part.get_attribute("tabindex") for part in parts.all()].count("0") == 1
    page.keyboard.press("Escape")
    expect(overlay).not_to_have_class("on")
    expect(card).to_match_aria_snapshot(
        """
        - listitem:
          - article "0.png":
            - img /^[a-z' ]+$/
            - button "Remove 0.png"
            - heading "0.png" [level=3]
            - group "The machine's caption. Arrow keys show where it looked for each word.":
              - button
            - paragraph: /sure by its own estimate/
            - group: 3 captions compared
            - button "Edit"
            - button "Copy"
            - group: More
        """
    )


def test_a_finger_shows_attention_too(open_page: Open, images: Callable[[int], list[Path]]) -> None:
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    add(page, images(1))
    card = captioned(page, 1)
    card.locator(".word").nth(1).tap()
    expect(card.locator("canvas")).to_have_class("on")
    card.locator(".word").nth(1).tap()
    expect(card.locator("canvas")).not_to_have_class("on")
    with page.expect_file_chooser() as opened:
        page.locator("#take").tap()
    assert opened.value.element.get_attribute("capture") == "environment"


def edit(card: Any, text: str) -> None:
    card.get_by_role("button", name="Edit", exact=True).click()
    card.locator("textarea").fill(text)
    card.locator("textarea").press("Enter")


def test_captions_are_edited_undone_and_replaced_by_alternatives(
    open_page: Open, images: Callable[[int], list[Path]]
) -> None:
    page = open_page()
    add(page, images(1))
    card = captioned(page, 1)
    before = words(card)
    edit(card, "my  own\nwords")
    expect(card.locator(".final")).to_have_text("my own words")
    expect(card.get_by_role("button", name="Edit", exact=True)).to_be_focused()
    assert words(card) == before
    expect(page.locator("#counts")).to_have_text("1 of 1 image captioned, 1 edited")
    card.locator(".alternatives summary").click()
    alternatives = [text.split(" (")[0] for text in card.locator(".alternatives li").all_inner_texts()]
    assert alternatives[0] == before
    assert len({*alternatives}) == len(alternatives) > 1
    card.get_by_role("button", name=f"Use “{alternatives[1]}”").click()
    expect(card.locator(".final")).to_have_text(alternatives[1])
    card.get_by_role("button", name="Undo edit").click()
    expect(card.locator(".final")).to_have_text("my own words")
    card.get_by_role("button", name="Undo edit").click()
    expect(card.locator(".final")).to_have_count(0)
    card.get_by_role("button", name="Edit", exact=True).click()
    card.locator("textarea").press("Escape")
    assert words(card) == before


def test_what_is_copied(open_page: Open, images: Callable[[int], list[Path]], served: Running) -> None:
    page = open_page()
    add(page, paths := images(1))
    card = captioned(page, 1)
    text = words(card)

    def copied(button: str) -> str:
        card.get_by_role("button", name=button, exact=True).click()
        expect(card.locator(".where")).to_have_text(re.compile("copied"))
        return str(page.evaluate("navigator.clipboard.readText()"))

    assert copied("Copy") == text
    card.locator(".more summary").click()
    escaped = text.replace("'", "'")
    assert copied("Copy as alt") == f'<img src="0.png" alt="{escaped}">'
    row = json.loads(copied("Copy as JSON"))
    assert (row["path"], row["caption"]) == ("0.png", text)
    assert [word["text"] for word in row["words"]] == text.split()
    line = copied("Copy curl line")
    assert line.startswith("curl ")
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", line], cwd=paths[0].parent, capture_output=True, check=True)
        assert len(json.loads(done.stdout)["captions"]) == 1


def test_downloads_hold_every_caption(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    for number, name in enumerate(("=1+1.png", "same.png", "same.jpg", 'with,"quotes".png')):
        (tmp_path / name).write_bytes(picture(number))
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n not really")
    add(page, sorted(tmp_path.iterdir()))
    cards = captioned(page, 4)
    expect(page.locator("[data-state=failed]")).to_have_count(1)
    names = cards.locator("h3").all_text_contents()
    edit(cards.nth(names.index("=1+1.png")), "-2+3, a formula")
    captions = {
        name: (card.locator(".final").inner_text() if card.locator(".final").count() else words(card))
        for name, card in zip(names, cards.all(), strict=True)
        if name != "damaged.png"
    }

    with zipfile.ZipFile(io.BytesIO(download(page, "txt"))) as archive:
        assert archive.testzip() is None
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert texts == {
        "=1+1.txt": "-2+3, a formula\n",
        "same.txt": f"{captions['same.jpg']}\n",
        "same.png.txt": f"{captions['same.png']}\n",
        'with,"quotes".txt': f"{captions[names[-1]]}\n",
    }

    rows = {row["path"]: row for row in map(json.loads, download(page, "jsonl").decode().splitlines())}
    assert {path: row["caption"] for path, row in rows.items() if "caption" in row} == captions
    assert rows["damaged.png"].keys() == {"path", "error"}
    assert [path for path, row in rows.items() if "edited_at" in row] == ["=1+1.png"]

    table = list(csv.reader(io.StringIO(download(page, "csv").decode("utf-8-sig"))))
    assert table[0] == ["path", "caption", "score", "error", "machine_caption"]
    assert {row[0] for row in table[1:]} == {*names} - {"=1+1.png"} | {"'=1+1.png"}
    assert [row[1] for row in table if row[0] == "'=1+1.png"] == ["'-2+3, a formula"]
    assert all(float(row[2]) < 0 for row in table[1:] if row[2])


def test_corrections_are_a_dataset_for_indexing(
    open_page: Open,
    images: Callable[[int], list[Path]],
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    from showtell.data.prepared import prepare
    from showtell.experiments.index import index_captions

    page = open_page()
    add(page, images(4))
    cards = captioned(page, 4).all()
    page.select_option("#format", "corrections")
    page.click("#download")
    expect(page.locator("#note")).to_contain_text("Nothing is edited yet")
    for number, card in enumerate(cards[:3]):
        edit(card, f"a red dog's ball lies on grass number {number}")
    with zipfile.ZipFile(io.BytesIO(download(page, "corrections"))) as archive:
        archive.extractall(tmp_path / "corrections")
    expect(page.locator("#note")).to_contain_text("showtell prepare corrections")
    by_path = {row["path"]: row for row in map(json.loads, download(page, "jsonl").decode().splitlines())}
    assert all((row["caption"] != row["machine_caption"]) == ("edited_at" in row) for row in by_path.values())

    prepare(tmp_path / "corrections", tmp_path / "set", dev_fraction=0.0)
    found = read_json_lines(tmp_path / "set" / "provenance.jsonl")
    config = json.loads((tiny_checkpoint("attention") / "config.json").read_text())
    for number, row in enumerate(found):
        assert row.pop("text") == f"a red dog's ball lies on grass number {number}"
        assert {name: row[name] for name in by_path[row["path"]] if name != "caption"} == {
            name: value for name, value in by_path[row["path"]].items() if name != "caption"
        }
        assert row["model_fingerprint"] == config["sha256_of_values"]
        assert datetime.fromisoformat(row["edited_at"]) <= datetime.now(UTC)
    assert len(found) == 3
    index_captions(tiny_checkpoint("attention"), tmp_path / "indexed", data=tmp_path / "set")
    with running(tmp_path / "indexed") as indexed:
        page = open_page(indexed.url)
        add(page, images(1))
        card = captioned(page, 1)
        card.locator(".neighbours summary").click()
        expect(card.locator(".neighbours li").first).to_contain_text("a red dog's ball lies on grass number")
        check_accessibility(page)
        page.click("#about > summary")
        expect(page.locator("#knows")).to_contain_text("3 images with 3 captions, to compare with.")
        page.click("#options > summary")
        expect(page.locator("#option-retrieval")).to_have_value("rerank")
        expect(page.locator("#option-retrieve_caption")).to_have_value("true")


def test_the_words_of_greedy_search_appear_one_by_one(
    open_page: Open, images: Callable[[int], list[Path]]
) -> None:
    page = open_page()
    page.click("#options > summary")
    page.select_option("#option-method", "greedy")
    expect(page.locator("#options-now")).to_have_text("greedy")
    page.evaluate(
        """() => {
          window.streamed = [];
          new MutationObserver((changes) => {
            for (const { target, addedNodes } of changes) {
              if (!target.matches("p.words")) continue;
              window.streamed.push(...[...addedNodes].map((node) => node.textContent.trim()));
            }
          }).observe(document.getElementById("list"), { childList: true, subtree: true });
        }"""
    )
    with page.expect_response("**/v1/captions*") as answered:
        add(page, images(1))
    assert answered.value.headers["content-type"].startswith("text/event-stream")
    text = words(captioned(page, 1))
    assert " ".join(filter(None, page.evaluate("window.streamed"))) == text
    page.select_option("#option-method", "sample")
    page.get_by_role("button", name="Caption all again").click()
    expect(page.get_by_role("button", name="Caption all again")).to_be_hidden()
    captioned(page, 1)


def test_options_come_from_the_schema_and_change_captions(
    open_page: Open, images: Callable[[int], list[Path]]
) -> None:
    page = open_page()
    page.click("#options > summary")
    page.click("#fields details summary")
    expect(page.locator("#option-beam_size")).to_have_value("3")
    expect(page.locator("#option-temperature")).to_be_hidden()
    page.fill("#option-beam_size", "65")
    expect(page.locator("#option-beam_size-problem")).to_have_text("A whole number, at least 1, at most 64.")
    expect(page.locator("#option-beam_size")).to_have_attribute("aria-invalid", "true")
    check_accessibility(page)
    page.fill("#option-beam_size", "3")
    add(page, images(2))
    captioned(page, 2)
    expect(page.get_by_role("button", name="Caption all again")).to_be_hidden()
    page.fill("#option-max_tokens", "2")
    page.get_by_role("button", name="Caption all again").click()
    expect(page.locator(".words").first).to_have_text(re.compile(r"^\s*\S+\s+\S+\s*$"))
    for card in captioned(page, 2).all():
        assert len(words(card).split()) == 2
    page.select_option("#option-method", "sample")
    page.fill("#option-temperature", "0")
    expect(page.locator("#option-temperature-problem")).to_have_text("A number, more than 0, at most 10.")
    page.get_by_role("button", name="Back to the model's own").click()
    expect(page.locator("#option-method")).to_have_value("beam")
    expect(page.locator("#options-now")).to_have_text("beam search, 3 compared")


def test_a_calibrated_captioner_says_how_sure_it_is_and_when_it_is_not(
    open_page: Open, tmp_path: Path
) -> None:
    root = Path(__file__).resolve().parents[2]
    Image.effect_noise((320, 320), 90).convert("RGB").save(unlike := tmp_path / "noise.png")
    with running(root / "models" / "flickr8k") as server:
        page = open_page(server.url)
        add(page, [root / "examples" / "beach.jpg", unlike])
        sure, unsure = captioned(page, 2).all()
        expect(sure).to_contain_text(
            re.compile(r"Sure: \d+ % that at least half of it is right; least of “\w+”, \d+ %\.")
        )
        expect(unsure).to_contain_text(re.compile(r"Unsure: \d+ % that at least half"))
        text = words(sure)
        page.click("#options > summary")
        page.click("#fields details summary")
        page.fill("#option-unsure_below", "0.5")
        page.get_by_role("button", name="Caption all again").click()
        expect(unsure).to_contain_text(
            re.compile(r"Unsure what this shows: \d+ % sure of the caption that it would give\.")
        )
        captioned(page, 2)
        assert (words(sure), words(unsure)) == (text, "(unsure)")
        check_accessibility(page)


def test_bad_files_say_what_is_wrong_and_can_be_tried_again(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n not really")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "large.tiff").write_bytes(bytes(21 * 2**20))
    (tmp_path / "notes.txt").write_text("no image")
    page = open_page()
    add(page, sorted(tmp_path.iterdir()))
    expect(page.locator("[data-state=failed]")).to_have_count(4)
    problems = [" ".join(text.split()) for text in page.locator(".card .problem").all_inner_texts()]
    assert problems[0].startswith(("Damaged image: ", "Not a readable image: "))
    assert problems[1] == "Empty: The file has no bytes. Choose another one."
    assert problems[2].startswith("Too large: It has 21.0 MB, the server takes 20.0 MB")
    assert problems[3].startswith("Not an image: notes.txt is another kind of file. Send a JPEG")
    check_accessibility(page)
    page.locator(".card").nth(1).get_by_role("button", name="Try again").click()
    expect(page.locator("[data-state=failed]")).to_have_count(4)
    page.click("#retry-all")
    expect(page.locator("[data-state=failed]")).to_have_count(4)


def test_an_image_beyond_the_servers_bytes_is_refused_in_plain_words(
    open_page: Open, serving: Running, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    page = open_page(serving.url)
    add(page, [tmp_path / "noise.png"])
    expect(page.locator("[data-state=failed] .problem")).to_contain_text(
        re.compile("too large", re.IGNORECASE)
    )


def test_images_are_removed_and_put_back(open_page: Open, images: Callable[[int], list[Path]]) -> None:
    page = open_page()
    add(page, images(3))
    cards = captioned(page, 3)
    page.get_by_role("button", name="Remove 1.png").click()
    assert cards.locator("h3").all_text_contents() == ["0.png", "2.png"]
    expect(page.get_by_role("button", name="Remove 2.png")).to_be_focused()
    page.click("#undo")
    assert cards.locator("h3").all_text_contents() == ["0.png", "1.png", "2.png"]
    page.click("#remove-all")
    expect(cards).to_have_count(0)
    expect(page.locator("#undo")).to_be_focused()
    check_accessibility(page)
    page.click("#undo")
    captioned(page, 3)


def test_a_busy_server_is_waited_for(
    open_page: Open, served: Running, images: Callable[[int], list[Path]]
) -> None:
    page = open_page()
    expect(page.locator("#options")).to_be_visible()
    _, batcher, _ = served.server.service.ready()
    places = batcher.places(64)
    served.call(places.__enter__)
    try:
        add(page, images(6))
        expect(page.locator("#banner")).to_contain_text("The server is busy. This page goes on in")
        expect(page.locator("#live")).to_have_text(re.compile("The server is busy"))
        expect(page.locator("#banner-count")).to_have_text(re.compile(r"^[1-5] s\.$"))
        check_accessibility(page)
    finally:
        served.call(lambda: places.__exit__(None, None, None))
    captioned(page, 6)
    expect(page.locator("#banner")).to_be_hidden()


def test_an_error_after_the_first_words_takes_their_place_and_can_be_tried_again(
    open_page: Open, images: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page()
    page.click("#options > summary")
    page.select_option("#option-method", "greedy")
    original = Captioner.caption_preprocessed

    def fails_in_the_end(captioner: Captioner, *arguments: Any, **options: Any) -> Any:
        original(captioner, *arguments, **options)
        time.sleep(1)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Captioner, "caption_preprocessed", fails_in_the_end)
        add(page, images(1))
        expect(page.locator("p.words .word").first).to_be_visible()
        problem = page.locator("[data-state=failed] .problem")
        expect(problem).to_contain_text("Internal Server Error: the server failed. Try again")
        assert page.locator(".card .word").count() == 0
        check_accessibility(page)
    page.get_by_role("button", name="Try again").click()
    captioned(page, 1)


@pytest.mark.parametrize("phase", ["decoding", "captioning"])  # a status, or an event after the status 200
def test_an_image_that_takes_too_long_says_so_and_can_be_tried_again(
    open_page: Open,
    tiny_checkpoint: Callable[[str], Path],
    images: Callable[[int], list[Path]],
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    async def never(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(60)

    with running(tiny_checkpoint("attention"), max_seconds=1) as hurried:
        page = open_page(hurried.url)
        with monkeypatch.context() as patch:
            owner, name = (DecodePool, "decode") if phase == "decoding" else (Batcher, "caption")
            patch.setattr(owner, name, never)
            with page.expect_response("**/v1/captions*") as answered:
                add(page, images(1))
            assert answered.value.status == (504 if phase == "decoding" else 200)
            problem = page.locator("[data-state=failed] .problem")
            expect(problem).to_have_text(
                re.compile("Gateway Timeout: no captions after 1.0 seconds. Try again")
            )
            check_accessibility(page)
        page.get_by_role("button", name="Try again").click()
        captioned(page, 1)


def test_captions_have_their_language_and_the_page_its_own(
    open_page: Open,
    tiny_checkpoint: Callable[[str], Path],
    images: Callable[[int], list[Path]],
    tmp_path: Path,
) -> None:
    turkish = tmp_path / "turkish"
    shutil.copytree(tiny_checkpoint("attention"), turkish)
    config = json.loads((turkish / "config.json").read_text())
    config["card"] = {**config.get("card", {}), "language": "tr"}
    write_summed_json(turkish / "config.json", config)
    with running(turkish) as started:
        page = open_page(started.url)
        add(page, images(1))
        card = captioned(page, 1)
        expect(card.locator(".word").first).to_have_attribute("lang", "tr")
        expect(card.locator("img")).to_have_attribute("lang", "tr")
        card.get_by_role("button", name="Edit").click()
        expect(card.locator("textarea")).to_have_attribute("lang", "tr")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        check_accessibility(page)


def test_a_restarted_server_is_waited_for(
    open_page: Open, tiny_checkpoint: Callable[[str], Path], images: Callable[[int], list[Path]]
) -> None:
    with running(tiny_checkpoint("attention")) as first:
        page = open_page(first.url)
        add(page, paths := images(60))
        expect(page.locator("[data-state=done]").nth(3)).to_be_attached()
    assert page.locator("[data-state=done]").count() < 60
    expect(page.locator("#banner")).to_contain_text("The server does not answer.")
    check_accessibility(page)
    with running(tiny_checkpoint("attention"), port=int(first.url.rpartition(":")[2])):
        cards = captioned(page, 60)
        expect(page.locator("#banner")).to_be_hidden()
        assert cards.locator("h3").all_text_contents() == [path.name for path in paths]


def test_a_server_with_a_key_is_unlocked(
    open_page: Open, tiny_checkpoint: Callable[[str], Path], images: Callable[[int], list[Path]]
) -> None:
    with running(tiny_checkpoint("attention"), api_key="sesame") as locked:
        page = open_page(locked.url)
        expect(page.locator("#unlock")).to_be_visible()
        add(page, images(2))
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-problem")).to_have_text("This key was not accepted.")
        check_accessibility(page)
        page.fill("#key", "sesame")
        page.keyboard.press("Enter")
        card = captioned(page, 2).first
        expect(page.locator("#unlock")).to_be_hidden()
        card.locator(".more summary").click()
        card.get_by_role("button", name="Copy curl line").click()
        expect(card.locator(".where")).to_have_text("curl line copied.")
        line = page.evaluate("navigator.clipboard.readText()")
        assert "sesame" not in line
        assert '"Authorization: Bearer $SHOWTELL_API_KEY"' in line


def test_a_format_without_its_extra_names_the_extra(
    open_page: Open, tiny_checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pillow_heif.py").write_text("raise ImportError('hidden')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hidden'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    header = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200)
    (tmp_path / "phone.heic").write_bytes(header)
    with running(tiny_checkpoint("attention")) as server:
        page = open_page(server.url)
        add(page, [tmp_path / "phone.heic"])
        expect(page.locator(".card .problem")).to_contain_text("needs the extra 'heif'")
        expect(page.locator(".card")).to_contain_text("This browser has no preview of it.")


def test_500_images_stay_fluid(open_page: Open, tmp_path: Path) -> None:
    paths = []
    for number in range(500):
        paths.append(tmp_path / f"{number:03}.jpg")
        paths[-1].write_bytes(picture(number, "JPEG", (64, 48)))
    page = open_page()
    running_now: set[Any] = set()
    most = [0]

    def begun(request: Any) -> None:
        if "/v1/captions" in request.url:
            running_now.add(request)
            most[0] = max(most[0], len(running_now))

    def ended(request: Any) -> None:
        running_now.discard(request)

    page.on("request", begun)
    page.on("requestfinished", ended)
    page.on("requestfailed", ended)  # as Chromium reports some streams that were read to the end
    page.evaluate(
        """() => {
          window.longest = 0;
          new PerformanceObserver((list) => {
            for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
          }).observe({ type: "longtask" });
        }"""
    )
    add(page, paths)
    expect(page.locator(".card")).to_have_count(500)
    last = page.locator(".card").last
    assert not last.evaluate(
        "(card) => card.querySelector('h3').checkVisibility({ contentVisibilityAuto: true })"
    )
    assert not last.evaluate("(card) => card.querySelector('img').complete")
    captioned(page, 500)
    expect(page.locator("#counts")).to_have_text("500 of 500 images captioned")
    assert 1 < most[0] <= 4
    assert page.evaluate("window.longest") < 1000
    last.scroll_into_view_if_needed()
    expect(last.locator("img")).to_have_js_property("complete", True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, NARROW], ids=["wide", "narrow"])
def test_no_state_has_a_barrier(
    open_page: Open,
    images: Callable[[int], list[Path]],
    scheme: str,
    viewport: dict[str, int],
    tmp_path: Path,
) -> None:
    page = open_page(color_scheme=scheme, viewport=viewport)
    expect(page.locator("#options")).to_be_visible()
    check_accessibility(page)
    page.click("#about > summary")
    page.context.route("**/v1/captions*", lambda route: None)  # no answer for as long as this is checked
    (tmp_path / "notes.txt").write_text("no image")
    add(page, [*images(2), tmp_path / "notes.txt"])
    expect(page.locator("[data-state=captioning]")).to_have_count(2)
    check_accessibility(page)
    page.context.unroute("**/v1/captions*")
    page.click("#remove-all")
    add(page, [*images(2), tmp_path / "notes.txt"])
    card = captioned(page, 2).first
    for summary in card.locator("summary").all():
        summary.click()
    card.locator(".word").first.hover()
    check_accessibility(page)
    card.get_by_role("button", name="Edit", exact=True).click()
    check_accessibility(page)
    page.keyboard.type("edited")
    page.keyboard.press("Enter")
    expect(card.locator(".final")).to_be_visible()
    check_accessibility(page)


def test_all_can_be_done_by_keyboard(open_page: Open, images: Callable[[int], list[Path]]) -> None:
    page = open_page()
    add(page, images(1))
    captioned(page, 1)
    reached = []
    page.locator("body").press("Tab")
    for _ in range(40):
        reached.append(
            page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id")
        )
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid", reached[-1]
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
    for name in (
        "Choose images",
        "Choose a folder",
        "Take a photo",
        "Paste",
        "Download",
        "×",
        "Edit",
        "Copy",
    ):
        assert name in reached
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("button, select, summary, input:not([hidden]), a")]
          .filter((each) => each.checkVisibility()).map((each) => each.getBoundingClientRect())
          .filter(({ width, height }) => width > 1 && (width < 24 || height < 24))
          .map(({ width, height }) => [width, height])"""
    )
    assert sizes == []


def test_motion_is_reduced_on_request(open_page: Open, images: Callable[[int], list[Path]]) -> None:
    for preference, animation in (("no-preference", "appear"), ("reduce", "none")):
        page = open_page(reduced_motion=preference)
        add(page, images(1))
        word = captioned(page, 1).locator(".word").first
        assert word.evaluate("(word) => getComputedStyle(word).animationName") == animation


def test_without_javascript_a_plain_form_works(open_page: Open, images: Callable[[int], list[Path]]) -> None:
    page = open_page(java_script_enabled=False)
    expect(page.locator(".plain")).to_be_visible()
    expect(page.locator("#choose")).to_be_hidden()
    page.set_input_files("#files", images(2))
    page.click(".plain button")
    assert len(json.loads(page.locator("body").inner_text())["captions"]) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_the_api_has_no_barrier(open_page: Open, served: Running, scheme: str) -> None:
    page = open_page(f"{served.url}/docs", color_scheme=scheme, viewport=NARROW)
    expect(page.locator("h1")).to_be_visible()
    check_accessibility(page)


def test_the_page_says_what_the_model_knows(open_page: Open) -> None:
    page = open_page()
    page.click("#about > summary")
    expect(page.locator("#knows")).to_contain_text("words: it can name nothing else.")
    expect(page.locator("#intake")).to_contain_text("from there nowhere else")
    expect(page.locator("#intake")).to_contain_text("A machine writes the captions: they can be wrong.")
