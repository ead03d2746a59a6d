"""Checkpoints on the Hugging Face hub: found by name, pushed from a directory. Needs no torch.

``OWNER/NAME`` or ``OWNER/NAME@REVISION`` works wherever a checkpoint's path does. Local paths take precedence, and a
name in a local folder (``runs/mine`` with ``runs/`` present, or a usual folder name) is a mistyped path, not a
stranger's repository, so the hub is not asked.
"""

import re
from pathlib import Path

from showtell.errors import CheckpointError, ConfigError, ShowtellError, reason
from showtell.system.atomic import resolve_swapped

CONFIG, DECODER, TOKENIZER = "config.json", "decoder.safetensors", "tokenizer.json"
ENCODER, DATASTORE, CARD = "encoder.safetensors", "datastore.safetensors", "README.md"
FILES = (CONFIG, DECODER, TOKENIZER, ENCODER, DATASTORE, CARD)
"""All files of a checkpoint; no others are fetched or pushed."""

_PART = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[\w./-]+))?")
_LOCAL_FOLDERS = {
    "checkpoints", "data", "exports", "models", "out", "output", "outputs", "results", "runs", "tmp",
}  # fmt: skip


def find_checkpoint(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """Return the directory of a checkpoint; a repository is downloaded once into the hub's cache.

    A name that is neither a path nor a repository is returned as it is: `read_config` reports the problem.

    Args:
        name: A local checkpoint or run, or ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        revision: Branch, tag or commit of the repository; None: the one in the name, else its main branch.
        token: For private repositories; None: that of ``hf auth login``.

    Raises:
        ConfigError: a revision of a name that is not a repository.
        CheckpointError: no such repository or revision, or the hub cannot be reached and the cache lacks it.
    """
    text = name.as_posix() if isinstance(name, Path) else name
    match = None if resolve_swapped(Path(name)).exists() else _NAME.fullmatch(text)
    if match is not None and revision is None:
        revision = match["revision"]
        folder = text.partition("/")[0]
        if revision is None and (folder.lower() in _LOCAL_FOLDERS or Path(folder).is_dir()):
            match = None
    if match is None:
        if revision is not None:
            raise ConfigError(
                f"revision='{revision}' cannot be used with {name}",
                found="a path" if Path(name).exists() else "neither an existing path nor OWNER/NAME",
                mend="Only repositories of the hub have revisions",
            )
        return Path(name)
    from huggingface_hub import snapshot_download

    repository = match["repository"]
    try:
        directory = snapshot_download(
            repository,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            local_files_only=local_files_only,
            allow_patterns=list(FILES),
            library_name="showtell",
        )
    except Exception as error:  # the hub's client passes on errors of any HTTP library
        where = repository if revision is None else f"{repository}@{revision}"
        raise CheckpointError(
            f"there is no directory {text}, and {where} cannot be downloaded from the Hugging Face hub",
            found=reason(error),
            mend="Check the name and the network; a private repository needs: hf auth login",
        ) from error
    return Path(directory)


def push_directory(
    directory: Path,
    repository: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a checkpoint's files as one commit and return its URL.

    Args:
        directory: The checkpoint.
        repository: ``OWNER/NAME``, or ``NAME`` of the logged-in user; created if it is missing.
        private: Whether a new repository is private; None: its owner's default.
        token: None: that of ``hf auth login``.
        revision: A branch, created if it is missing; None: main.
        create_pr: Open a pull request instead of committing.

    Raises:
        ConfigError: not a repository name.
        ShowtellError: the hub refused it or cannot be reached.
    """
    check_repository(repository)
    from huggingface_hub import HfApi

    hub = HfApi(token=token, library_name="showtell")
    try:
        repository = hub.create_repo(repository, private=private, exist_ok=True).repo_id
        if revision is not None and not create_pr:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=directory,
            commit_message=commit_message or "Upload a showtell captioner",
            revision=revision,
            create_pr=create_pr,
            allow_patterns=list(FILES),
            # What an earlier version included and this one does not.
            delete_patterns=[ENCODER, DATASTORE],
        )
    except Exception as error:  # as above
        raise ShowtellError(
            f"cannot push to {repository} on the Hugging Face hub",
            found=reason(error),
            mend="Check the name and the network, and log in with: hf auth login",
        ) from error
    return str(commit.commit_url)


def check_repository(name: str) -> None:
    """Raise a ConfigError for a name that no repository of the hub can have."""
    if not re.fullmatch(rf"(?:{_PART}/)?{_PART}", name):
        raise ConfigError(
            f"cannot push to '{name}'",
            found="a name that is not a repository's",
            expected="OWNER/NAME of letters, digits, '-', '_' and '.'",
        )
