"""Keys of embedded images, whose datasets need not name them, or may give one name to several."""

import hashlib

from showtell.system.disk_store import DiskList


class UniqueNames:
    """Assigns keys to embedded images: different images get different keys, and an unnamed image one key.

    Datasets with a row per caption repeat the image; where rows have no file name, equal bytes are one image.
    """

    def __init__(self) -> None:
        self._digests = _pairs()  # by key
        self._keys = _pairs()  # of images without a name, by digest

    def key(self, data: bytes, name: str, identity: str) -> str:
        """Return the key of an image with this file name, or else the identity of its row."""
        digest = hashlib.sha256(data).hexdigest()
        earlier = None if name else self._keys.find(digest)
        if earlier is not None:
            return earlier[1]
        key = name or identity or digest[:16]
        taken = self._digests.add((key, digest))
        if taken is not None and taken[1] != digest:
            key = f"{key}#{digest[:8]}"
        if not name:
            self._keys.add((digest, key))
        return key


def _pairs() -> DiskList[tuple[str, str]]:
    return DiskList(pack=list, unpack=tuple, key=lambda pair: pair[0])
