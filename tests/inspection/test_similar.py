"""The most similar earlier row is that of a comparison of all pairs, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from showtell.inspection import similar


def brute_force(vectors: np.ndarray, splits: list[list[int]], least: float) -> set[tuple[int, int, bool]]:
    pairs = set()
    order = [row for rows in splits for row in rows]
    split_of = {row: number for number, rows in enumerate(splits) for row in rows}
    for place, row in enumerate(order):
        for crosses in (True, False):
            before = [one for one in order[:place] if (split_of[one] != split_of[row]) == crosses]
            best = max(before, key=lambda one: float(vectors[row] @ vectors[one]), default=None)
            if best is not None and vectors[row] @ vectors[best] >= least:
                pairs.add((row, best, crosses))
    return pairs


@pytest.mark.parametrize("blocks", [(3, 4), (512, 8192)])
def test_blocks_give_what_all_pairs_give(blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "ROWS", blocks[0])
    monkeypatch.setattr(similar, "COLUMNS", blocks[1])
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0
    rows = generator.permutation(40).tolist()
    splits = [sorted(rows[:5]), sorted(rows[5:14]), sorted(rows[14:])]
    found = list(similar.similar_pairs(vectors, splits, 0.6))
    assert {(row, other, crosses) for row, other, _, crosses in found} == brute_force(vectors, splits, 0.6)
    assert len(found) > 10
    assert all(cosine == pytest.approx(float(vectors[a] @ vectors[b]), abs=1e-6) for a, b, cosine, _ in found)


@pytest.mark.thorough
def test_ten_thousand_equal_vectors_give_one_pair_each() -> None:
    vectors = np.ones((10_000, 1), np.float32)
    found = list(similar.similar_pairs(vectors, [range(10_000)], 0.9))
    assert len(found) == 9_999
    assert {row for row, _, _, _ in found} == set(range(1, 10_000))
