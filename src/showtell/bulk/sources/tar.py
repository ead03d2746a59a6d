"""Shards of images, WebDataset's and others: ``{"tar": PATH}``, a unit each.

Images are members with the suffix of an image, or, where the suffix is unknown, with the first bytes of one, as in
folders. At any time one member is in memory.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from tarfile import TarInfo
from typing import IO, Any

from showtell.bulk.sources.storage import open_binary
from showtell.bulk.units import Failure, UnitImage
from showtell.data.sources.tar_file import ERRORS, decompressed, read_member, visible_members
from showtell.errors import ShowtellError
from showtell.images.formats import IMAGE_SUFFIXES, OTHER_SUFFIXES
from showtell.images.load import NamedBytes
from showtell.images.refusals import Limits
from showtell.images.signatures import identify


def read(content: dict[str, Any], start: int) -> Iterator[UnitImage]:
    """Yield the images in the order of the shard, named ``SHARD/MEMBER``."""
    for load in islice(_images(content["tar"]), start, None):
        yield load()


def _images(shard: str) -> Iterator[Callable[[], UnitImage]]:
    """Yield a function for each image, to be called before the next is taken, or not at all."""
    is_empty = True
    try:
        with open_binary(shard) as file:
            content = decompressed(file)
            for member in visible_members(content):
                load = partial(_load, content, member, shard)
                name = member.name.lower()
                if not name.endswith(IMAGE_SUFFIXES):
                    if name.endswith(OTHER_SUFFIXES) or not member.isreg():
                        continue
                    image = load()  # whole: going back in a compressed shard is slow
                    if not isinstance(image, NamedBytes) or not identify(image.data).pillow:
                        continue
                    load = partial(_same, image)
                is_empty = False
                yield load
        failed = "a .tar without images" if is_empty else ""
    except (*ERRORS, ShowtellError) as error:
        failed = getattr(error, "found", "") or getattr(error, "strerror", None) or str(error)
    if failed:
        yield partial(Failure.of, shard, failed, "Copy it again, or leave it out")


def _load(content: IO[bytes], member: TarInfo, shard: str) -> UnitImage:
    name = f"{shard}/{member.name.removeprefix('./')}"
    if not member.isreg() or member.issparse():
        return Failure.of(name, "a link or a special file")
    try:
        data = read_member(content, (member.offset_data, member.size), Limits().max_bytes)
    except (*ERRORS, ShowtellError) as error:
        return Failure.of(name, str(error))
    return NamedBytes(data, name)


def _same(image: UnitImage) -> UnitImage:
    return image
