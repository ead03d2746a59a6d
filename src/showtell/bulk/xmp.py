"""Descriptions of images in XMP side-cars, as photo managers read them. Everything else in a side-car stays.

Sources: XMP Specification Part 1 (ISO 16684-1), 7.9 (forms of RDF) and 8.2.2.4 (language alternatives); IPTC Photo
Metadata Standard 2021.1 (Alt Text). Managers differ in which of the two descriptions they read first.
"""

import textwrap
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

from showtell.errors import DataError, import_extra, reason

ALT_TEXT_LENGTH = 250
"""Characters of an alternative text at most (IPTC)."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DESCRIPTION, _ALTERNATIVES, _ITEM = (f"{{{_RDF}}}{name}" for name in ("Description", "Alt", "li"))
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_DESCRIPTIONS = {
    "dc": "{http://purl.org/dc/elements/1.1/}description",
    "tiff": "{http://ns.adobe.com/tiff/1.0/}ImageDescription",
}
_ALT_TEXT = {"Iptc4xmpCore": "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}AltTextAccessibility"}
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{_RDF}"/>\n</x:xmpmeta>\n<?xpacket end="w"?>'
).encode()


def import_lxml() -> Any:
    """Import lxml's ElementTree; a MissingExtraError if it is missing."""
    return import_extra("lxml.etree", extra="xmp", need="lxml (XMP side-cars)")


def read_description(content: bytes, path: Path) -> str:
    """Return the description in an XMP packet, in its default language; empty if there is none.

    Raises:
        DataError: it is no XMP, not well-formed, or has a document type: entities are never expanded.
    """
    if not content:
        return ""
    rdf = _parse(content, path)
    texts = (_text(rdf, name) for name in _DESCRIPTIONS.values())
    return next((text for text in texts if text.strip()), "")


def merge(content: bytes, description: str, alt_text: str, path: Path, *, overwrite: bool) -> bytes:
    """Return an XMP packet with the descriptions in the default language, and the alternative text.

    ``content`` is the packet so far, or empty. An alternative text in it is kept unless ``overwrite``.
    """
    etree = import_lxml()
    rdf = _parse(content or _EMPTY, path)
    for prefix, name in _DESCRIPTIONS.items():
        _set(rdf, prefix, name, description)
    for prefix, name in _ALT_TEXT.items():
        if overwrite or not _text(rdf, name).strip():
            _set(rdf, prefix, name, textwrap.shorten(alt_text, ALT_TEXT_LENGTH, placeholder="…"))
    if not content:
        etree.indent(rdf.getroottree(), " ")
    declared = content.removeprefix(BOM_UTF8).startswith(b"<?xml")
    written: bytes = etree.tostring(rdf.getroottree(), encoding="utf-8", xml_declaration=declared)
    return written + b"\n"


def _parse(content: bytes, path: Path) -> Any:
    """Return the element ``rdf:RDF``."""
    etree = import_lxml()
    found = "a document type" if b"<!DOCTYPE" in content.replace(b"\0", b"") else ""
    if not found:
        parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)
        try:
            root = etree.fromstring(content, parser)
            rdf = root if root.tag == f"{{{_RDF}}}RDF" else root.find(f"{{{_RDF}}}RDF")
            if rdf is not None:
                return rdf
            found = "no rdf:RDF in it"
        except etree.XMLSyntaxError as error:
            found = reason(error)
    raise DataError(
        f"cannot use {path} as a side-car",
        found=found,
        expected="an XMP packet",
        mend="Mend it, or move it away",
    )


def _text(rdf: Any, name: str) -> str:
    """Return a property's text in the default language, else in its first one."""
    for element in rdf.iterfind(f"{_DESCRIPTION}/{name}"):
        items = element.findall(f"*/{_ITEM}")
        default = [item for item in items if item.get(_LANGUAGE) == "x-default"]
        text = "".join((default + items or [element])[0].itertext())
        if text.strip():
            return text
    # A property of one text may be an attribute.
    return next((each.get(name) for each in rdf.iterfind(_DESCRIPTION) if each.get(name)), "")


def _set(rdf: Any, prefix: str, name: str, text: str) -> None:
    """Set a property's text in the default language; texts in other languages stay."""
    etree = import_lxml()
    for each in rdf.iterfind(_DESCRIPTION):
        each.attrib.pop(name, None)
    element = rdf.find(f"{_DESCRIPTION}/{name}")
    if element is None:
        parent = rdf.find(_DESCRIPTION)
        if parent is None:
            parent = etree.SubElement(rdf, _DESCRIPTION, {f"{{{_RDF}}}about": ""})
        element = etree.SubElement(parent, name, nsmap={prefix: name[1:].partition("}")[0]})
    alternatives = element.find(_ALTERNATIVES)
    if alternatives is None:
        element.clear(keep_tail=True)
        alternatives = etree.SubElement(element, _ALTERNATIVES)
    item = next((each for each in alternatives if each.get(_LANGUAGE) == "x-default"), None)
    if item is None:
        item = etree.Element(_ITEM)
        alternatives.insert(0, item)
    item.clear(keep_tail=True)
    item.set(_LANGUAGE, "x-default")
    item.text = text
