#!/bin/sh
# pillow-heif 1.8.1 with Pillow 13.0.0: a HEIC image of 10-bit gray is opened in mode I;16, scaled to 16 bits, while one of
# 10-bit colors is opened as 8-bit RGB. Pillow's convert() to L or RGB clips 16 bits at 255 and does not scale them, so that
# nearly all of the gray image becomes white, without an error.
#
# Prints both images after convert("RGB"), and fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 pillow_heif==1.8.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()
ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
white = {}
for mode, pixels in (("I;16", ramp), ("RGB;16", np.repeat(ramp[:, :, None], 3, axis=2))):
    file = io.BytesIO()
    pillow_heif.encode(mode, (256, 64), pixels.tobytes(), file, quality=-1)
    image = Image.open(file)
    white[image.mode] = float((np.asarray(image.convert("RGB")) == 255).mean())
    print(f"{image.info['bit_depth']} bits opened as {image.mode:5} white after convert: {white[image.mode]:.1%}")
sys.exit(not (white["I;16"] > 0.9 and white["RGB"] < 0.05))
PYTHON
echo "10-bit gray becomes white in convert()"
