from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx

from showtell.serve.guard import CONTENT_SECURITY_POLICY
from showtell.serve.page_files import FOLDER


class _Page(HTMLParser):
    """Collects what a strict content security policy forbids, ids, and what the page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self._is_script = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self._is_script = tag == "script"
        self.forbidden += [name for name in values if name == "style" or name.startswith("on")]
        self.forbidden += ["<style>"] if tag == "style" else []
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values[name] or "" for name in ("src", "href", "action") if name in values]

    def handle_data(self, data: str) -> None:
        if self._is_script and data.strip():
            self.forbidden.append("<script>")


def _page() -> _Page:
    page = _Page()
    page.feed((FOLDER / "index.html").read_text(encoding="utf-8"))
    return page


def test_the_page_has_60_kb_at_most() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 60 * 1024


def test_the_page_has_no_inline_script_or_style() -> None:
    assert _page().forbidden == []
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    for path in FOLDER.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b", path.read_text("utf-8")), (
            path.name
        )


def test_everything_that_the_page_names_is_served_here(client: httpx.Client) -> None:
    page = _page()
    assert all(re.fullmatch(r"\w[\w./-]+", link) for link in page.links), page.links
    for link in page.links:
        expected = 405 if link == "v1/captions" else 200
        assert client.get(link).status_code == expected, link
    for module in FOLDER.glob("*.js"):
        text = module.read_text(encoding="utf-8")
        assert all((FOLDER / name).is_file() for name in re.findall(r'from "\./(.*?)"', text)), module.name
        assert {*re.findall(r'(?:find|chosen)\("([\w-]+)"', text)} <= {*page.ids}, module.name
        assert "://" not in text, module.name
    assert len(page.ids) == len({*page.ids})
