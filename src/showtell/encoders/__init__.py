"""Frozen image encoders, and a small one that is trained.

`encoder` turns images into `features` with a network that `build` makes: `resnet` or `densenet` (on a CPU as
`onednn_resnet` and `onednn_network`), two of them `joined`, `timm`, or `small_cnn`. `weights` reads their files and
the hub's, `compressed_weights` small ones; `stride_check` finds weights that run in the wrong layout.
"""
