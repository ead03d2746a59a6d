"""A process that decodes images, so that a file that ends its decoder ends nothing else.

Standard input has, for each image, a line with its number of bytes and the bytes. Standard output has a line
``ready``, then for each image a line of JSON and, unless that has an error, the pixels uint8 [S, S, 3]. The process
ends with its input.
"""

import json
import os
import signal
import sys
from typing import Any

from showtell.config.preprocessing import Preprocessing
from showtell.errors import ImageError
from showtell.images.load import load_image
from showtell.images.preprocess import min_decode_size, preprocess_image
from showtell.images.refusals import Limits
from showtell.system.child_process import lower_priority


def main() -> None:
    """Decode the images of standard input; the only argument is JSON with preprocessing and limits."""
    # The parent ends this process by closing its input, when all that it accepted is decoded.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    lower_priority()
    settings = json.loads(sys.argv[1])
    preprocessing, limits = Preprocessing(**settings["preprocessing"]), Limits(**settings["limits"])
    # Libraries that print must not write into the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answers.write(b"ready\n")
    answers.flush()
    while line := sys.stdin.buffer.readline():
        header, pixels = _decode(sys.stdin.buffer.read(int(line)), preprocessing, limits)
        answers.write(json.dumps(header).encode() + b"\n" + pixels)
        answers.flush()


def _decode(data: bytes, preprocessing: Preprocessing, limits: Limits) -> tuple[dict[str, Any], bytes]:
    try:
        image = load_image(data, limits=limits, at_least=min_decode_size(preprocessing))
    except ImageError as error:
        kind, texts = (
            type(error).__name__,
            {"found": error.found, "expected": error.expected, "mend": error.mend},
        )
        return {"error": kind, "what": error.what, **texts}, b""
    height, width = image.shape[:2]
    return {"height": height, "width": width}, preprocess_image(image, preprocessing).tobytes()


if __name__ == "__main__":
    main()
