"""The application for Ray Serve that `docs/serving.md` shows, on a local Ray."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.serve.servers import picture

from showtell.inference.captioner import Captioner

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "serving.md"
RUN = """
import sys
import urllib.request
import ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={{"port": {port}}})
serve.run(app)
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        request = urllib.request.Request("http://127.0.0.1:{port}/", data=file.read())
    print("caption:", urllib.request.urlopen(request).read().decode())
serve.shutdown()
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'ray[serve]'")
def test_the_application_of_the_documentation_has_the_captions_of_python(
    tiny_checkpoint: Callable[[str], Path], offline: Captioner, tmp_path: Path
) -> None:
    (example,) = re.findall(r"```python\n(from ray import serve\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert "models/flickr8k" in example
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = tmp_path / "application.py"
    example = example.replace("models/flickr8k", str(tiny_checkpoint("attention")))
    program.write_text(example + RUN.format(port=port))
    images = [tmp_path / name for name in ("a.png", "b.png", "text.png")]
    for seed, image in enumerate(images[:2]):
        image.write_bytes(picture(seed))
    images[2].write_text("no image")
    done = subprocess.run(
        [sys.executable, str(program), *map(str, images)],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *captions, failure = re.findall(r"caption: (.*)", done.stdout)
    assert captions == [offline.caption(image).text for image in images[:2]]
    assert "a text file" in failure
