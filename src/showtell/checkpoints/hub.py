"""Checkpoints on the Hugging Face hub: found by name, pushed from a directory. Knows no networks, needs no torch.

The one idea: wherever a checkpoint's path may stand, ``OWNER/NAME`` (or ``OWNER/NAME@REVISION``) may stand too. What
lies on the disk goes first, and a name below a folder that is there (``runs/mine`` beside ``runs/``) is a path with a
slip, not a repository of a stranger, so it is never asked for.
"""

from __future__ import annotations

import re
from pathlib import Path

from showtell.errors import CheckpointError, ConfigError, ShowtellError, reason
from showtell.system.atomic import resolve_swapped

CONFIG, DECODER, TOKENIZER, ENCODER, CARD = (
    "config.json",
    "decoder.safetensors",
    "tokenizer.json",
    "encoder.safetensors",
    "README.md",
)
FILES = (CONFIG, DECODER, TOKENIZER, ENCODER, CARD)
"""All that a checkpoint may consist of; nothing else is fetched or pushed."""

_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


def find_checkpoint(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """Return the directory that a name means; a repository of the hub is fetched once and kept in the hub's cache.

    A name that is neither is returned as it is, for `read_config` to say what is missing there.

    Args:
        name: A checkpoint or run on the disk, else ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        revision: Branch, tag or commit of the repository; None: the one in the name, else its main branch.
        cache_dir: Where to keep it; None: the hub's own cache.
        token: For private repositories; None: that of ``hf auth login``.
        force_download: Fetch it again.
        local_files_only: Take it from the cache alone.

    Raises:
        ConfigError: a revision of something that is no repository.
        CheckpointError: no such repository or revision, or the hub cannot be reached and nothing is kept.
    """
    text = name.as_posix() if isinstance(name, Path) else name
    match = None if resolve_swapped(Path(name)).exists() else _NAME.fullmatch(text)
    if match is not None and revision is None:
        revision = match["revision"]
        if revision is None and Path(text.partition("/")[0]).is_dir():
            match = None
    if match is None:
        if revision is not None:
            raise ConfigError(
                f"revision='{revision}' cannot be used with {name}",
                found="a path" if Path(name).exists() else "neither a path that exists nor OWNER/NAME",
                mend="Only repositories of the hub have revisions",
            )
        return Path(name)
    from huggingface_hub import snapshot_download

    repository = match["repository"]
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=cache_dir,
                token=token,
                force_download=force_download,
                local_files_only=local_files_only,
                allow_patterns=list(FILES),
                library_name="showtell",
            )
        )
    except Exception as error:  # the hub's client passes on errors of whatever HTTP library it uses
        where = repository if revision is None else f"{repository}@{revision}"
        raise CheckpointError(
            f"there is no directory {text}, and {where} cannot be fetched from the Hugging Face hub",
            found=reason(error),
            mend="Check the name and the network; a private repository needs: hf auth login",
        ) from error


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
    """Put a checkpoint's files into a repository, which is made if need be, as one commit.

    Args:
        directory: The checkpoint.
        repository: ``OWNER/NAME``, or ``NAME`` of whoever is logged in.
        private: Of a repository that is made; None: as its owner's settings say.
        token: None: that of ``hf auth login``.
        revision: A branch, made if need be; None: main.
        commit_message: None: a plain one.
        create_pr: Open a pull request in place of committing.

    Returns:
        The address of the commit.

    Raises:
        ShowtellError: the hub refused it or cannot be reached.
    """
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
            # An encoder that an earlier version carried and this one does not.
            delete_patterns=[ENCODER],
        )
    except Exception as error:  # as above
        raise ShowtellError(
            f"cannot push to {repository} on the Hugging Face hub",
            found=reason(error),
            mend="Check the name and the network, and log in with: hf auth login",
        ) from error
    return str(commit.commit_url)
