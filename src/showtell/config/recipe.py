"""The schema of recipes: every key with its meaning, unit and bounds.

A recipe is a YAML file; an unknown key is refused with the nearest known one. A run stores its resolved recipe,
defaults included. Free of torch, so that recipes are listed and checked without it.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from showtell.config.base import Count, Fraction, Rate, StrictModel, Weight, describe_problems
from showtell.config.decoders import AttentionSpec, DecoderSpec
from showtell.config.encoder import EncoderSpec
from showtell.config.generation import DecodingOptions
from showtell.config.overrides import apply_override
from showtell.config.renamed import RENAMED
from showtell.config.tokenizer import ScoreTokenizer, TokenizerOptions
from showtell.config.yaml_text import MAX_CHARACTERS, parse_yaml
from showtell.errors import ConfigError, did_you_mean
from showtell.system.reading import read_bytes

Tracker = Literal["tensorboard", "wandb", "mlflow", "comet_ml", "aim", "trackio"]
AdaptedKey = Literal[
    "objective.0.epochs",
    "schedule.warmup_steps",
    "schedule.patience",
    "training.early_stopping_patience",
    "tokenizer.min_count",
    "data.max_tokens",
    "generation.max_tokens",
    "validation.select",
]

MAX_ADAPTED = 10_000
"""Images of the largest training set to which ``tokenizer.min_count`` is adapted."""

WHOLE_SECTIONS = frozenset({"encoder", "decoder", "generation"})


class AugmentOptions(StrictModel):
    """Additional views of the training images."""

    mode: Literal["random_crop", "corner_crops", "feature_windows"] = Field(
        "random_crop",
        description="random_crop: a new random crop each time, decoded and encoded each time, nothing cached; "
        "corner_crops: the whole view half of the time, else one of its four corners, features cached; "
        "feature_windows: a window of the cached feature map, each side cropped half of the time",
    )
    crop: Fraction = Field(
        0.875,
        description="side of the crop as a fraction: random_crop: of the short side (encoder.preprocessing.resize: "
        "crop) or of both sides (squash); corner_crops: of the view used for validation; feature_windows: the "
        "smallest fraction of either side of the map",
    )


class DataOptions(StrictModel):
    """Training data read from the prepared set."""

    subset: Count = Field(
        0,
        description="maximum number of training images, chosen by training.seed; 0: all. The vocabulary is built "
        "from the whole split",
    )
    holdout: Count = Field(
        0,
        description="number of training images that are held out as the split holdout, to compare recipes on, so "
        "that dev and test are evaluated once; always the same images of a set",
    )
    max_tokens: int = Field(
        20, ge=1, le=200, description="captions are truncated to this many tokens in training"
    )
    captions_per_image: int = Field(5, ge=1, le=64, description="captions K of each image in a batch")
    flip: bool = Field(
        False,
        description="flip half of the images horizontally and swap left and right in their captions (English, "
        "Chinese, Japanese)",
    )
    rehearse: str | None = Field(
        None,
        description="path of another prepared set, usually that of training.init_from: every second batch is one of "
        "its training images, so that the captioner does not forget them",
    )
    augment: AugmentOptions | None = Field(
        None, description="additional training views; null: the view used for validation"
    )

    def crop_for(self, mode: str) -> float | None:
        """Return the crop of an augmentation mode; None where another mode, or none, is set."""
        return self.augment.crop if self.augment is not None and self.augment.mode == mode else None


class CrossEntropy(StrictModel):
    """Teacher forcing: predict each token of a caption from those before it."""

    interpolate_init: ClassVar[float] = 0.0  # only the other kind of phase has this key

    name: Literal["cross-entropy"] = Field("cross-entropy", description="the phase's objective")
    epochs: int = Field(10, ge=1, le=10_000, description="passes over the training images")
    label_smoothing: Rate = Field(0.1, description="probability spread evenly over the vocabulary")
    teachers: tuple[str, ...] = Field(
        (),
        description="distillation: paths of checkpoints or runs of the same encoder and much of the same "
        "vocabulary, whose mean token probabilities are soft targets",
    )
    distillation_weight: Weight = Field(0.5, description="weight of the teachers' soft targets in the target")
    reinit: bool = Field(
        False,
        description="start the phase with new weights and the best checkpoint of the earlier phases as a teacher "
        "(self-distillation); not in the first phase",
    )


class SelfCritical(StrictModel):
    """Self-critical training: raise the probability of sampled captions with a high reward."""

    teachers: ClassVar[tuple[str, ...]] = ()  # only the other kind of phase has these keys
    reinit: ClassVar[bool] = False

    name: Literal["self-critical"] = Field("self-critical", description="the phase's objective")
    epochs: int = Field(2, ge=1, le=10_000, description="passes over the training images")
    lr: float = Field(2e-5, gt=0.0, le=1.0, description="peak learning rate of this phase")
    samples: int = Field(5, ge=2, le=64, description="sampled captions K per image")
    temperature: float = Field(
        1.0,
        gt=0.0,
        le=10.0,
        description="divisor of the logits, of the samples and of their gradient; 1: the decoder's own probabilities",
    )
    baseline: Literal["others", "greedy"] = Field(
        "others",
        description="baseline of a sample's reward: the mean of the other samples, or the greedy caption",
    )
    cider: float = Field(1.0, ge=0.0, description="weight of CIDEr-D (0 to 10) in the reward")
    bleu: float = Field(0.0, ge=0.0, description="weight of linear BLEU (about -1 to 1) in the reward")
    interpolate_init: Rate = Field(
        0.0, description="weight of the phase's initial weights in the evaluated and saved ones (WiSE-FT)"
    )

    @model_validator(mode="after")
    def _has_a_reward(self) -> Self:
        if self.cider == self.bleu == 0.0:
            raise ValueError("cider and bleu are both 0: there is no reward")
        return self


Phase = Annotated[CrossEntropy | SelfCritical, Field(discriminator="name")]


class OptimizerOptions(StrictModel):
    """The optimizer."""

    name: Literal["adamw", "adam"] = Field(
        "adamw", description="AdamW (decoupled weight decay), or plain Adam"
    )
    lr: float = Field(5e-4, gt=0.0, le=1.0, description="peak learning rate")
    weight_decay: Weight = Field(0.01, description="weight decay of matrices; biases and norms have none")
    betas: tuple[Rate, Rate] = Field((0.9, 0.98), description="decay rates of the first and second moment")
    max_grad_norm: float = Field(5.0, ge=0.0, description="gradients are clipped to this norm; 0: off")


class ScheduleOptions(StrictModel):
    """The learning-rate schedule."""

    name: Literal["constant", "cosine", "plateau"] = Field("cosine", description="shape after the warm-up")
    warmup_steps: Count = Field(200, description="steps of linear warm-up from 0 to the peak")
    min_lr_ratio: Weight = Field(0.02, description="smallest learning rate as a fraction of the peak")
    factor: float = Field(0.5, gt=0.0, lt=1.0, description="plateau: factor of each reduction")
    patience: Count = Field(1, description="plateau: validations without improvement before a reduction")


class TrainingOptions(StrictModel):
    """The training loop."""

    batch_size: int = Field(32, ge=1, le=4096, description="images P per batch, over all processes")
    micro_batch_size: int = Field(
        0,
        ge=0,
        le=4096,
        description="images per forward pass of each process (gradient accumulation); 0: the whole batch",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="precision of matrix products; auto: bf16 where the device has units for it, else fp32",
    )
    ema_decay: Rate = Field(
        0.998,
        description="decay of the exponential moving average of the weights, which is evaluated and saved; 0: off",
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="seed of weights, data order and dropout")
    init_from: str | None = Field(
        None,
        description="path of a run or checkpoint whose decoder and vocabulary training starts from; null: new ones",
    )
    extend_vocabulary: bool = Field(
        False, description="add the words of the training captions that the vocabulary of init_from lacks"
    )
    adapt: list[AdaptedKey] = Field(
        [],
        description="keys whose numbers are adapted to a small training set or to long captions; a key that --set "
        "changes is not",
    )
    early_stopping_patience: Count = Field(
        0, description="validations without improvement before training stops; 0: off"
    )
    save_steps: int = Field(200, ge=1, description="steps between saves of last/ within an epoch")
    threads: Count = Field(0, description="CPU threads; 0: OMP_NUM_THREADS, else one per usable core")
    trackers: list[Tracker] = Field([], description="experiment trackers in addition to metrics.jsonl")


class ValidationOptions(StrictModel):
    """Validation: decode and score a split after each epoch."""

    split: str = Field("dev", description="split to validate on")
    subset: Count = Field(
        0, description="maximum number of validation images, chosen by training.seed; 0: all"
    )
    metric: Literal["CIDEr-D", "BLEU-4", "ROUGE-L", "loss"] = Field(
        "CIDEr-D", description="metric that selects best/ and drives plateau and early stopping"
    )
    select: Literal["best", "last"] = Field(
        "best",
        description="epoch that best/ holds: the best by validation.metric, or the last, where the split has so few "
        "images that its scores are chance",
    )
    tokenizer: Literal["auto"] | ScoreTokenizer = Field(
        "auto",
        description="tokenizer of the scores: ptb as in coco-caption, intl, zh, ja or char as in sacreBLEU, or none "
        "(split at spaces); auto: by the script of the references, ptb for scripts with spaces",
    )
    every: int = Field(1, ge=1, description="epochs between validations")
    eval_batch_size: int = Field(64, ge=1, le=4096, description="images decoded per batch")


class Recipe(StrictModel):
    """A whole training, and how its captioner decodes."""

    data: DataOptions = Field(DataOptions(), description="training data")
    tokenizer: TokenizerOptions = Field(TokenizerOptions(), description="vocabulary")
    encoder: EncoderSpec = Field(EncoderSpec(), description="image encoder")
    decoder: DecoderSpec = Field(AttentionSpec(), description="caption decoder")
    objective: list[Phase] = Field(
        [CrossEntropy()],
        min_length=1,
        description="phases in order; each later one starts from the best weights so far",
    )
    optimizer: OptimizerOptions = Field(OptimizerOptions(), description="optimizer")
    schedule: ScheduleOptions = Field(ScheduleOptions(), description="learning-rate schedule")
    training: TrainingOptions = Field(TrainingOptions(), description="training loop")
    validation: ValidationOptions = Field(ValidationOptions(), description="validation")
    generation: DecodingOptions = Field(DecodingOptions(), description="decoding of captions")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        mode = None if self.data.augment is None else self.data.augment.mode
        if self.encoder.trainable and mode not in (None, "random_crop"):
            raise ValueError(
                f"data.augment.mode={mode} caches features, which change while the encoder is trained: set it to "
                "random_crop"
            )
        if self.encoder.trainable and any(phase.reinit or phase.teachers for phase in self.objective):
            raise ValueError("teachers need the features of a frozen encoder: set encoder.trainable to false")
        if self.objective[0].reinit:
            raise ValueError(
                "objective.0.reinit: there is no earlier phase to distill; set objective.0.teachers instead"
            )
        has_patience = self.training.early_stopping_patience or self.schedule.name == "plateau"
        if has_patience and any(phase.reinit for phase in self.objective):
            raise ValueError(
                "reinit starts far below the best score, so that early stopping and the plateau schedule would give "
                "up: set training.early_stopping_patience to 0 and choose another schedule.name"
            )
        has_reward = any(isinstance(phase, SelfCritical) for phase in self.objective)
        if has_reward and self.validation.metric == "loss":
            raise ValueError("self-critical training raises the loss: choose another validation.metric")
        if has_reward and self.data.rehearse is not None:
            raise ValueError(
                "data.rehearse: self-critical training has rewards for the images of one set only"
            )
        return self


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    folder = Path(str(resources.files("showtell.config.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    return list(shipped_recipes())


def load_recipe(
    name: str | Path,
    overrides: list[str] | None = None,
    *,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
) -> Recipe:
    """Read a recipe by its shipped name or by the path of a YAML file, then apply dotted overrides.

    Args:
        name: ``flickr8k-attention``, or a path that ends in ``.yaml`` or ``.yml``.
        overrides: ``optimizer.lr=3e-4``; the value is read as YAML. A key that is set is no longer adapted
            (``training.adapt``).
        sections: Keys of sections that replace the recipe's before the overrides; ``encoder``, ``decoder`` and
            ``generation`` as a whole.

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
        values = parse_yaml(read_bytes(path, 4 * MAX_CHARACTERS).decode()) or {}
    except OSError as error:
        raise ConfigError(f"cannot read recipe {path}", found=error.strerror or str(error)) from error
    except ValueError as error:
        raise ConfigError(f"recipe {path} is not YAML of a recipe", found=str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"recipe {path} cannot be used", found=type(values).__name__, expected="keys and values"
        )
    for section, keys in (sections or {}).items():
        kept = {} if section in WHOLE_SECTIONS else values.get(section) or {}
        if not isinstance(kept, dict):
            raise ConfigError(
                f"recipe {path} cannot be used",
                found=f"{section}: {type(kept).__name__}",
                expected=f"keys and values in {section}",
            )
        values[section] = {**kept, **keys}
    for override in overrides or []:
        apply_override(values, override)
    return parse_recipe(values, f"recipe {path.name}")


def parse_recipe(values: dict[str, Any], where: str) -> Recipe:
    """Validate the values of a recipe; one ConfigError lists all problems."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise describe_problems(error, Recipe, where, RENAMED) from error


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return the resolved recipe, defaults included, as JSON values that `parse_recipe` reads back.

    Keys that are left out of ``encoder.preprocessing`` stay out: they come with the weights, which refuse others.
    """
    values = recipe.model_dump(mode="json")
    if recipe.encoder.preprocessing is not None:
        values["encoder"]["preprocessing"] = recipe.encoder.preprocessing.model_dump(
            mode="json", exclude_unset=True
        )
    return values


def dump_recipe(recipe: Recipe) -> str:
    """Return `recipe_values` as YAML."""
    return yaml.safe_dump(recipe_values(recipe), sort_keys=False, allow_unicode=True)
