"""The formats of images that are read, the files of a folder that are images, and what to say about other files."""

import importlib

from PIL import Image

from showtell.errors import ImageError, install_hint
from showtell.images.refusals import refused
from showtell.images.signatures import FileKind, identify

_READ = (
    ".jpg .jpeg .jpe .jfif .png .apng .gif .webp .bmp .dib .tif .tiff "
    ".avif .avifs .heic .heif .heics .heifs .hif .jxl"
)
_NOT_READ = (
    ".jp2 .j2k .jpf .jpx .jxr .svg .svgz .psd .eps .exr .hdr .dcm .tga .ppm .pgm .pbm .pnm .ico .bpg .qoi .xcf "
    ".cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .dng .raf .orf .rw2 .pef .srw .3fr .iiq .x3f .kdc .dcr .mrw .erf .mef "
    ".mos .rwl"
)
_NO_IMAGES = (
    ".txt .md .pdf .html .htm .json .jsonl .xml .xmp .csv .tsv .yaml .yml .ini .db .log .py .aae .thm .npy .npz .zip "
    ".gz .tar .7z .rar .mov .mp4 .m4v .avi .mkv .webm .mpg .3gp .mts .mp3 .m4a .wav"
)
READ_SUFFIXES = tuple(_READ.split())
IMAGE_SUFFIXES = (*READ_SUFFIXES, *_NOT_READ.split())
"""Names of image files in a folder: those that are read, and those that are reported as not readable."""

OTHER_SUFFIXES = tuple(_NO_IMAGES.split())
"""Names of files in a folder that are no images, and are not opened to find out."""

EXPECTED = "JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, HEIC or JPEG XL"
_PLUGINS = {  # Pillow has more, but EPS runs a program
    **{name: f"PIL.{name.capitalize()}ImagePlugin" for name in ("PNG", "GIF", "BMP", "TIFF", "JPEG", "AVIF")},
    "WEBP": "PIL.WebPImagePlugin",
    "JXL": "pillow_jxl",
    "HEIF": "pillow_heif",
}
_ready: set[str] = set()


def pillow_formats(data: bytes, name: str) -> list[str]:
    """Return Pillow's format of a file, by its first bytes, after importing the decoder.

    Pillow imports all its decoders otherwise, which takes longer than decoding a JPEG.

    Raises:
        ImageError: the file is of no format that is read, or its decoder is not installed.
    """
    kind = identify(data)
    if not kind.pillow:
        raise refused(name, kind.name, EXPECTED, kind.mend)
    if kind.pillow not in _ready:
        _import_decoder(kind, name)
        _ready.add(kind.pillow)
    return [kind.pillow]


def _import_decoder(kind: FileKind, name: str) -> None:
    try:
        plugin = importlib.import_module(_PLUGINS[kind.pillow])
    except ImportError as error:
        if kind.extra:
            found = f"{kind.name}, which needs the extra '{kind.extra}'"
            raise refused(name, found, "", install_hint(kind.extra)) from error
        raise _not_in_pillow(kind, name) from error
    if kind.pillow == "HEIF":
        # Depth maps, gain maps and thumbnails are not read, so that a file cannot make them cost anything.
        plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    if kind.pillow not in Image.OPEN:
        raise _not_in_pillow(kind, name)


def _not_in_pillow(kind: FileKind, name: str) -> ImageError:
    mend = "Run: pip install --upgrade Pillow"
    return refused(name, f"{kind.name}, which this version of Pillow cannot read", "", mend)
