"""Knows what a file is by its first bytes, whatever its name."""

import re
import struct
import zlib
from dataclasses import dataclass

JPEG_MAGIC = b"\xff\xd8\xff"
_CONVERT = "Convert it to PNG or JPEG, or leave it out"
_UNPACK = "Unpack it"
_VIDEO = "Take frames from it, for example: ffmpeg -i VIDEO frame-%04d.png"
_DEVELOP = "Export it as JPEG or TIFF with a program that develops camera RAW files"
_COPY = "Copy it again"


@dataclass(frozen=True)
class FileKind:
    """What a file is: its name with an article, the next step if it cannot be read, and how it can be read.

    ``pillow`` is Pillow's name of a format that is read, ``extra`` the extra that this needs.
    """

    name: str
    mend: str = _CONVERT
    pillow: str = ""
    extra: str = ""


def _read(name: str, pillow: str, extra: str = "") -> FileKind:
    return FileKind(name, _COPY, pillow, extra)


JPEG, PNG, GIF = _read("a JPEG image", "JPEG"), _read("a PNG image", "PNG"), _read("a GIF image", "GIF")
WEBP, BMP, TIFF = _read("a WebP image", "WEBP"), _read("a BMP image", "BMP"), _read("a TIFF image", "TIFF")
AVIF, HEIC = _read("an AVIF image", "AVIF"), _read("a HEIC image", "HEIF", "heif")
JPEG_XL = _read("a JPEG XL image", "JXL", "jxl")

_JPEG_2000 = FileKind("a JPEG 2000 image")
_NETPBM = FileKind("a Netpbm image (PBM, PGM, PPM or PAM)")
_TARGA = FileKind("a Targa image (TGA)")
_SVG = FileKind("an SVG drawing", "Draw it as PNG, for example: resvg DRAWING.svg DRAWING.png")
_POSTSCRIPT = FileKind("a PostScript document (EPS)")
_HDR = FileKind("a high-dynamic-range image", "Map its tones to 8 bits as PNG or JPEG, or leave it out")
_MOV = FileKind("a QuickTime video (MOV)", _VIDEO)
_GZIP = FileKind("a gzip file", _UNPACK)
_LFS = FileKind("a Git LFS pointer, not the image itself", "Run: git lfs pull")
_HTML = FileKind("an HTML page", "The download failed: get the image itself")
_TEXT = FileKind("a text file", "Name image files only")

_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, JPEG_MAGIC, JPEG),
    (0, b"\x89PNG", PNG),
    (0, b"GIF8", GIF),
    (8, b"WEBP", WEBP),
    (0, b"BM", BMP),
    (0, b"\xff\x0a", JPEG_XL),
    (0, b"\0\0\0\x0cJXL ", JPEG_XL),
    (0, b"\0\0\0\x0cjP  ", _JPEG_2000),
    (0, b"\xff\x4f\xff\x51", _JPEG_2000),
    (0, b"II\xbc", FileKind("a JPEG XR image")),
    (0, b"8BPS", FileKind("a Photoshop document (PSD)")),
    (0, b"gimp xcf", FileKind("a GIMP document (XCF)")),
    (0, b"%!PS", _POSTSCRIPT),
    (0, b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (0, b"v/1\x01", FileKind("an OpenEXR image", _HDR.mend)),
    (0, b"#?RADIANCE", FileKind("a Radiance HDR image", _HDR.mend)),
    *((0, b"P%d%c" % (kind, end), _NETPBM) for kind in range(1, 8) for end in b"\n\r\t "),
    (0, b"\0\0\2\0\0\0\0\0", _TARGA),
    (0, b"\0\0\x0a\0\0\0\0\0", _TARGA),
    (0, b"\0\0\1\0", FileKind("an icon (ICO)")),
    (0, b"icns", FileKind("an icon (ICNS)")),
    (0, b"DDS ", FileKind("a DDS texture")),
    (0, b"qoif", FileKind("a QOI image")),
    (0, b"BPG\xfb", FileKind("a BPG image")),
    (0, b"SIMPLE  =", FileKind("a FITS image")),
    (0, b"\xd7\xcd\xc6\x9a", FileKind("a Windows metafile (WMF)")),
    (128, b"DICM", FileKind("a DICOM image", "Convert it to PNG with its window applied, or leave it out")),
    (
        0,
        b"\x93NUMPY",
        FileKind("a NumPy array", "Load it, and caption the array (uint8 [H, W, 3]) in Python"),
    ),
    (0, b"FUJIFILMCCD-RAW", FileKind("a camera RAW file (Fujifilm RAF)", _DEVELOP)),
    (0, b"IIRO", FileKind("a camera RAW file (Olympus ORF)", _DEVELOP)),
    (0, b"IIRS", FileKind("a camera RAW file (Olympus ORF)", _DEVELOP)),
    (0, b"MMOR", FileKind("a camera RAW file (Olympus ORF)", _DEVELOP)),
    (0, b"IIU\0", FileKind("a camera RAW file (Panasonic RW2)", _DEVELOP)),
    (0, b"FOVb", FileKind("a camera RAW file (Sigma X3F)", _DEVELOP)),
    (0, b"\0MRM", FileKind("a camera RAW file (Minolta MRW)", _DEVELOP)),
    (4, b"moov", _MOV),
    (4, b"mdat", _MOV),
    (4, b"wide", _MOV),
    (0, b"\x1aE\xdf\xa3", FileKind("a WebM or Matroska video", _VIDEO)),
    (8, b"AVI ", FileKind("an AVI video", _VIDEO)),
    (0, b"FLV\1", FileKind("a Flash video", _VIDEO)),
    (0, b"\0\0\1\xba", FileKind("an MPEG video", _VIDEO)),
    (8, b"WAVE", FileKind("a sound file (WAV)", "Leave it out")),
    (0, b"ID3", FileKind("a sound file (MP3)", "Leave it out")),
    (0, b"PK\3\4", FileKind("a ZIP file", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("a 7-Zip file", _UNPACK)),
    (0, b"Rar!\x1a\7", FileKind("a RAR file", _UNPACK)),
    (257, b"ustar", FileKind("a tar file", _UNPACK)),
    (0, b"\x1f\x8b", _GZIP),
    (0, b"\0\5\x16\7", FileKind("macOS's extra data of a file, not the file itself", "Leave it out")),
    (0, b"version https://git-lfs", _LFS),
)
_RAW_TIFFS = {  # by the value of a tag of the first directory or one below it
    259: {32767, 32770, 34316, 34713, 65535},  # the compressions of Sony, Samsung, Panasonic, Nikon, Pentax
    262: {32803, 34892},  # pixels of a color filter array, or linear ones
}
_MAKE, _SUB_DIRECTORIES = 271, 330
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"avci", b"avcs", b"jpeg", b"j2ki", b"vvic"), FileKind("a HEIF image without HEVC")),
    b"crx ": FileKind("a camera RAW file (Canon CR3)", _DEVELOP),
    b"qt  ": _MOV,
}
_MARKUP = re.compile(rb"<(svg|!doctype\s+svg|html|!doctype\s+html|head|body)\b", re.IGNORECASE)
_TEXT_HEAD = 4096  # bytes; editors put comments before <svg>


def identify(data: bytes) -> FileKind:
    """Return what a file is. ``data`` is the whole file, or as many of its first bytes as there are.

    A file that nothing is known about is named by its first bytes.
    """
    for known in (_by_signature, _iso_media, _tiff, _document):
        if (kind := known(data)) is not None:
            return kind
    return FileKind("bytes " + " ".join(f"{byte:02X}" for byte in data[:8]))


def _by_signature(data: bytes) -> FileKind | None:
    for offset, magic, kind in _SIGNATURES:
        if data.startswith(magic, offset):
            return _svg_in_gzip(data) or kind if kind is _GZIP else kind
    return None


def _iso_media(data: bytes) -> FileKind | None:
    """Return the kind of a file of boxes by its brands: the major one, and those it is compatible with."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), 1024)
    major = data[8:12]
    if major in _BRANDS:
        return _BRANDS[major]
    if major in (b"mif1", b"msf1", b"mif2", b"miaf", b"heif"):
        others = {data[start : start + 4] for start in range(16, size, 4)}
        return AVIF if others & {b"avif", b"avis"} else HEIC
    return FileKind("an MP4 video", _VIDEO)


def _tiff(data: bytes) -> FileKind | None:
    if data.startswith((b"II*\0", b"MM\0*")):
        return _raw_tiff(data) or TIFF
    return TIFF if data.startswith((b"II+\0", b"MM\0+")) else None  # BigTIFF


def _document(data: bytes) -> FileKind | None:
    if b"%PDF-" in data[:1024]:
        return FileKind(
            "a PDF document", "Convert its pages to images, for example: pdftoppm -png DOCUMENT page"
        )
    if data and not data.strip(b"\0"):
        return FileKind("a file of zeros", _COPY)
    return _text(data[:_TEXT_HEAD])


def _raw_tiff(data: bytes) -> FileKind | None:
    """Return the kind of a camera RAW file in the form of a TIFF, whose first image is a thumbnail at best."""
    if data[8:10] == b"CR":
        return FileKind("a camera RAW file (Canon CR2)", _DEVELOP)
    try:
        first = _tiff_directory(data, _numbers(data, 4, "I")[0])
        if 50706 in first:
            return FileKind("a camera RAW file (DNG)", _DEVELOP)
        count, place = first.get(_SUB_DIRECTORIES, (0, 0))
        below = _numbers(data, place, f"{min(count, 8)}I") if count > 1 else (place,) * count
        for tags in (first, *(_tiff_directory(data, offset) for offset in below)):
            if any(tags.get(tag, (0, 0))[1] in values for tag, values in _RAW_TIFFS.items()):
                count, place = first.get(_MAKE, (0, 0))
                make = data[place : place + count].partition(b"\0")[0].decode("ascii", "ignore").strip()
                return FileKind(f"a camera RAW file ({make or 'of an unknown make'})", _DEVELOP)
    except struct.error:  # a damaged directory: the decoder reports it
        return None
    return None


def _tiff_directory(data: bytes, offset: int) -> dict[int, tuple[int, int]]:
    """Return count and value, or the place of the values, by tag; classic TIFF only."""
    (length,) = _numbers(data, offset, "H")
    tags = {}
    for start in range(offset + 2, offset + 2 + 12 * length, 12):
        tag, form, count = _numbers(data, start, "HHI")
        tags[tag] = count, _numbers(data, start + 8, "H" if form == 3 and count == 1 else "I")[0]
    return tags


def _numbers(data: bytes, offset: int, form: str) -> tuple[int, ...]:
    return struct.unpack_from((">" if data.startswith(b"MM") else "<") + form, data, offset)


def _svg_in_gzip(data: bytes) -> FileKind | None:
    try:
        head = zlib.decompressobj(wbits=31).decompress(data[: 2 * _TEXT_HEAD], _TEXT_HEAD)
    except zlib.error:
        return None
    return _SVG if _text(head) is _SVG else None


def _text(head: bytes) -> FileKind | None:
    """Return the kind of text, or None for anything else."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "ignore").encode()
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # the last character may be cut
            return None
    if not head or re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", head):
        return None
    if re.match(rb"P[1-7]\s", head):
        return FileKind("a Netpbm image (PPM, PGM or PBM)")
    found = _MARKUP.search(head)
    if found is None or not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _TEXT
    return _SVG if b"svg" in found[1].lower() else _HTML
