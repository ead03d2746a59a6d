#!/bin/sh
# pyexiv2 2.16.0: setting one description in an XMP side-car rewrites the rest of it. Comments are gone, a link to a
# license (rdf:resource) becomes plain text, the subject of rdf:about moves to another property, and a new
# dc:description is plain text, where the XMP specification wants alternatives by language.
#
# Prints what became of a side-car, and fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pyexiv2==2.16.0
cat > "$folder/photo.jpg.xmp" <<'XMP'
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<!-- checked by hand -->
<rdf:Description rdf:about="uuid:photo-1" xmlns:cc="http://creativecommons.org/ns#">
<cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>
</rdf:Description></rdf:RDF></x:xmpmeta>
XMP
cat > "$folder/write.py" <<'PYTHON'
import sys
from pathlib import Path

import pyexiv2

path = Path(sys.argv[1])
with pyexiv2.Image(str(path)) as image:
    image.modify_xmp({"Xmp.dc.description": "a dog"})
text = path.read_text(encoding="utf-8")
print(text)
kept = {
    "the comment": "checked by hand" in text,
    "the link": "rdf:resource" in text,
    "the subject": 'rdf:about="uuid:photo-1"' in text,
    "a description by language": "x-default" in text,
}
for name, is_kept in kept.items():
    print(f"{name}: {'there' if is_kept else 'gone'}")
if any(kept.values()):
    sys.exit("this has changed")
PYTHON
"$folder/venv/bin/python" "$folder/write.py" "$folder/photo.jpg.xmp"
