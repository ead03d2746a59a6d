#!/bin/sh
# Pillow 13.0.0 opens valid 16-bit TIFF files without an error or a warning, and gives other pixels than they hold: the
# negative where zero is white (PhotometricInterpretation 0; with 8 bits it is right), and noise where the channels are
# stored in planes (PlanarConfiguration 2; with 8 bits it is right). Of a PNG file with 4 bits of gray it scales the
# pixels to 8 bits, but not the gray that tRNS makes transparent, so that nothing is transparent (with 8 bits it is right).
#
# Prints the difference from the pixels that were written, and fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
cat > "$folder/check.py" <<'PYTHON'
import io
import struct
import sys
import zlib

import numpy as np
import tifffile
from PIL import Image


def reopen(samples, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, **options)
    image = Image.open(io.BytesIO(file.getvalue()))
    return np.asarray(image).astype(float) / (65535 if image.mode.startswith("I") else 255)


ramp = np.arange(65536).reshape(256, 256) / 65535  # black to white
rgb = np.stack([ramp, ramp.T, 1 - ramp])
wrong = {}
for bits, dtype in ((8, np.uint8), (16, np.uint16)):
    highest = 2**bits - 1
    seen = reopen(np.round((1 - ramp) * highest).astype(dtype), photometric="miniswhite")
    wrong[f"TIFF, zero is white, {bits} bits"] = np.abs(seen - ramp).mean()
    seen = reopen(np.round(rgb * highest).astype(dtype), photometric="rgb", planarconfig="separate")
    wrong[f"TIFF, planes, {bits} bits"] = np.abs(seen - np.moveaxis(rgb, 0, 2)).mean()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


for bits, row in ((4, b"\0\x3f"), (8, b"\0\x03\xff")):  # two pixels: 3, which is transparent, and white
    header = struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"tRNS", struct.pack(">H", 3)), (b"IDAT", zlib.compress(row)), (b"IEND", b"")
    png = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)
    alpha = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[0, :, 3]
    wrong[f"PNG, a transparent gray, {bits} bits"] = abs(alpha[0] / 255)

for name, apart in wrong.items():
    print(f"{name:32} {apart:.3f} of the range from white to black")
expected = {"TIFF, zero is white, 16 bits", "TIFF, planes, 16 bits", "PNG, a transparent gray, 4 bits"}
sys.exit({name for name, apart in wrong.items() if apart > 0.1} != expected)
PYTHON
"$folder/venv/bin/python" "$folder/check.py"
echo "Pillow gives negatives of 16-bit white-is-zero TIFF, noise for 16-bit planes, and keeps a transparent 4-bit gray"
