"""Progress and notes go to stderr, results alone to stdout."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from showtell.errors import escape_controls
from showtell.system import console


def test_a_note_is_one_line_on_stderr_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("[bold]a.jpg[/] " + "x" * 300)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "[bold]a.jpg[/] " + "x" * 300 + "\n"


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 1.0, 16.0, 16.0, 17.0, 40.0, 40.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    with console.progress_bar("reading", 10, unit="pictures") as advance:
        advance(1)
        advance(2, "a.jpg")
        advance(3)
        advance(4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["reading: 3/10 pictures a.jpg", "reading: 10/10 pictures"]


def test_progress_towards_nobody_knows_what_counts_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 16.0, 16.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    with console.progress_bar("reading", None, unit="pictures") as advance:
        advance(3, "")
    assert capsys.readouterr().err == "reading: 3 pictures\n"
    screen = io.StringIO()
    monkeypatch.undo()
    monkeypatch.setattr(console, "stderr", Console(file=screen, force_terminal=True, width=100))
    with console.progress_bar("reading", None, unit="pictures") as advance:
        advance(3, "")
    assert "3/?" in screen.getvalue()


def test_on_a_terminal_progress_is_a_bar_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=screen, force_terminal=True, width=100))
    with console.progress_bar("reading", 10, unit="pictures") as advance:
        advance(10, "the last one")
    assert "reading" in screen.getvalue()
    assert "10/10" in screen.getvalue()
    assert "the last one" in screen.getvalue()
    assert capsys.readouterr().out == ""


def test_notes_and_results_show_invisible_characters_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("a\x1b[31m\u202eb")
    console.show("a\x1b[31m\u202eb\nsecond\x07")
    out, err = capsys.readouterr()
    assert err == "a\\x1b[31m\\u202eb\n"
    assert out == "a\\x1b[31m\\u202eb\nsecond\\x07\n"


def test_invisible_characters_are_shown_as_escapes() -> None:
    hidden = "\x1b[31m\ta\u202eb\u2028\udcff\x7f\u200b"
    assert escape_controls(hidden) == r"\x1b[31m\ta\u202eb\u2028\udcff\x7f\u200b"
    visible = "Ünï 犬\u3000🙂‍↔️ می\u200cخواهم \\ 'x'"
    assert escape_controls(visible) == visible


def test_text_is_shortened_to_columns() -> None:
    assert console.shorten("a dog", 5) == "a dog"
    assert console.shorten("a dog runs", 7) == "a dog…"
    assert console.shorten("棕色的狗", 8) == "棕色的狗"
    assert console.shorten("棕色的狗", 7) == "棕色的…"
    assert console.shorten("棕色的狗", 6) == "棕色…"
    assert console.shorten("a dog", 0) == "…"
