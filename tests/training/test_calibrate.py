"""Calibration of a captioner: fitted weights, what the checkpoint then has, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.inference.captioner import Captioner
from showtell.report.confidence import confidence_report, reliability_chart
from showtell.training.calibrate import ImageSet, calibrate, fit_logistic

CAPTIONS = ["a red ball on the grass", "the old tree", "a dog under one tree", "grass"]


def test_logistic_regression_finds_the_weights_of_its_data() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(20_000, 2)) * [1, 10] + [0, 3]
    probabilities = 1 / (1 + np.exp(-(0.5 + features @ [1.0, -0.1])))
    bias, weights = fit_logistic(features, generator.random(20_000) < probabilities)
    assert [bias, *weights] == pytest.approx([0.5, 1.0, -0.1], abs=0.06)


@pytest.mark.parametrize("right", [False, True])
def test_logistic_regression_is_finite_where_all_are_the_same(right: bool) -> None:
    bias, weights = fit_logistic(np.ones((50, 1)), np.full(50, right))
    assert np.isfinite([bias, *weights]).all()
    assert (bias + weights[0] > 2) == right


@pytest.fixture
def held_out(caption_set: Callable[..., PreparedSet]) -> PreparedSet:
    return caption_set(dev=[[CAPTIONS[number % 4], CAPTIONS[number % 3]] for number in range(100)])


def test_a_checkpoint_gets_confidences_and_a_card_that_says_how_well_they_fit(
    tiny_checkpoint: Callable[[str], Path], held_out: PreparedSet, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint("attention"), tmp_path / "copy"))
    image = held_out.image_path(0)
    assert Captioner.load(copy).caption(image).confidence is None
    data = ImageSet(held_out.directory, "dev")
    (dry,) = calibrate(copy, data=data, write=False)
    assert load_checkpoint(copy).calibration is None
    (measured,) = calibrate(copy, data=data)
    assert measured.figures == dry.figures
    assert (measured.figures.images, measured.figures.cross_fitted) == (100, True)
    assert sum(each.count for each in measured.figures.captions) == 100
    captioner = Captioner.load(copy)
    caption, *_ = captions = captioner.caption([image, held_out.image_path(1)])
    assert captioner.is_calibrated
    assert [each.confidence for each in captions] == [
        pytest.approx(captioner.caption(held_out.image_path(row)).confidence, abs=1e-6) for row in (0, 1)
    ]
    assert caption.confidence is not None
    assert 0 < caption.confidence < 1
    assert len(caption.word_confidences) == len(caption.words)
    assert caption.alternatives[1].confidence is None
    assert "## Confidence" in (copy / "README.md").read_text()
    assert f"{measured.figures.word_error:.3f}" in confidence_report([measured])
    assert "<polyline" in reliability_chart([measured.figures]).svg(standalone=True)
    assert not caption.unsure
    unsure = captioner.caption(image, unsure_below=1.0)
    assert (unsure.text, unsure.unsure, unsure.words) == ("(unsure)", True, caption.words)


def test_few_images_are_refused(
    tiny_checkpoint: Callable[[str], Path], caption_set: Callable[..., PreparedSet]
) -> None:
    few = caption_set(dev=[["a red ball"]])
    with pytest.raises(DataError, match=r"found 1 images with captions in 'dev'; expected 100 or more"):
        calibrate(tiny_checkpoint("lstm"), data=ImageSet(few.directory, "dev"))
