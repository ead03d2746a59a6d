"""The hub, played by a folder: what is pushed comes back by its name and says the same; errors can be acted on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from showtell import Captioner
from showtell.checkpoints.checkpoint import save_checkpoint
from showtell.checkpoints.config import read_config
from showtell.checkpoints.hub import find_checkpoint
from showtell.config.decoders import LstmSpec
from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.data.prepared import PreparedSet
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import EncoderSpec, build_encoder, save_encoder
from showtell.errors import CheckpointError, ConfigError, ShowtellError
from showtell.tokenizer import Tokenizer


class FolderHub:
    """The part of the hub's client that we use, on a folder: ``OWNER/NAME/REVISION``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, Any] = {}
        self.pushed: dict[str, Any] = {}
        self.fetched: list[dict[str, Any]] = []

    def __call__(self, *, token: Any, library_name: str) -> FolderHub:
        self.made["token"] = token
        return self

    def create_repo(self, repository: str, *, private: bool | None, exist_ok: bool) -> SimpleNamespace:
        self.made.update(repository=repository, private=private)
        return SimpleNamespace(repo_id=repository if "/" in repository else f"me/{repository}")

    def create_branch(self, repository: str, *, branch: str, exist_ok: bool) -> None:
        self.made["branch"] = branch

    def upload_folder(self, *, repo_id: str, folder_path: Path, revision: str | None, **rest: Any) -> Any:
        place = self.folder / repo_id / (revision or "main")
        for name in rest["delete_patterns"]:
            (place / name).unlink(missing_ok=True)
        shutil.copytree(folder_path, place, dirs_exist_ok=True)
        self.pushed = rest
        return SimpleNamespace(commit_url=f"https://hub.example/{repo_id}/commit/1")

    def snapshot_download(self, repository: str, *, revision: str | None, **rest: Any) -> str:
        self.fetched.append({"repository": repository, "revision": revision, **rest})
        place = self.folder / repository / (revision or "main")
        if not place.is_dir():
            raise LocalEntryNotFoundError(f"no {repository} at {revision}\nand more.")
        return str(place)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    folder = FolderHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", folder.snapshot_download)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


PICTURES = list(np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8))


def said(captioner: Captioner) -> list[tuple[str, float]]:
    return [(one.text, one.score) for one in captioner.caption(PICTURES)]


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """A checkpoint with a frozen encoder that lies in a file of its own and is not carried along."""
    tokenizer = Tokenizer.fit(["a red dog lies on green grass"], min_count=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        spec = EncoderSpec(name="small", width=16, trainable=True, preprocessing=Preprocessing(size=32))
        save_encoder(build_encoder(spec), tmp_path / "secret-folder" / "eyes.safetensors")
        decoder_spec = LstmSpec(embedding=8, hidden=8)
        decoder = build_decoder(decoder_spec, vocabulary=tokenizer.size, encoder_width=16, pad_id=0)
        for weight in decoder.parameters():
            torch.nn.init.normal_(weight)
    frozen = spec.model_copy(
        update={"trainable": False, "weights": str(tmp_path / "secret-folder" / "eyes.safetensors")}
    )
    directory = tmp_path / "frozen"
    directory.mkdir()
    save_checkpoint(
        directory,
        decoder=decoder.state_dict(),
        decoder_spec=decoder_spec,
        tokenizer=tokenizer,
        encoder=build_encoder(frozen),
        include_encoder=False,
        generation=DecodingOptions(max_tokens=6),
        about={},
    )
    return directory


@pytest.mark.parametrize("decoder", ["lstm", "attention"])
def test_what_was_saved_says_the_same_when_it_is_loaded(
    tiny_checkpoint: Callable[[str], Path], decoder: str, tmp_path: Path
) -> None:
    captioner = Captioner.load(tiny_checkpoint(decoder), device="cpu")
    captioner.save_pretrained(tmp_path / "saved")
    again = Captioner.from_pretrained(tmp_path / "saved", device="cpu")
    assert said(again) == said(captioner)
    assert len(set(said(again))) > 1
    again.save_pretrained(tmp_path / "saved")  # over the very files it was loaded from
    assert said(Captioner.from_pretrained(str(tmp_path / "saved"), device="cpu")) == said(captioner)


def test_a_captioner_trained_along_with_its_encoder_stays_one(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    Captioner.load(tiny_checkpoint("lstm"), device="cpu").save_pretrained(
        tmp_path / "a", include_encoder=False
    )
    assert (tmp_path / "a" / "encoder.safetensors").is_file()
    assert read_config(tmp_path / "a")[1]["encoder"]["spec"]["trainable"] is True


def test_a_saved_captioner_carries_its_encoder_and_no_path_of_this_machine(
    frozen: Path, tmp_path: Path
) -> None:
    captioner = Captioner.load(frozen, device="cpu")
    captioner.save_pretrained(tmp_path / "saved")
    shutil.move(tmp_path / "secret-folder", tmp_path / "elsewhere")
    assert said(Captioner.from_pretrained(tmp_path / "saved", device="cpu")) == said(captioner)
    for name in ("config.json", "README.md"):
        assert "secret-folder" not in (tmp_path / "saved" / name).read_text(encoding="utf-8")
    assert "secret-folder" not in (frozen / "README.md").read_text(encoding="utf-8")


def test_without_its_encoder_a_saved_captioner_names_the_file_it_needs(frozen: Path, tmp_path: Path) -> None:
    captioner = Captioner.load(frozen, device="cpu")
    captioner.save_pretrained(tmp_path / "saved", include_encoder=False)
    assert not (tmp_path / "saved" / "encoder.safetensors").exists()
    with pytest.raises(ShowtellError, match=r"no file eyes\.safetensors\. .*encoder_weights="):
        Captioner.load(tmp_path / "saved", device="cpu")
    weights = tmp_path / "secret-folder" / "eyes.safetensors"
    again = Captioner.from_pretrained(tmp_path / "saved", encoder_weights=weights, device="cpu")
    assert said(again) == said(captioner)


def test_saving_writes_over_nothing_but_checkpoints(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    captioner = Captioner.load(tiny_checkpoint("lstm"), device="cpu")
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"cannot save a captioner in .*found other files \(thesis\.txt"
    ):
        captioner.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_an_encoder_file_that_was_replaced_is_noticed(frozen: Path, tmp_path: Path) -> None:
    captioner = Captioner.load(frozen, device="cpu")
    (tmp_path / "secret-folder" / "eyes.safetensors").write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"was changed after .* Load the captioner again"):
        captioner.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_what_was_pushed_comes_back_by_its_name(
    tiny_checkpoint: Callable[[str], Path], hub: FolderHub
) -> None:
    captioner = Captioner.load(tiny_checkpoint("attention"), device="cpu")
    address = captioner.push_to_hub(
        "ann/eyes", private=True, token="t0ken", card={"license": "mit", "tags": ["toy"]}
    )
    assert address == "https://hub.example/ann/eyes/commit/1"
    assert hub.made == {"token": "t0ken", "repository": "ann/eyes", "private": True}
    pushed = {path.name for path in (hub.folder / "ann" / "eyes" / "main").iterdir()}
    assert pushed == {*hub.pushed["allow_patterns"]} - {"datastore.safetensors"}
    card = huggingface_hub.ModelCard.load(hub.folder / "ann" / "eyes" / "main" / "README.md")
    assert card.data.license == "mit"
    assert 'Captioner.from_pretrained("ann/eyes")' in card.text
    for again in (Captioner.load("ann/eyes", device="cpu"), Captioner.from_pretrained("ann/eyes")):
        assert said(again) == said(captioner)
    # The licence stays when it is saved again.
    again.push_to_hub("eyes")
    card = huggingface_hub.ModelCard.load(hub.folder / "me" / "eyes" / "main" / "README.md")
    assert (card.data.license, card.data.tags) == ("mit", ["image-captioning", "showtell", "toy"])


def test_a_datastore_is_pushed_and_goes_with_its_captioner(
    frozen_captioner: Any, toy_set: PreparedSet, hub: FolderHub, tmp_path: Path
) -> None:
    from showtell.experiments.index import index_captions

    plain = frozen_captioner.directory
    index_captions(plain, tmp_path / "indexed", data=toy_set.directory)
    Captioner.load(tmp_path / "indexed", device="cpu").push_to_hub("ann/eyes")
    images = [toy_set.image_path(20), toy_set.image_path(21)]
    again = Captioner.load("ann/eyes", device="cpu").caption(images)
    assert again[0].neighbours
    assert [each.text for each in again] == [
        each.text for each in Captioner.load(tmp_path / "indexed", device="cpu").caption(images)
    ]
    Captioner.load(plain, device="cpu").push_to_hub("ann/eyes")
    assert not (hub.folder / "ann" / "eyes" / "main" / "datastore.safetensors").exists()
    assert not Captioner.load("ann/eyes", device="cpu").caption(images)[0].neighbours


def test_a_revision_is_pushed_to_and_fetched(
    tiny_checkpoint: Callable[[str], Path], hub: FolderHub, tmp_path: Path
) -> None:
    Captioner.load(tiny_checkpoint("lstm"), device="cpu").push_to_hub(
        "ann/eyes", revision="v2", commit_message="Better"
    )
    assert hub.made["branch"] == "v2"
    assert hub.pushed["commit_message"] == "Better"
    for place in (
        find_checkpoint("ann/eyes@v2"),
        find_checkpoint(Path("ann/eyes@v2")),
        find_checkpoint("ann/eyes", revision="v2", cache_dir=tmp_path, local_files_only=True),
    ):
        assert place == hub.folder / "ann" / "eyes" / "v2"
    assert [call["revision"] for call in hub.fetched] == ["v2"] * 3
    assert (hub.fetched[-1]["cache_dir"], hub.fetched[-1]["local_files_only"]) == (tmp_path, True)
    assert all("trainer.safetensors" not in call["allow_patterns"] for call in hub.fetched)


@pytest.mark.parametrize(
    "name", ["nowhere", "./ann/eyes", "/ann/eyes", "../ann/eyes", "a/b/c", "runs/eyes", "gone/", "ann/eyes/"]
)
def test_a_path_is_never_asked_of_the_hub(hub: FolderHub, name: str) -> None:
    Path("runs").mkdir()
    assert find_checkpoint(name) == Path(name)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        Captioner.load(name)
    assert hub.fetched == []


def test_what_is_on_the_disk_goes_first(
    tiny_checkpoint: Callable[[str], Path], hub: FolderHub, tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint("lstm"), Path("ann") / "eyes")
    Captioner.load("ann/eyes", device="cpu")
    assert hub.fetched == []
    with pytest.raises(ConfigError, match=r"revision='v2' cannot be used with ann/eyes: found a path"):
        Captioner.from_pretrained("ann/eyes", revision="v2")
    with pytest.raises(ConfigError, match="neither an existing path nor OWNER/NAME"):
        Captioner.from_pretrained("eyes", revision="v2")


def test_a_hub_that_does_not_give_is_told_in_one_line(hub: FolderHub) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"no directory ann/eyes, and ann/eyes cannot be downloaded .*: found LocalEntryNotFoundError: no "
        r"ann/eyes at None\. Check the name and the network",
    ):
        Captioner.load("ann/eyes")


def test_a_hub_that_does_not_take_is_told_in_one_line(
    tiny_checkpoint: Callable[[str], Path], hub: FolderHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise HFValidationError("no such name")

    monkeypatch.setattr(hub, "create_repo", refuse)
    captioner = Captioner.load(tiny_checkpoint("lstm"), device="cpu")
    with pytest.raises(
        ShowtellError,
        match=r"cannot push to ann/eyes .*found HFValidationError: no such name\. .*hf auth login",
    ):
        captioner.push_to_hub("ann/eyes")


@pytest.mark.parametrize("name", ["runs/nothere", "models/nothere", "Exports/a"])
def test_a_usual_folder_name_is_a_path_also_where_there_is_no_such_folder(hub: FolderHub, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} is not a checkpoint: found no such directory"):
        Captioner.load(name)
    assert hub.fetched == []


@pytest.mark.parametrize("name", ["my captioner", "ann/my captioner", "a/b/c", ""])
def test_a_name_that_no_repository_can_have_is_refused_before_the_hub_is_asked(
    tiny_checkpoint: Callable[[str], Path], hub: FolderHub, name: str
) -> None:
    captioner = Captioner.load(tiny_checkpoint("lstm"), device="cpu")
    with pytest.raises(ConfigError, match=f"cannot push to '{name}': found a name .* expected OWNER/NAME"):
        captioner.push_to_hub(name)
    assert hub.made == {}


def test_a_misspelled_field_of_the_card_is_refused(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    captioner = Captioner.load(tiny_checkpoint("lstm"), device="cpu")
    with pytest.raises(ConfigError, match=r"unknown key 'licence'\. Did you mean 'license'"):
        captioner.save_pretrained(tmp_path / "saved", card={"licence": "mit"})
    assert not (tmp_path / "saved").exists()


def test_a_configuration_of_another_library_is_refused(hub: FolderHub) -> None:
    place = hub.folder / "ann" / "other" / "main"
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({"model_type": "blip"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        Captioner.load("ann/other")


def test_the_command_pushes_and_captions_by_name(
    tiny_checkpoint: Callable[[str], Path],
    hub: FolderHub,
    toy_set: PreparedSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from showtell.cli.main import main

    def showtell(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["showtell", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert end.value.code in (0, None), printed.err
        return printed.out

    options = ("--license", "mit", "--dataset", "ann/toys", "--private", "--message", "First")
    pushed = showtell("push", tiny_checkpoint("lstm"), "ann/eyes", *options)
    assert pushed == "https://hub.example/ann/eyes/commit/1\n"
    assert hub.made["private"] is True
    card = huggingface_hub.ModelCard.load(hub.folder / "ann" / "eyes" / "main" / "README.md")
    assert (card.data.license, card.data.datasets) == ("mit", ["ann/toys"])
    picture = toy_set.image_path(0)
    by_name = showtell("caption", "ann/eyes", picture)
    assert by_name == showtell("caption", tiny_checkpoint("lstm"), picture)
    judged = showtell("evaluate", "ann/eyes", "--data", toy_set.directory, "--format", "json")
    assert json.loads(judged)["signature"].startswith("showtell:")
