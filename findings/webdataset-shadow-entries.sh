#!/bin/sh
# webdataset 1.0.2: macOS's shadow entries (._NAME) are left out at the root of a shard, but not in a folder of it. There
# such an entry parts the sample in two, an image without its caption and a caption without its image, without an error:
# a sample is a run of neighboring members of one name.
#
# Prints the samples of a shard with and without a folder, and fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check webdataset==1.0.2 numpy==2.4.6
cat > "$folder/read.py" <<'PYTHON'
import io
import sys
import tarfile

import webdataset

place = sys.argv[1]
for prefix in ("", "photos/"):
    path = f"{place}/{prefix.strip('/') or 'root'}.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.jpg", "._a.txt", "a.txt"):
            info = tarfile.TarInfo(prefix + name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    samples = webdataset.WebDataset(path, shardshuffle=False, empty_check=False)
    found = [(sample["__key__"], sorted(key for key in sample if key[0] != "_")) for sample in samples]
    print(f"{prefix or 'at the root':12} {found}")
    whole = [(prefix + "a", ["jpg", "txt"])]
    if (found == whole) != (prefix == ""):
        sys.exit("this has changed")
print("a shadow entry in a folder parts a sample")
PYTHON
"$folder/venv/bin/python" "$folder/read.py" "$folder"
