"""Every documented command can be run as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs import command_check, markdown
from tests.docs.command_check import WrongCommandError, check, check_inline

# Options of other programs that the documents name.
FOREIGN_OPTIONS = {"--grad_scale", "--only", "--full", "--markdown", "--captioner"}
HISTORY = {"CHANGELOG.md"}  # names what options were called before
DOCUMENTS = [pytest.param(path, id=str(path.relative_to(markdown.ROOT))) for path in markdown.documents()]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_fenced_command_parses(path: Path) -> None:
    for block in markdown.blocks(path):
        if block.info in markdown.SHELLS:
            for words in markdown.commands(block.body):
                try:
                    check(words)
                except WrongCommandError as error:
                    pytest.fail(f"{block.place}: {error}")


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_command_in_running_text_has_a_known_verb_and_known_options(path: Path) -> None:
    if path.name in HISTORY:
        return
    for code in markdown.inline_code(path):
        if code.startswith("showtell "):
            check_inline(code)
        elif code.startswith("make ") and code.split()[1].islower():
            check(code.split()[:2])
        elif code.startswith("--") and "=" not in code:
            for word in code.split():
                if word.startswith("--"):
                    assert word in command_check.all_options() | FOREIGN_OPTIONS, f"{path}: `{code}`"


def test_most_commands_of_the_readme_are_ours() -> None:
    found = [
        words
        for block in markdown.blocks(markdown.ROOT / "README.md")
        if block.info in markdown.SHELLS
        for words in markdown.commands(block.body)
    ]
    assert {words[1] for words in found if words[0] == "showtell"} >= {
        "caption",
        "prepare",
        "train",
        "evaluate",
    }
    assert {words[1] for words in found if words[0] == "make"} >= {"demo", "test"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("showtell captoin RUN photo.jpg", "captoin"),
        ("showtell caption RUN photo.jpg --beams 3", "--beams"),
        ("showtell caption RUN photo.jpg --beam-size three", "three"),
        ("showtell train flickr8k-attention -o runs/a", "--data"),
        ("showtell train flickr8k-atention --data d -o runs/a", "flickr8k-atention"),
        ("showtell train demo --data d -o runs/a --set optimizer.learning_rate=1", "learning_rate"),
        ("showtell train demo --data d -o runs/a --set training.pictures=8", "pictures"),
        ("showtell recipes flickr9k", "flickr9k"),
        ("make demos", "demos"),
        ("pip install 'showtell[train]'", "no index"),
        ("pip install -e '.[trian]'", "trian"),
        ("python -m showtell.nothing", "showtell.nothing"),
        ("python docs/scripts/nothing.py", "nothing.py"),
        ("torchrun --nproc-per-node 4 -m showtell trian demo", "trian"),
        ("conda install showtell", "conda"),
    ],
)
def test_a_broken_command_is_found(line: str, named: str) -> None:
    with pytest.raises(WrongCommandError, match=named):
        [check(words) for words in markdown.commands(line)]


@pytest.mark.parametrize("code", ["showtell pack RUN", "showtell evaluate RUN --with RUN"])
def test_a_broken_command_in_running_text_is_found(code: str) -> None:
    with pytest.raises(WrongCommandError, match="no such"):
        check_inline(code)


def test_continued_lines_comments_and_variables_are_understood() -> None:
    body = "A=1 showtell caption RUN \\\n  a.jpg  # a comment\n\n# nothing\nmake test && make slow\n"
    assert markdown.commands(body) == [
        ["showtell", "caption", "RUN", "a.jpg"],
        ["make", "test"],
        ["make", "slow"],
    ]
