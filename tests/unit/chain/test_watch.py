"""Which files are watched, and which of them too much happens to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fws_pipe.chain.watch import RestlessFiles, Watch, files_named_in, programs_named_in


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("events.mp", "chat.py", "rules.json", "log.sh", "rooms/lobby.py", "bots/__init__.py", "plain"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "log.sh").chmod(0o755)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("fws-filter ./chat.py", ["./chat.py"]),
        ("fws-filter chat rooms.lobby bots", ["chat.py", "rooms/lobby.py", "bots/__init__.py"]),
        ("python3 chat.py plain", ["chat.py"]),
        ("./log.sh rules.json", ["./log.sh"]),
        ("tee events.mp", []),
        ("tee -a plain | ./log.sh", ["./log.sh"]),
        ("cat >log.sh", []),
        ("cat 2>>log.sh", []),
        ("cat >|log.sh && python3 chat.py", ["chat.py"]),
        ("tee >(./log.sh)", ["./log.sh"]),
        ("echo it's ./log.sh", ["./log.sh"]),
    ],
)
def test_programs_scripts_and_modules_are_watched_and_nothing_else(text: str, files: list[str]) -> None:
    assert programs_named_in(text) == files


@pytest.mark.usefixtures("folder")
def test_what_a_stage_reads_is_named_and_what_its_output_goes_to_is_not() -> None:
    assert files_named_in("./log.sh rules.json plain 2>events.mp") == ["./log.sh", "rules.json", "plain"]


def test_a_change_counts_once_it_has_settled(folder: Path) -> None:
    watch = Watch(["chat.py", "log.sh"])
    assert watch.changed() == []
    (folder / "chat.py").write_text("half")
    assert watch.changed() == []
    (folder / "chat.py").write_text("all of it")
    assert watch.changed() == []
    assert watch.changed() == ["chat.py"]
    assert watch.changed() == []
    os.unlink("log.sh")
    assert [watch.changed(), watch.changed()] == [[], ["log.sh"]]


def test_a_file_is_restless_when_three_reloads_in_a_row_change_it() -> None:
    files = RestlessFiles()
    now = 100.0
    assert files.note_changed(["a", "b"], now) == []
    for _ in range(2):
        files.note_reload(now)
        now += 1.0
        assert files.note_changed(["a"], now) == []
    files.note_reload(now)
    assert files.note_changed(["a", "b"], now + 1.0) == ["a"]
    assert files.found == {"a"}


def test_a_file_that_is_changed_now_and_then_is_not_restless() -> None:
    files = RestlessFiles()
    for number in range(10):
        files.note_reload(100.0 * number)
        pause = 60.0 if number % 3 == 2 else 1.0
        assert files.note_changed(["a"], 100.0 * number + pause) == []
