"""Large tables and arrays in files that are mapped: the kernel takes their pages back when it needs the memory.

The files are temporary (``TMPDIR``) and have lost their names before anything is in them: nothing is left behind.
"""

from __future__ import annotations

import tempfile

import pyarrow as pa
import pyarrow.parquet as pq


def mapped_table(file: pq.ParquetFile) -> pa.Table:
    """Return the table of a Parquet file, one row group at a time unpacked into a file that is mapped.

    Parquet's compressed columns cannot be mapped as they are.
    """
    with tempfile.NamedTemporaryFile(prefix="showtell-", suffix=".arrow") as unpacked:
        with pa.ipc.new_file(unpacked, file.schema_arrow) as writer:
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group))
        unpacked.flush()
        # What is mapped stays when the name goes.
        with pa.memory_map(unpacked.name) as source:
            return pa.ipc.open_file(source).read_all()
