#!/bin/sh
# Python 3.11.7, tarfile: at a header that is cut or broken, iteration ends without an error, as at the end of the
# archive, unless it is the first header. A second archive that follows the first (cat a.tar b.tar) is passed over, too.
# A reader loses all members behind that place and cannot know; only data that are cut raise ReadError.
# After iteration, TarFile.offset is where it ended: a proper end has 512 zero bytes there, and nothing but zeros behind.
#
# Prints the members that are found and what is at the end, and fails if that changes.
set -eu
python3 - <<'PYTHON'
import io
import sys
import tarfile


def archive(names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 600
            tar.addfile(info, io.BytesIO(b"x" * 600))
    return buffer.getvalue()


MEMBER = 512 + 1024  # header and padded data
whole = archive("abcd")
broken = bytearray(whole)
broken[2 * MEMBER : 2 * MEMBER + 100] = b"#" * 100
cases = {
    "whole": (whole, "abcd", True),
    "cut between two members": (whole[: 2 * MEMBER], "ab", False),
    "cut within a header": (whole[: 2 * MEMBER + 100], "ab", False),
    "a broken header": (bytes(broken), "ab", False),
    "two archives in one file": (archive("ab") + archive("cd"), "ab", True),
}
print("Python", sys.version.split()[0])
for case, (content, expected, has_end) in cases.items():
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = "".join(member.name for member in tar)
        tar.fileobj.seek(tar.offset)
        mark, rest = tar.fileobj.read(512), tar.fileobj.read()
    end = "end mark" if mark == bytes(512) else "no end mark"
    print(f"{case:26} members {found:5} {end}{', data behind it' if rest.strip(bytes(1)) else ''}")
    assert (found, mark == bytes(512)) == (expected, has_end), case
try:
    with tarfile.open(fileobj=io.BytesIO(whole[: 2 * MEMBER - 900])) as tar:
        sys.exit(f"no error, members {[member.name for member in tar]}")
except tarfile.ReadError as error:
    print(f"cut within data            ReadError: {error}")
PYTHON
