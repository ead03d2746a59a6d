"""For each image, the most similar one before it, in its split and in those that are evaluated rather."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

ROWS, COLUMNS = 512, 8_192
"""Size of a block of similarities: 16 MB."""

Floats = npt.NDArray[np.float32]


def similar_pairs(
    vectors: Floats, splits: Sequence[Sequence[int]], least: float
) -> Iterator[tuple[int, int, float, bool]]:
    """Yield a row, the most similar row before it, their cosine, and whether both are of different splits.

    A row is yielded once for its split and once for the earlier ones, where there is a row of at least this cosine.
    All pairs are compared, in blocks of matrix products: memory is that of the vectors, twice.

    Args:
        vectors: Unit vectors by row, float32 [N, C]; vectors of zeros are similar to none.
        splits: Rows of each split, the evaluated ones first.
    """
    order = np.concatenate([np.asarray(rows, np.int64) for rows in splits])
    ordered = vectors[order]
    first = 0
    for rows in splits:
        last = first + len(rows)
        for start in range(first, last, ROWS):
            block = range(start, min(start + ROWS, last))
            for columns, crosses in ((range(first), True), (range(first, block.stop), False)):
                best, places = _most_similar(ordered, block, columns)
                for found in np.flatnonzero(best >= least).tolist():
                    yield (
                        int(order[block[found]]),
                        int(order[places[found]]),
                        min(1.0, float(best[found])),
                        crosses,
                    )
        first = last


def _most_similar(ordered: Floats, block: range, columns: range) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the largest cosine of each row of a block with one of the columns before it, and its column."""
    best, places = np.full(len(block), -np.inf, np.float32), np.zeros(len(block), np.int64)
    for start in range(columns.start, columns.stop, COLUMNS):
        part = np.arange(start, min(start + COLUMNS, columns.stop))
        cosines = ordered[block.start : block.stop] @ ordered[part[0] : part[-1] + 1].T
        cosines[np.arange(block.start, block.stop)[:, None] <= part] = -np.inf
        largest = cosines.argmax(axis=1)
        values = cosines[np.arange(len(block)), largest]
        better = values > best
        best[better], places[better] = values[better], part[largest[better]]
    return best, places
