"""A folder's files, and all that must not be served: links, dot-files, devices, what lies elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fws_pipe.errors import UsageError
from fws_pipe.http.handshake import PlainRequest
from fws_pipe.http.page_folder import PageFolder
from fws_pipe.http.responses import FileResponse, Response
from fws_pipe.log import Log

SECRET = b"secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of pages with secrets in it and around it."""
    (tmp_path / "outside").write_bytes(SECRET)
    pages = tmp_path / "pages"
    (pages / "sub").mkdir(parents=True)
    (pages / ".git").mkdir()
    (pages / "index.html").write_text("<h1>index</h1>")
    (pages / "sub" / "index.html").write_text("sub")
    (pages / "a b.txt").write_text("0123456789")
    (pages / "empty").touch()
    for dotfile in (".env", ".git/config", "sub/.env"):
        (pages / dotfile).write_bytes(SECRET)
    (pages / "link").symlink_to(tmp_path / "outside")
    (pages / "dot-link").symlink_to(".env")
    (pages / "up").symlink_to("..")
    (pages / "inner").symlink_to("sub")
    os.mkfifo(pages / "fifo")
    return pages


class Asked:
    """A folder of pages, and what it has logged."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.pages = PageFolder(str(folder), log)

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[Response, bytes]:
        """The response, and the bytes that it would send."""
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        response = await self.pages.answer_to(PlainRequest(method, path, "q=1", fields))
        if not isinstance(response, FileResponse):
            return response, response.encode().split(b"\r\n\r\n", 1)[1]
        try:
            return response, await response.content.read(response.offset, response.length)
        finally:
            response.content.close()

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[Response, bytes]:
        async def main() -> tuple[Response, bytes]:
            return await self.ask(path, method, **headers)

        return trio.run(main)


@contextlib.contextmanager
def opened(folder: Path, said: Path) -> Iterator[Asked]:
    with said.open("wb") as file:
        log = Log("test", descriptor=file.fileno())
        yield Asked(folder, log)
        log.close()


@pytest.fixture
def asked(folder: Path, tmp_path: Path) -> Iterator[Asked]:
    with opened(folder, tmp_path / "log") as found:
        yield found


@contextlib.contextmanager
def no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("path", "content", "media_type"),
    [
        ("/", b"<h1>index</h1>", "text/html; charset=utf-8"),
        ("/index.html", b"<h1>index</h1>", "text/html; charset=utf-8"),
        ("/sub/", b"sub", "text/html; charset=utf-8"),
        ("/a%20b.txt", b"0123456789", "text/plain; charset=utf-8"),
        ("/empty", b"", "application/octet-stream"),
    ],
)
def test_files(asked: Asked, path: str, content: bytes, media_type: str) -> None:
    response, body = asked.get(path)
    assert (response.status, body) == (200, content)
    assert isinstance(response, FileResponse)
    headers = dict(response.headers)
    assert headers["Content-Type"] == media_type
    assert headers["Cache-Control"] == "no-cache"
    assert {"Date", "ETag", "Last-Modified", "Accept-Ranges", "Referrer-Policy"} <= headers.keys()


def test_conditions_and_ranges(asked: Asked) -> None:
    whole, _ = asked.get("/a%20b.txt")
    etag = dict(whole.headers)["ETag"]
    with no_descriptor_is_left():
        same, body = asked.get("/a%20b.txt", if_none_match=etag)
        assert (same.status, body, dict(same.headers)["ETag"]) == (304, b"", etag)
        part, body = asked.get("/a%20b.txt", range="bytes=-4")
        assert (part.status, body, dict(part.headers)["Content-Range"]) == (206, b"6789", "bytes 6-9/10")
        beyond, _ = asked.get("/a%20b.txt", range="bytes=10-")
        assert (beyond.status, dict(beyond.headers)["Content-Range"]) == (416, "bytes */10")
        changed, _ = asked.get("/a%20b.txt", if_match='"x"')
        assert changed.status == 412


@pytest.mark.parametrize("seconds", [2**40, -(2**33), 0])
def test_a_file_of_any_age_is_served(folder: Path, asked: Asked, seconds: int) -> None:
    """tmpfs keeps times that no date can show; other file systems keep the nearest one that they can."""
    os.utime(folder / "a b.txt", (seconds, seconds))
    with no_descriptor_is_left():
        response, body = asked.get("/a%20b.txt")
        assert (response.status, body) == (200, b"0123456789")


def test_an_error_in_the_server_itself_leaves_no_descriptor(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: bytes) -> str:
        raise ValueError(name)

    monkeypatch.setattr("fws_pipe.http.page_folder.media_type_of", fail)
    asked.get("/none")  # trio's threads and descriptors are there now
    with no_descriptor_is_left(), pytest.raises(ValueError, match="index"):
        asked.get("/")


def test_a_folder_without_its_slash_is_elsewhere(asked: Asked) -> None:
    response, _ = asked.get("/sub")
    assert (response.status, dict(response.headers)["Location"]) == (301, "./sub/?q=1")


@pytest.mark.parametrize(
    "path",
    [
        "/link", "/dot-link", "/up/outside", "/up/pages/index.html", "/inner/", "/inner/index.html", "/fifo", "/.env",
        "/.git/config", "/sub/.env", "/../outside", "/%2e%2e/outside", "/sub/..%2f..%2foutside", "/none", "/none/x",
        "/index.html/", "/index.html/x", "/socket", "/" + "x" * 300, "/empty%00.html", "/%5c..%5coutside", "",
    ],
)  # fmt: skip
def test_what_is_not_found(asked: Asked, folder: Path, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        with no_descriptor_is_left():
            assert asked.get(path)[0].status == 404


@pytest.mark.parametrize("name", ["zero", "null"])
def test_no_device_is_served(asked: Asked, folder: Path, name: str) -> None:
    try:
        os.mknod(folder / "device", 0o20666, os.stat(f"/dev/{name}").st_rdev)
    except PermissionError:
        pytest.skip("this user may make no devices")
    assert asked.get("/device")[0].status == 404


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read any file: so for now be somebody who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_file_is_403(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name, opened(Path(name), tmp_path / "log") as asked:
        Path(name).chmod(0o755)
        (Path(name) / "own").mkdir(mode=0o700)
        (Path(name) / "file").touch(mode=0)
        with as_nobody(), no_descriptor_is_left():
            assert asked.get("/file")[0].status == 403
        (Path(name) / "own").chmod(0)
        with as_nobody():
            assert asked.get("/own/file")[0].status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_files_can_only_be_read(asked: Asked, method: str) -> None:
    response, _ = asked.get("/", method)
    assert (response.status, dict(response.headers)["Allow"]) == (405, "GET, HEAD")


SEGMENTS = ["", ".", "..", "up", "inner", "link", "sub", ".git", "config", ".env", "outside", "pages", "index.html"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(SEGMENTS) | st.text(st.characters(max_codepoint=255), max_size=6)
        | st.sampled_from(SEGMENTS).map(lambda name: "".join(f"%{ord(letter):02x}" for letter in name)),
        max_size=6,
    ),
    st.sampled_from(["/", "%2f", "%2F", "\\", "%5c", "//", "/./", "%252f"]),
)  # fmt: skip
def test_no_path_whatever_leads_to_a_secret(asked: Asked, segments: list[str], separator: str) -> None:
    with no_descriptor_is_left():
        response, body = asked.get("/" + separator.join(segments))
    assert SECRET not in body
    assert response.status in (200, 301, 404)


def test_no_race_leads_out_of_the_folder(asked: Asked, folder: Path, tmp_path: Path) -> None:
    """A name that is by turns a folder, a link to one outside, a file, and a link to a file outside."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "page").write_bytes(SECRET)
    inside = folder / "real"
    inside.mkdir()
    (inside / "page").write_text("own")
    (folder / "real-file").write_text("own")
    (folder / "swap").mkdir()
    (folder / "swap" / "page").write_text("own")
    for name, target in (("out-folder", outside), ("out-file", outside / "page")):
        (folder / name).symlink_to(target)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for other in ("out-folder", "real-file", "out-file"):
                for source, target in ((folder / "swap", folder / "kept"), (folder / other, folder / "swap")):
                    source.rename(target)
                for source, target in ((folder / "swap", folder / other), (folder / "kept", folder / "swap")):
                    source.rename(target)

    swapper = threading.Thread(target=swap)
    swapper.start()

    async def ask_often() -> set[int]:
        found = set()
        for _ in range(500):
            for path in ("/swap/page", "/swap"):
                response, body = await asked.ask(path)
                assert SECRET not in body
                found.add(response.status)
        return found

    try:
        with no_descriptor_is_left():
            assert trio.run(ask_often) <= {200, 301, 404}
    finally:
        stop.set()
        swapper.join()


def test_a_folder_that_vanishes_is_told_of_once_and_served_again_when_it_is_back(
    asked: Asked, folder: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        folder.rename(tmp_path / "away")
        assert [asked.get("/")[0].status for _ in range(3)] == [404] * 3
        (tmp_path / "away").rename(folder)
        assert asked.get("/")[0].status == 200
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    assert "No such file or directory; its files are 404 until the folder is back" in lines[0]


def test_another_folder_in_its_place_is_served(asked: Asked, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "old")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "index.html").write_text("new")
    folder.symlink_to("new")
    assert asked.get("/")[1] == b"new"


@pytest.mark.parametrize(("name", "reason"), [("none", "No such file or directory"), ("outside", "Not a directory")])
def test_what_is_no_folder_at_the_start_is_refused(folder: Path, tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        PageFolder(str(folder.parent / name), Log("test", descriptor=2))


def test_a_file_is_read_also_where_the_system_can_not_tell_what_is_cached(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fws_pipe.http.page_folder._NOWAIT", None)
    assert asked.get("/a%20b.txt")[1] == b"0123456789"
