"""Captioned datasets, from a published format to the batches of a training.

1. `sources` reads a format; `validate` checks its captions and images, and `problems` reports what is wrong with
   them.
2. `prepared` is the prepared set; `prepared_writer` writes it; `changes` finds images that were edited since.
3. `features` runs the encoder on its images; `feature_cache` is the directory of results, `feature_writer` its rows.
4. `batches` groups captions by image; `views` reads their features, crops of these, or the images themselves.

Beside that way: `summary`, `description` and `caption_warnings` say what a set is like; `scenes` and `scene_captions`
draw a set with known truth.
"""
