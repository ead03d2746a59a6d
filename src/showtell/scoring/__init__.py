"""Caption scores without Java: the digits of coco-caption in pure Python and numpy."""
