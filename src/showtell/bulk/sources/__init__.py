"""What ``showtell caption`` reads: files, shards, tables, datasets, on disk and on object storage.

Each module but `listing` and `file_list` has ``read(content, start)``, which yields the images of a unit of its kind
from number ``start`` on; what it yields at a number does not depend on ``start``.
"""
