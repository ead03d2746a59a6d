"""The settings of a server: where it listens, what it accepts, and how much may wait."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator

from showtell.config.base import StrictModel, describe_problems


class ServeSettings(StrictModel):
    """What ``showtell serve`` is started with."""

    checkpoint: Path = Field(description="a checkpoint, a run, an export, or OWNER/NAME on the hub")
    encoder_weights: Path | None = Field(None, description="a local file with the encoder's weights")
    ensemble_with: tuple[Path, ...] = Field((), description="other captioners to ensemble with")
    device: str = Field(
        "auto", description="auto, cpu, cuda, cuda:1; several workers on cuda take one GPU each"
    )
    threads: int = Field(
        0, ge=0, description="CPU threads of the networks, of all workers together; 0: one per core"
    )
    host: str = Field("127.0.0.1", description="the address to listen on; 0.0.0.0: all of this machine")
    port: int = Field(8000, ge=0, le=65535, description="the port to listen on; 0: any free one")
    workers: int = Field(1, ge=1, le=64, description="processes, each with its own captioner")
    api_key: SecretStr | None = Field(None, min_length=1, description="the key that clients must send")
    max_bytes: int = Field(20 * 2**20, ge=1024, description="bytes of an image")
    max_pixels: int = Field(50_000_000, ge=1, description="pixels of an image when decoded")
    max_images: int = Field(16, ge=1, le=1024, description="images of a request")
    max_seconds: float = Field(
        30.0, gt=0.0, le=3600.0, description="seconds for an upload, and for its captions"
    )
    max_wait: float = Field(
        10.0, gt=0.0, description="predicted seconds until a caption beyond which it is refused"
    )
    queue_size: int = Field(64, ge=1, description="images that wait or are in work; more are refused")
    max_batch_size: int = Field(16, ge=1, le=1024, description="images captioned together")
    decode_processes: int = Field(
        0, ge=0, le=64, description="processes that decode images; 0: one per core, up to 4"
    )
    allow_urls: bool = Field(False, description="fetch images from public addresses that a request names")

    @field_validator("queue_size")
    @classmethod
    def _holds_a_request(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("max_images", 0):
            raise ValueError(f"fewer than max_images, {info.data['max_images']}, which one request may have")
        return value


def build_settings(**values: object) -> ServeSettings:
    """Return settings from keywords; a ConfigError with all problems if one is unknown or out of range."""
    try:
        return ServeSettings.model_validate(values)
    except ValidationError as error:
        raise describe_problems(error, ServeSettings, "the server's settings") from error
