"""Sphinx configuration: `make docs` builds the site in build/docs, with no network at build or view time."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

project = "showtell"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["scripts", "README.md"]

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
default_role = "literal"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = f"showtell {release}"
highlight_language = "sh"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["showtell.css"]
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": False,
    "header_links_before_dropdown": 0,
    "navbar_center": [],
    "navbar_start": ["navbar-logo"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"**": ["site-nav"]}
templates_path = ["_templates"]

_PICTURE = re.compile(
    r'<picture>\s*<source [^>]*srcset="(?P<dark>[^"]+)">\s*'
    r'<img src="(?P<light>[^"]+)" alt="(?P<alt>[^"]*)">\s*</picture>'
)
_ROOT_PAGES = {"../CHANGELOG.md": "changelog.md", "../CONTRIBUTING.md": "contributing.md"}
_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./(?!results)([^)#]*)(?:#[^)]*)?\)")


def _adapt(_app: Any, _docname: str, source: list[str]) -> None:
    """Let pages that are written for repository browsers follow the site's theme switch and its own pages."""
    text = _PICTURE.sub(
        lambda found: "\n\n".join(
            f"```{{image}} {found[mode]}\n:class: only-{mode}\n:alt: {found['alt']}\n```"
            for mode in ("light", "dark")
        ),
        source[0],
    )
    for path, page in _ROOT_PAGES.items():
        text = text.replace(f"]({path}", f"]({page}")
    source[0] = _OUTSIDE.sub(r"\1 (`\2`)", text)


def setup(app: Any) -> None:
    """Register the hook."""
    app.connect("source-read", _adapt)
