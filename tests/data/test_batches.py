"""Batches: every picture once an epoch, the same order for the same seed, captions that mirror with the picture."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from showtell.config.preprocessing import Preprocessing
from showtell.data.batches import Batches, BatchOptions, TokenTable
from showtell.data.prepared import PreparedSet
from showtell.data.views import ImageSource
from showtell.tokenizer import Tokenizer


def make_batches(toy_set: PreparedSet, **changes: object) -> Batches:
    values = {"batch_size": 5, "captions_per_image": 2, "max_tokens": 20, "flip": False, "seed": 0} | changes
    captions = [text for row in toy_set.split_rows("train") for text in toy_set.captions(int(row))]
    tokenizer = Tokenizer.fit(captions, min_count=1)
    memories = ImageSource(toy_set, Preprocessing(size=32))
    return Batches(toy_set, toy_set.split_rows("train"), tokenizer, memories, BatchOptions(**values))  # type: ignore[arg-type]


def test_an_epoch_shows_every_image_once(toy_set: PreparedSet) -> None:
    batches = make_batches(toy_set)
    found = np.concatenate([batch.rows for batch in batches.epoch(0)])
    assert sorted(found) == sorted(toy_set.split_rows("train"))
    assert len(batches) == len(list(batches.epoch(0))) == 4


def test_order_depends_on_seed_and_epoch_alone(toy_set: PreparedSet) -> None:
    def order(epoch: int, **changes: object) -> list[int]:
        return [int(row) for batch in make_batches(toy_set, **changes).epoch(epoch) for row in batch.rows]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, seed=1)


def test_an_epoch_gone_on_with_equals_its_tail(toy_set: PreparedSet) -> None:
    batches = make_batches(toy_set, flip=True, captions_per_image=1)
    whole, tail = list(batches.epoch(3)), list(batches.epoch(3, start=2))
    assert len(tail) == 2
    for first, second in zip(whole[2:], tail, strict=True):
        assert torch.equal(first.tokens, second.tokens)
        assert isinstance(first.inputs, torch.Tensor)
        assert isinstance(second.inputs, torch.Tensor)
        assert torch.equal(first.inputs, second.inputs)


def test_captions_stand_between_bos_and_eos_and_pads_follow(toy_set: PreparedSet) -> None:
    batches = make_batches(toy_set)
    special = batches.tokenizer
    for batch in batches.sequential():
        assert batch.tokens.shape[:2] == (len(batch.rows), 2)
        for row, captions in zip(batch.rows, batch.tokens.tolist(), strict=True):
            assert len({tuple(ids) for ids in captions}) == len(toy_set.captions(int(row)))
            for ids in captions:
                words = ids[1 : ids.index(special.eos_id)]
                assert ids[0] == special.bos_id
                assert special.decode(words) in toy_set.captions(int(row))
                assert set(ids[len(words) + 2 :]) <= {special.pad_id}


def test_a_caption_that_is_cut_has_no_end(toy_set: PreparedSet) -> None:
    batches = make_batches(toy_set, max_tokens=5)
    for batch in batches.epoch(0):
        assert batch.tokens.shape[2] == 7
        ends = (batch.tokens == batches.tokenizer.eos_id).any(dim=2)
        # "this one is all red" has five words and an end, "a picture that is all red" is cut after five of six.
        assert ends.tolist() == [[True, False]] * len(batch.rows)


def test_the_longest_caption_is_first(toy_set: PreparedSet) -> None:
    batches = make_batches(toy_set)
    for batch in batches.epoch(0):
        lengths = (batch.tokens != batches.tokenizer.pad_id).sum(dim=2)
        assert bool((lengths[:, 0] > lengths[:, 1]).all())


def test_fewer_captions_than_wanted_leave_no_empty_line(toy_set: PreparedSet) -> None:
    assert {batch.tokens.shape[1] for batch in make_batches(toy_set, captions_per_image=5).epoch(0)} == {2}


def test_mirrored_images_come_with_mirrored_captions(tmp_path: Path, toy_set: PreparedSet) -> None:
    plain, mirrored = make_batches(toy_set), make_batches(toy_set, flip=True)
    changed = 0
    for before, after in zip(plain.epoch(0), mirrored.epoch(0), strict=True):
        assert isinstance(before.inputs, torch.Tensor)
        assert isinstance(after.inputs, torch.Tensor)
        for old, new in zip(before.inputs, after.inputs, strict=True):
            is_mirrored = torch.equal(old.flip(1), new)
            assert is_mirrored or torch.equal(old, new)
            changed += is_mirrored
    assert 0 < changed < 16


class Counting:
    """A feature source that counts requests."""

    def __init__(self) -> None:
        self.asked = 0
        self.third = threading.Event()

    def load(self, rows: np.ndarray, mirrored: np.ndarray, places: np.ndarray | None = None) -> torch.Tensor:
        self.asked += 1
        if self.asked == 3:
            self.third.set()
        return torch.from_numpy(rows)


def test_batches_are_loaded_while_the_one_before_is_in_use(toy_set: PreparedSet) -> None:
    batches, counting = make_batches(toy_set, batch_size=2), Counting()
    batches.source = counting  # type: ignore[assignment]
    epoch = batches.epoch(0)
    next(epoch)
    # Nobody asks for more, and two more come.
    assert counting.third.wait(timeout=10)
    epoch.close()  # type: ignore[attr-defined]
    assert counting.asked == 3


def test_windows_are_a_function_of_seed_epoch_and_position(toy_set: PreparedSet) -> None:
    def places(epoch: int, start: int = 0, **changes: object) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        batches = make_batches(toy_set, **changes)

        class Noting:
            def load(
                self, rows: np.ndarray, mirrored: np.ndarray, places: np.ndarray | None = None
            ) -> torch.Tensor:
                assert places is not None
                return torch.from_numpy(places)

        batches.source = Noting()
        for batch in batches.epoch(epoch, start=start):
            assert isinstance(batch.inputs, torch.Tensor)
            found.append(batch.inputs.numpy())
        return found

    whole = places(2)
    assert [one.shape for one in whole] == [(5, 2), (5, 2), (5, 2), (1, 2)]
    assert all(np.array_equal(one, other) for one, other in zip(whole[2:], places(2, start=2), strict=True))
    assert not np.array_equal(whole[0], places(3)[0])
    assert not np.array_equal(whole[0], places(2, seed=1)[0])
    assert not np.array_equal(whole[0], whole[1])


# ---- captions as flat ids, in little memory

GROUPS = [["1 2 3", "4"], [], ["5 6", "", "7 8 9 10"]]


def encode(text: str) -> list[int]:
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("vocabulary", [11, 2**16, 2**16 + 1, 2**20])
def test_what_goes_in_comes_out(vocabulary: int) -> None:
    groups = [*GROUPS, [f"{vocabulary - 1}"]]
    flat = TokenTable(groups, encode, vocabulary=vocabulary)
    assert len(flat) == 4
    assert [[ids.tolist() for ids in flat[place]] for place in range(4)] == [
        [encode(text) for text in group] for group in groups
    ]


def test_an_id_takes_two_bytes_where_two_are_enough() -> None:
    group = [["1 2 3 4 5 6 7 8 9 10"] * 50] * 40
    short = TokenTable(group, encode, vocabulary=2**16)
    wide = TokenTable(group, encode, vocabulary=2**16 + 1)
    assert wide.nbytes - short.nbytes == 2 * 50 * 40 * 10
    # Two bytes per id, four per caption and four per image, and one initial offset of each.
    assert short.nbytes == 2 * 50 * 40 * 10 + 4 * (50 * 40 + 1) + 4 * (40 + 1)


def test_captions_are_views_of_one_array() -> None:
    flat = TokenTable(GROUPS, encode, vocabulary=11)
    assert np.shares_memory(flat[0][0], flat[2][2].base if flat[2][2].base is not None else flat[2][2])
