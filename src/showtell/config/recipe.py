"""What a recipe may say: every key with its meaning, unit and bounds.

A recipe is a YAML file; unknown keys are refused with the nearest known one. The resolved recipe, defaults
included, is written into the run. Free of torch, so that recipes are listed and checked without it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from showtell.config.base import StrictModel, describe_problems
from showtell.config.decoders import AttentionSpec, DecoderSpec
from showtell.config.encoder import EncoderSpec
from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError, did_you_mean

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AugmentOptions(StrictModel):
    """Further views of the pictures that are trained on."""

    mode: Literal["random_crop", "corner_crops", "feature_windows"] = Field(
        "random_crop",
        description="random_crop: windows that are never the same, decoded and looked at anew each time, nothing kept; "
        "corner_crops: half of the time the whole view, else one of four windows in its corners, features kept; "
        "feature_windows: of the encoder's whole map, which is kept once, each side cut half of the time",
    )
    crop: float = Field(
        0.875,
        gt=0.0,
        le=1.0,
        description="side of a window, as a share of the picture's short side (encoder.preprocessing.resize: "
        "crop) or of both sides (squash); of corners: as a share of the view that is judged; of windows: the least "
        "share of either side",
    )


class DataOptions(StrictModel):
    """What is read from the prepared set."""

    subset: int = Field(
        0,
        ge=0,
        description="pictures of the training split that are trained on, at most, chosen by training.seed; 0: all. "
        "The vocabulary is that of the whole split",
    )
    max_tokens: int = Field(
        20, ge=1, le=200, description="captions are cut after this many tokens in training"
    )
    captions_per_image: int = Field(5, ge=1, le=64, description="captions of a picture in a batch, K")
    flip: bool = Field(
        False, description="show half of the pictures mirrored, with left and right swapped in their captions"
    )
    augment: AugmentOptions | None = Field(
        None, description="further views to train on; none: the view that is judged alone"
    )

    @property
    def live_crop(self) -> float | None:
        """The side of live windows; None where training pictures are not looked at anew."""
        return self._crop_of("random_crop")

    @property
    def corner_share(self) -> float | None:
        """The share of the view that kept corners show; None where there are none."""
        return self._crop_of("corner_crops")

    @property
    def least_window(self) -> float | None:
        """The least share of a kept map's side that windows of it show; None where there are none."""
        return self._crop_of("feature_windows")

    def _crop_of(self, views: str) -> float | None:
        return self.augment.crop if self.augment is not None and self.augment.mode == views else None


class TokenizerOptions(StrictModel):
    """How captions become tokens."""

    kind: Literal["words", "bpe"] = Field("words", description="whole words, or byte-pair pieces")
    min_count: int = Field(
        5, ge=1, description="rarer words become <unk> (words), rarer pairs stay apart (bpe)"
    )
    max_size: int | None = Field(
        None, ge=5, description="tokens at most; none: no limit (words), 4,000 (bpe)"
    )


class CrossEntropy(StrictModel):
    """Teacher forcing: each token of a caption predicted from those before it."""

    name: Literal["cross-entropy"] = "cross-entropy"
    epochs: int = Field(10, ge=1, le=10_000, description="passes over the training split")
    label_smoothing: float = Field(0.1, ge=0.0, lt=1.0, description="probability spread over the vocabulary")
    consensus: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="share of a caption's weight that is its CIDEr-D against the picture's other captions, over the "
        "mean of them all; 0: all captions weigh the same",
    )
    teachers: tuple[str, ...] = Field(
        (),
        description="captioners (checkpoints or runs) of the same vocabulary and encoder; their odds for the next "
        "word are learned beside the captions' own words",
    )
    distillation_weight: float = Field(
        0.5, ge=0.0, le=1.0, description="share of the teachers' mean probabilities in what is learned"
    )
    reinit: bool = Field(
        False,
        description="begin with new weights, and with the best captioner of the phases before among the teachers; "
        "not in the first phase",
    )


class SelfCritical(StrictModel):
    """Reward training: sampled captions that score better than the picture's others become likelier."""

    name: Literal["self-critical"] = "self-critical"
    epochs: int = Field(2, ge=1, le=10_000, description="passes over the training split")
    lr: float = Field(2e-5, gt=0.0, le=1.0, description="peak learning rate of this phase")
    samples: int = Field(5, ge=2, le=64, description="sampled captions of a picture, K")
    temperature: float = Field(1.0, gt=0.0, le=10.0, description="of the samples; 1: the decoder's own odds")
    baseline: Literal["others", "greedy"] = Field(
        "others", description="a sample is held against the mean of the others, or the greedy caption"
    )
    cider: float = Field(1.0, ge=0.0, description="weight of CIDEr-D (0 to 10) in the reward")
    bleu: float = Field(0.0, ge=0.0, description="weight of linear BLEU (about -1 to 1) in the reward")
    interpolate_init: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="share of the weights that the phase began with in those that are judged and kept",
    )

    @model_validator(mode="after")
    def _rewards_something(self) -> Self:
        if self.cider == self.bleu == 0.0:
            raise ValueError("cider and bleu are both 0: nothing is rewarded")
        return self


Phase = Annotated[CrossEntropy | SelfCritical, Field(discriminator="name")]


class OptimizerOptions(StrictModel):
    """How weights are moved."""

    name: Literal["adamw", "adam"] = Field("adamw", description="decoupled weight decay, or plain Adam")
    lr: float = Field(5e-4, gt=0.0, le=1.0, description="peak learning rate")
    weight_decay: float = Field(
        0.01, ge=0.0, le=1.0, description="decay of matrices; vectors are not decayed"
    )
    betas: tuple[Beta, Beta] = Field((0.9, 0.98), description="decay of the first and second moment")
    max_grad_norm: float = Field(5.0, ge=0.0, description="largest gradient norm; 0: no clipping")


class ScheduleOptions(StrictModel):
    """How the learning rate moves."""

    name: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup_steps: int = Field(200, ge=0, description="steps of linear rise from 0 to the peak")
    min_lr_ratio: float = Field(0.02, ge=0.0, le=1.0, description="smallest rate, as a share of the peak")
    factor: float = Field(0.5, gt=0.0, lt=1.0, description="plateau: the rate is multiplied by this")
    patience: int = Field(1, ge=0, description="plateau: validations without a better score before that")


class TrainingOptions(StrictModel):
    """The loop."""

    batch_size: int = Field(
        32, ge=1, le=4096, description="pictures in a batch, P, those of all processes together"
    )
    micro_batch_size: int = Field(
        0,
        ge=0,
        le=4096,
        description="pictures of a batch that go through the network at once, of each process; 0: all",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the device has bf16 units, else fp32"
    )
    ema_decay: float = Field(
        0.998, ge=0.0, lt=1.0, description="decay of the moving average of weights that is judged; 0: off"
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="seed of weights, order and dropout")
    init_from: str | None = Field(
        None, description="a run or checkpoint whose decoder and vocabulary are trained on; none: new ones"
    )
    early_stopping_patience: int = Field(
        0, ge=0, description="validations without a better score before the end; 0: off"
    )
    save_steps: int = Field(200, ge=1, description="steps between saves of last/ within an epoch")
    threads: int = Field(0, ge=0, description="CPU threads; 0: OMP_NUM_THREADS, else one per usable core")
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(
        [], description="trackers beside metrics.jsonl"
    )


class ValidationOptions(StrictModel):
    """Free-running decoding of a whole split after each epoch."""

    split: str = Field("dev", description="split that is judged")
    subset: int = Field(
        0, ge=0, description="pictures of it that are judged, at most, chosen by training.seed; 0: all"
    )
    metric: Literal["CIDEr-D", "BLEU-4", "ROUGE-L", "loss"] = Field(
        "CIDEr-D", description="decides best/, plateau and early stopping"
    )
    every: int = Field(1, ge=1, description="epochs between validations")
    eval_batch_size: int = Field(64, ge=1, le=4096, description="pictures decoded at once")


class Recipe(StrictModel):
    """A whole training, and how its captioner decodes."""

    data: DataOptions = DataOptions()
    tokenizer: TokenizerOptions = TokenizerOptions()
    encoder: EncoderSpec = EncoderSpec()
    decoder: DecoderSpec = AttentionSpec()
    objective: list[Phase] = Field(
        [CrossEntropy()],
        min_length=1,
        description="phases, one after another; each later one starts from the best weights so far",
    )
    optimizer: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleOptions = ScheduleOptions()
    training: TrainingOptions = TrainingOptions()
    validation: ValidationOptions = ValidationOptions()
    generation: DecodingOptions = DecodingOptions()

    @model_validator(mode="after")
    def _further_views_are_kept(self) -> Self:
        views = None if self.data.augment is None else self.data.augment.mode
        if self.encoder.trainable and views not in (None, "random_crop"):
            raise ValueError(
                f"the {views}' features are kept, a trained encoder's change: data.augment.mode=random_crop"
            )
        return self

    @model_validator(mode="after")
    def _teachers_can_teach(self) -> Self:
        taught = [phase for phase in self.objective if isinstance(phase, CrossEntropy)]
        if self.encoder.trainable and any(phase.reinit or phase.teachers for phase in taught):
            raise ValueError("teachers read what a frozen encoder sees: set encoder.trainable to false")
        first = self.objective[0]
        if isinstance(first, CrossEntropy) and first.reinit:
            raise ValueError(
                "objective.0.reinit: no phase before it could teach; name objective.0.teachers instead"
            )
        waits = self.training.early_stopping_patience or self.schedule.name == "plateau"
        if waits and any(phase.reinit for phase in taught):
            raise ValueError(
                "anew begins far below the best so far, where early stopping and the schedule plateau would give up: "
                "set training.early_stopping_patience to 0 and another schedule.name"
            )
        return self

    @model_validator(mode="after")
    def _rewards_are_judged_by_scores(self) -> Self:
        if self.validation.metric == "loss" and any(isinstance(one, SelfCritical) for one in self.objective):
            raise ValueError("reward training raises the loss: choose another validation.metric")
        return self


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    folder = Path(str(resources.files("showtell.config.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    return list(shipped_recipes())


def load_recipe(name: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by its shipped name or by the path of a YAML file, then apply dotted overrides.

    Args:
        name: ``flickr8k-attention``, or a path that ends in ``.yaml`` or ``.yml``.
        overrides: ``optimizer.lr=3e-4``; the value is read as YAML.

    Raises:
        ConfigError: no such recipe, not YAML, an unknown key ("did you mean"), a wrong type or range.
    """
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        shipped = shipped_recipes()
        if str(name) not in shipped:
            raise ConfigError(f"no recipe is named '{name}'", mend=did_you_mean(str(name), shipped))
        path = shipped[str(name)]
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read recipe {path}", found=error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is not YAML", found=" ".join(str(error).split())) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"recipe {path} cannot be used", found=type(values).__name__, expected="keys and values"
        )
    for override in overrides or []:
        _override(values, override)
    return parse_recipe(values, f"recipe {path.name}")


def parse_recipe(values: dict[str, Any], where: str) -> Recipe:
    """Check the values of a recipe; all problems are told in one ConfigError."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise describe_problems(error, Recipe, where) from error


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe, defaults included, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    cannot = f"--set {override} cannot be used"
    if not equals:
        raise ConfigError(cannot, expected="key=value, such as optimizer.lr=3e-4")
    *path, last = key.strip().split(".")
    place: Any = values
    for part in path:
        if isinstance(place, list):
            if not part.isdigit() or int(part) >= len(place):
                raise ConfigError(cannot, found=f"no part {part}", expected=f"a number below {len(place)}")
            place = place[int(part)]
        else:
            place = place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise ConfigError(cannot, found=f"'{part}' holds no keys")
    if isinstance(place, list):
        raise ConfigError(cannot, found="a list", expected=f"{key}.KEY=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(cannot, found=" ".join(str(error).split())) from error
    place[last] = _number(value) if isinstance(value, str) else value


def _number(text: str) -> float | str:
    """YAML reads ``3e-4`` as text; a user means the number."""
    try:
        return float(text)
    except ValueError:
        return text
