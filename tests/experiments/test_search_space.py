"""What may be searched: read, bounded and checked by the recipe before anything is trained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.config.recipe import Recipe, load_recipe
from showtell.errors import ConfigError
from showtell.experiments.search_space import SearchDimension, build_space, expand_grid


def build(more: list[str]) -> Recipe:
    return load_recipe("flickr8k-attention", more)


def test_without_anything_the_learning_rate_is_searched_around_the_recipes() -> None:
    (dimension,) = build_space([], build)
    assert (dimension.key, dimension.is_log, dimension.is_whole) == ("optimizer.lr", True, False)
    assert (dimension.low, dimension.high) == (pytest.approx(1e-4), pytest.approx(1e-2))
    (bounded,) = build_space([], lambda more: build(["optimizer.lr=0.5", *more]))
    assert bounded.high == 1.0


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("optimizer.lr=1e-4..1e-2:log", SearchDimension("optimizer.lr", (), 1e-4, 1e-2, is_log=True)),
        ("decoder.dropout=0..0.5", SearchDimension("decoder.dropout", (), 0.0, 0.5)),
        ("decoder.hidden=128..512", SearchDimension("decoder.hidden", (), 128, 512, is_whole=True)),
        ("objective.0.epochs=2..4", SearchDimension("objective.0.epochs", (), 2, 4, is_whole=True)),
        ("data.flip=true,false", SearchDimension("data.flip", ("true", "false"))),
        ("schedule.name = cosine, plateau", SearchDimension("schedule.name", ("cosine", "plateau"))),
        ("optimizer.lr=1e-4,3e-4", SearchDimension("optimizer.lr", ("1e-4", "3e-4"))),
    ],
)
def test_ranges_and_lists_are_read(text: str, dimension: SearchDimension) -> None:
    assert build_space([text], build) == [dimension]
    assert build_space([str(dimension)], build) == [dimension]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lr", r"optimizer\.lr cannot be used: expected KEY=low\.\.high, .*KEY=a,b,c"),
        ("optimizer.lr=", r"expected KEY=low\.\.high"),
        ("optimizer.lr=1e-3", r"found 1e-3; expected at least two different values"),
        ("optimizer.lr=1e-3,1e-3", r"at least two different values"),
        ("optimizer.lr=a..b", r"found a\.\.b; expected two numbers"),
        ("optimizer.lr=1e-2..1e-3", r"expected low < high"),
        ("decoder.dropout=0..0.5:log", r"expected 0 < low < high"),
        ("optimizer.lr=1e-3..1e-2:linear", r"found :linear; expected :log or nothing"),
        ("data.flip=0..1", r"found data\.flip, which takes no numbers"),
        ("optimizer.lrr=1e-3..1e-2", r"lrr.*'lr'"),
        ("optimizer.lr=1e-3..2", r"optimizer\.lr"),
        ("schedule.name=cosine,cosin", r"cosin"),
    ],
)
def test_what_the_recipe_would_refuse_is_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_space([text], build)


def test_a_key_is_searched_once() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr twice"):
        build_space(["optimizer.lr=1e-4,1e-3", "optimizer.lr=1e-4..1e-3"], build)


def test_a_grid_is_every_combination_in_the_order_of_the_lists() -> None:
    space = build_space(["optimizer.lr=1e-3,1e-4", "data.flip=true,false"], build)
    assert [tuple(values.values()) for values in expand_grid(space, build)] == [
        ("1e-3", "true"),
        ("1e-3", "false"),
        ("1e-4", "true"),
        ("1e-4", "false"),
    ]


def test_a_grid_takes_lists_alone() -> None:
    with pytest.raises(
        ConfigError, match=r"--grid cannot be used: found the range optimizer\.lr=0\.0001\.\.0\.01:log"
    ):
        expand_grid(build_space([], build), build)


@pytest.mark.thorough
@given(st.floats(1e-6, 1.0), st.floats(1.0, 1e6), st.floats(0, 1))
def test_what_is_drawn_is_written_short_and_stays_within_its_bounds(
    low: float, factor: float, share: float
) -> None:
    dimension = SearchDimension("optimizer.lr", low=low, high=low * factor)
    value = low + share * (dimension.high - low)
    text = dimension.text(value)
    assert dimension.low <= float(text) <= dimension.high
    assert float(text) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("dimension", "kind"),
    [
        (SearchDimension("a", low=0.1, high=1.0, is_log=True), "FloatDistribution"),
        (SearchDimension("a", low=1, high=9, is_whole=True), "IntDistribution"),
        (SearchDimension("a", ("x", "y")), "CategoricalDistribution"),
    ],
)
def test_optuna_is_told_the_same(dimension: SearchDimension, kind: str) -> None:
    from showtell.experiments.study import to_distribution

    distribution = to_distribution(dimension)
    assert type(distribution).__name__ == kind
    assert distribution._contains(distribution.to_internal_repr("y" if dimension.choices else 1))
    assert getattr(distribution, "log", False) == dimension.is_log
