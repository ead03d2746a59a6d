"""The search space of a tuning: ranges and lists of values for any key of a recipe, checked before any training.

optimizer.lr=1e-4..1e-2:log      a range, logarithmic
training.ema_decay=0.9..0.999    a range, uniform; whole numbers if the key takes whole numbers
decoder.dropout=0.3,0.5          a list, of whatever type the key has
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from showtell.config.recipe import Recipe
from showtell.errors import ConfigError

DIGITS = 4
LR_FACTOR = 10.0
EXPECTED = "KEY=low..high, KEY=low..high:log or KEY=a,b,c"

Build = Callable[[list[str]], Recipe]
"""Returns the recipe with more overrides, as ``--set`` takes them."""


@dataclass(frozen=True)
class SearchDimension:
    """The values that a dotted key may take: choices, as written, or a range with both bounds included.

    ``is_log``: uniform in the logarithm; ``is_whole``: whole numbers only.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False

    def text(self, value: Any) -> str:
        """Return a drawn value as it enters the recipe: four digits, short enough to paste."""
        if self.choices or self.is_whole:
            return str(value)
        rounded = float(f"{value:.{DIGITS}g}")
        return repr(min(max(rounded, self.low), self.high))

    def __str__(self) -> str:
        """Return the form that ``--search`` takes."""
        if self.choices:
            return f"{self.key}={','.join(self.choices)}"
        low, high = (f"{bound:g}" for bound in (self.low, self.high))
        return f"{self.key}={low}..{high}{':log' * self.is_log}"


def build_space(searches: Sequence[str], build: Build) -> list[SearchDimension]:
    """Parse ``--search`` options; without any: the learning rate from a tenth to ten times the recipe's.

    Each bound and each choice is checked by building the recipe with it, which may raise a ConfigError.
    """
    if not searches:
        lr = build([]).optimizer.lr
        high = min(1.0, lr * LR_FACTOR)
        return [SearchDimension("optimizer.lr", low=lr / LR_FACTOR, high=high, is_log=True)]
    space = [_parse(text, build) for text in searches]
    keys = [dimension.key for dimension in space]
    for dimension in space:
        if keys.count(dimension.key) > 1:
            raise ConfigError(
                f"--search {dimension} cannot be used",
                found=f"{dimension.key} twice",
                expected="each key once",
            )
    return space


def expand_grid(space: Sequence[SearchDimension], build: Build) -> list[dict[str, str]]:
    """Return all combinations of listed values, the last key changing fastest.

    Raises:
        ConfigError: a dimension is a range, or the recipe refuses a combination.
    """
    for dimension in space:
        if not dimension.choices:
            raise ConfigError(
                "--grid cannot be used",
                found=f"the range {dimension}",
                expected="--search KEY=a,b,c for each key",
            )
    combinations = itertools.product(*(dimension.choices for dimension in space))
    keys = [dimension.key for dimension in space]
    grid = [dict(zip(keys, values, strict=True)) for values in combinations]
    for values in grid:
        build(to_overrides(values))
    return grid


def to_overrides(values: Mapping[str, str]) -> list[str]:
    """Return values as ``--set`` takes them."""
    return [f"{key}={text}" for key, text in values.items()]


def _parse(text: str, build: Build) -> SearchDimension:
    key, equals, values = (part.strip() for part in text.partition("="))
    cannot = f"--search {text} cannot be used"
    if not equals or not key or not values:
        raise ConfigError(cannot, expected=EXPECTED)
    if ".." in values:
        return _parse_range(key, values, build, cannot)
    choices = tuple(choice.strip() for choice in values.split(","))
    if len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
        raise ConfigError(cannot, found=values, expected="at least two different values")
    for choice in choices:
        build([f"{key}={choice}"])
    return SearchDimension(key, choices=choices)


def _parse_range(key: str, values: str, build: Build, cannot: str) -> SearchDimension:
    bounds, colon, scale = values.partition(":")
    low_text, _, high_text = bounds.partition("..")
    if colon and scale != "log":
        raise ConfigError(cannot, found=f":{scale}", expected=":log or nothing")
    try:
        low, high = float(low_text), float(high_text)
    except ValueError as error:
        raise ConfigError(cannot, found=bounds, expected="two numbers, low..high") from error
    resolved = [_value_at(build([f"{key}={bound}"]), key) for bound in (low_text, high_text)]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in resolved):
        raise ConfigError(cannot, found=f"{key}, which takes no numbers", expected=f"{key}=a,b,c")
    if not low < high or (colon and low <= 0):
        bound = "0 < low < high" if colon else "low < high"
        raise ConfigError(cannot, found=bounds, expected=bound)
    is_whole = all(isinstance(value, int) for value in resolved)
    return SearchDimension(key, low=low, high=high, is_log=bool(colon), is_whole=is_whole)


def _value_at(recipe: Recipe, key: str) -> Any:
    value: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
