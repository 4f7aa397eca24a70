"""The quarantine: a file for each event, and whatever goes wrong with it costs no more than the file."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from fws_pipe.errors import SystemRefusedError, UsageError
from fws_pipe.ledger import quarantine
from fws_pipe.ledger.quarantine import Quarantine, check_folder


@pytest.mark.parametrize("name", ["here", "new", "here/new/", "link"])
def test_a_folder_that_is_there_or_may_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    check_folder(f"{tmp_path}/{name}")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "link"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("file", "it is not a folder"),
        ("dangling", "it is not a folder"),
        ("not/there", "{}/not, where the server would make it, is not a folder"),
        ("file/there", "{}/file, where the server would make it, is not a folder"),
    ],
)
def test_a_folder_that_can_not_be(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UsageError) as error:
        check_folder(f"{tmp_path}/{name}")
    assert str(error.value) == f"--quarantine {tmp_path}/{name}: {problem.format(tmp_path)}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


@pytest.mark.parametrize("name", ["closed", "closed/new"])
def test_a_folder_where_we_may_not_write(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.geteuid() == 0:  # who may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: bool(mode & ~(os.stat(path).st_mode >> 6)) is False)
    with pytest.raises(SystemRefusedError) as error:
        check_folder(f"{tmp_path}/{name}")
    assert str(error.value) == f"--quarantine {tmp_path}/{name}: this user may not write in {tmp_path}/closed"


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_a_file_for_each_event_that_only_we_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    keeper = Quarantine(str(folder), "one")
    fate = keeper.keep(17, b"frames")
    [path] = files_in(folder)
    assert fate == (True, f"it is kept in {path}")
    assert path.name.endswith("-one-17.mp")
    assert path.read_bytes() == b"frames"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keeper.keep(18, b"others")
    assert len(files_in(folder)) == 2


def test_without_a_folder_nothing_is_kept() -> None:
    fate = Quarantine(None, "one").keep(17, b"frames")
    assert fate == (False, "it is not kept (--quarantine DIR keeps such events)")


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        fate = Quarantine(str(tmp_path), "one").keep(17, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not fate.is_kept
    assert fate.text.startswith(f"it is not kept: {tmp_path}/")
    assert fate.text.endswith(": File too large")
    assert files_in(tmp_path) == []


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    fate = Quarantine(str(tmp_path / "file"), "one").keep(17, b"frames")
    assert not fate.is_kept
    assert fate.text.startswith(f"it is not kept: {tmp_path}/file/")


def test_the_disk_is_not_filled_by_those_who_do_it_on_purpose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "LIMIT_BYTES", 10)
    keeper = Quarantine(str(tmp_path), "one")
    keeper.keep(1, b"1234567")
    fate = keeper.keep(2, b"1234567")
    assert not fate.is_kept
    assert "reached its limit" in fate.text
    keeper.keep(3, b"123")
    assert [path.name.rsplit("-")[-1] for path in files_in(tmp_path)] == ["1.mp", "3.mp"]
