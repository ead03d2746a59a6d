"""Images of any source as upright 8-bit RGB arrays, and as an encoder's input.

`load` decodes an image; only it opens any. It needs `signatures` and `formats` (what a file is), `jpeg`, `jpegxl`,
`tiff` and `tiff_samples` (what Pillow does not read, or not safely), `pixels` and `color` with `cicp` (to RGB, to
sRGB), `refusals` and `decode_budget` (limits). `listing` finds images in folders, `preprocess` resizes and crops,
`attention_overlay` draws.
"""
