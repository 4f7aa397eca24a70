"""The quarantine: a file for each event, and whatever goes wrong with it costs no more than the file."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from fws_pipe.ledger import quarantine
from fws_pipe.ledger.quarantine import Quarantine


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_a_file_for_each_event_that_only_we_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    keeper = Quarantine(str(folder), "one")
    fate = keeper.keep(17, b"frames")
    [path] = files_in(folder)
    assert fate == f"it is kept in {path}"
    assert path.name.endswith("-one-17.mp")
    assert path.read_bytes() == b"frames"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keeper.keep(18, b"others")
    assert len(files_in(folder)) == 2


def test_without_a_folder_nothing_is_kept() -> None:
    assert Quarantine(None, "one").keep(17, b"frames") == "it is not kept (--quarantine DIR keeps such events)"


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        fate = Quarantine(str(tmp_path), "one").keep(17, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fate.startswith(f"it could not be kept in {tmp_path}/")
    assert fate.endswith(": File too large")
    assert files_in(tmp_path) == []


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    fate = Quarantine(str(tmp_path / "file"), "one").keep(17, b"frames")
    assert fate.startswith("it could not be kept in ")


def test_the_disk_is_not_filled_by_those_who_do_it_on_purpose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "LIMIT_BYTES", 10)
    keeper = Quarantine(str(tmp_path), "one")
    keeper.keep(1, b"1234567")
    assert "more may not be" in keeper.keep(2, b"1234567")
    keeper.keep(3, b"123")
    assert [path.name.rsplit("-")[-1] for path in files_in(tmp_path)] == ["1.mp", "3.mp"]
