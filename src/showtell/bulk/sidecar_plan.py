"""What a call with side-cars would do with each image, found before any image is captioned."""

import errno
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from showtell.bulk.sidecars import Sidecars
from showtell.bulk.units import UNIT_IMAGES, Listing
from showtell.errors import ConfigError, DataError
from showtell.images.formats import IMAGE_SUFFIXES, READ_SUFFIXES
from showtell.system.atomic import cannot_write
from showtell.system.console import note
from showtell.system.disk_store import DiskList, text_list

_NOT_READ = tuple(set(IMAGE_SUFFIXES) - set(READ_SUFFIXES))


class Planned(NamedTuple):
    """An image and its side-car, which has text (``is_done``), cannot be written (``problem``), or is due."""

    image: Path
    sidecar: Path
    is_done: bool = False
    problem: str = ""


def plan(listing: Listing, sidecars: Sidecars) -> Iterator[Planned]:
    """Yield each image once.

    Images that would have one side-car are problems all, since none has a better claim; only a file whose suffix says
    that it is not read, such as the RAW file of a JPEG, has none. Names that differ in case are one name, as on
    some disks.

    Raises:
        DataError: a folder of side-cars cannot be written.
        ConfigError: the sources are no image files.
    """
    claims = DiskList[list[str]](pack=list, unpack=list, key=lambda claim: claim[0])  # side-car, images
    for image in _images(listing):
        if not image.name.lower().endswith(_NOT_READ):
            place = str(sidecars.resolve(image.parent) / image.name)
            claim = [_key(sidecars.path_of(image)), place]
            earlier = claims.add(claim)
            if earlier is not None and place not in earlier:
                claims.replace([*earlier, place])
    images, folders = text_list(), text_list()
    for image in _images(listing):
        place = str(sidecars.resolve(image.parent) / image.name)
        if images.add(place) is not None:
            continue
        sidecar = sidecars.path_of(image)
        claim = claims.find(_key(sidecar)) or []
        rivals = [Path(other).name for other in claim[1:] if other != place]
        try:
            if rivals:
                raise DataError(
                    f"cannot write {sidecar} for {image}",
                    found=f"other images with that side-car ({', '.join(rivals)})",
                    mend="Rename them, or use -o FILE",
                )
            is_done = sidecars.is_done(sidecar)
        except DataError as error:
            yield Planned(image, sidecar, problem=str(error))
            continue
        if not is_done and folders.add(str(sidecar.parent)) is None:
            _check_folder(sidecar.parent)
        yield Planned(image, sidecar, is_done)


def pending(listing: Listing, sidecars: Sidecars) -> Listing:
    """Return the images of a plan that are due, and the problems; note how many are done."""
    problems = list(listing.problems)
    images, num_done = text_list(), 0
    for planned in plan(listing, sidecars):
        if planned.problem:
            problems.append(planned.problem)
        elif planned.is_done:
            num_done += 1
        else:
            images.add(str(planned.image))
    if num_done:
        note(f"{num_done:,} images have a description already; {len(images):,} are to be captioned")

    def contents() -> Iterator[dict[str, Any]]:
        paths = iter(images)
        while unit := list(islice(paths, UNIT_IMAGES)):
            yield {"paths": unit}

    return Listing(contents, len(images), problems)


def _images(listing: Listing) -> Iterator[Path]:
    for unit in listing.units():
        if "paths" not in unit.content:
            source = next(iter(unit.content.values()))
            raise ConfigError(
                "side-cars cannot be written",
                found=f"images that are no files of their own, in {source if isinstance(source, str) else source[0]}",
                mend="Use -o FILE for them",
            )
        yield from map(Path, unit.content["paths"])


def _key(sidecar: Path) -> str:
    return f"{sidecar.parent}{os.sep}{sidecar.name.casefold()}"


def _check_folder(folder: Path) -> None:
    """Raise a DataError if a folder that exists, or that would be made, cannot be written."""
    existing = next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110 (never raises)
    code = errno.EACCES if existing.is_dir() else errno.ENOTDIR
    if code == errno.ENOTDIR or not os.access(existing, os.W_OK | os.X_OK):
        raise cannot_write(folder, OSError(code, os.strerror(code)))
