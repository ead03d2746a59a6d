#!/bin/sh
# Whether pixels of a JPEG file are missing is told by none of these: Pillow 13.0.0 refuses a file whose every pixel is
# there and whose end mark (two bytes) is missing, and reads half a file without an error or a warning if the end mark
# follows. simplejpeg 1.9.0 refuses both by default, with libjpeg's first warning alone: an odd JFIF version in the header
# replaces the message about the missing pixels. It reads a progressive file without its last scan and says nothing.
#
# Prints what each does, and fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 simplejpeg==1.9.0 numpy==2.4.6
cat > "$folder/check.py" <<'PYTHON'
import io
import sys

import numpy as np
import simplejpeg
from PIL import Image

pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def encode(**options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def outcome(read):
    try:
        read()
    except (OSError, ValueError) as error:
        return str(error)
    return "read"


whole, progressive, end = encode(), encode(progressive=True), b"\xff\xd9"
half = whole[: len(whole) // 2] + end
files = {
    "whole": whole,
    "no end mark": whole[:-2],
    "half and end mark": half,
    "odd header": whole.replace(b"JFIF\0\1", b"JFIF\0\7"),
    "odd header, half": half.replace(b"JFIF\0\1", b"JFIF\0\7"),
    "last scan missing": progressive[: progressive.rindex(b"\xff\xda")] + end,
}
found = {}
for name, data in files.items():
    pillow = outcome(lambda: Image.open(io.BytesIO(data)).load())
    simple = outcome(lambda: simplejpeg.decode_jpeg(data))
    found[name] = (pillow == "read", simple == "read")
    print(f"{name:18} Pillow: {pillow}; simplejpeg: {simple}")
    if name.startswith("odd header") and "JFIF" not in simple:
        sys.exit("simplejpeg no longer reports the header")
expected = {
    "whole": (True, True),
    "no end mark": (False, False),
    "half and end mark": (True, False),
    "odd header": (True, False),
    "odd header, half": (True, False),
    "last scan missing": (True, True),
}
sys.exit(found != expected)
PYTHON
"$folder/venv/bin/python" "$folder/check.py"
echo "neither Pillow nor simplejpeg tells whether pixels of a JPEG are missing"
