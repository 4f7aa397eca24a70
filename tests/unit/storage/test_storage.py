"""What all storages promise, and what each adds; Redis is a real server."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.broker.connection import RedisSettings
from fws_pipe.errors import SystemRefusedError, UsageError
from fws_pipe.storage import VARIABLE, MemoryStorage, Storage, open_storage, redis_sets
from fws_pipe.storage.redis_sets import RedisStorage
from fws_pipe.storage.sqlite import SqliteStorage
from tests.conftest import start_or_skip
from tests.redis_servers import RedisServer

VALUES = [
    "x",
    b"x",
    "1",
    1,
    2.5,
    True,
    None,
    "",
    b"",
    (),
    ("x", (b"x", 2)),
    "msgpack:",
    "\ud800",
    "ü",
    -(2**63),
    2**64 - 1,
]

# One of each number: 0, 0.0 and False are one value to Python's sets, three to a shared storage.
scalars = st.one_of(
    st.text(max_size=3), st.binary(max_size=3), st.integers(2, 9), st.sampled_from([0.5, float("inf"), True, None])
)
members = scalars | st.tuples(scalars) | st.tuples(scalars, scalars)
few_members = st.sampled_from(VALUES) | members
steps = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove"]), st.sampled_from(["a", b"a", 1, ("a", None)]), few_members)
)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    environment = {VARIABLE: f"sqlite:{tmp_path}/sets" if request.param == "sqlite" else request.param}
    if request.param == "redis":
        environment |= settings_of(request.getfixturevalue("redis_server")).to_environment()
    opened = open_storage(environment)
    yield opened
    opened.close()


def settings_of(server: RedisServer) -> RedisSettings:
    return RedisSettings(server.url, key="own")


def test_nothing_is_none_to_get_and_an_empty_set_to_brackets(storage: Storage) -> None:
    assert storage.get("k") is None
    assert storage["k"] == set()


def test_a_value_is_in_the_set_once_until_it_is_removed(storage: Storage) -> None:
    storage.add("k", "v")
    storage.add("k", "v")
    storage.add("other", "w")
    assert storage.get("k") == storage["k"] == {"v"}
    storage.remove("k", "v")
    assert storage.get("k") is None
    assert storage["other"] == {"w"}


def test_removing_what_is_not_there_changes_nothing(storage: Storage) -> None:
    storage.remove("k", "v")
    storage.add("k", "v")
    storage.remove("k", "w")
    storage.remove("other", "v")
    assert storage["k"] == {"v"}


def test_what_is_returned_is_a_copy(storage: Storage) -> None:
    storage.add("k", "v")
    storage["k"].add("w")
    storage["none"].add("w")
    mine = storage.get("k")
    assert mine is not None
    mine.clear()
    assert storage["k"] == {"v"}
    assert storage.get("none") is None


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_values_and_keys_keep_their_type(storage: Storage, value: Any) -> None:
    storage.add(value, value)
    (back,) = storage[value]
    assert (type(back), back) == (type(value), value)


def test_values_of_different_types_are_different(storage: Storage) -> None:
    for value in ("1", b"1", 1, ("1",)):
        storage.add("k", value)
        storage.add(value, "v")
    storage.remove("k", 1)
    storage.remove(1, "v")
    assert storage["k"] == {"1", b"1", ("1",)}
    assert storage["1"] == storage[b"1"] == {"v"}
    assert storage.get(1) is None


def test_what_has_no_hash_is_a_type_error(storage: Storage) -> None:
    unhashable: list[Any] = [[], {}, bytearray(b"x"), ("x", [])]
    for value in unhashable:
        with pytest.raises(TypeError, match="unhashable"):
            storage.add("k", value)
        with pytest.raises(TypeError, match="unhashable"):
            storage.get(value)
    assert storage.get("k") is None


@given(steps)
def test_memory_does_as_a_dict_of_sets(done: list[tuple[str, Any, Any]]) -> None:
    check_against_model(MemoryStorage(), done)


@given(steps)
def test_sqlite_does_as_a_dict_of_sets(done: list[tuple[str, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = SqliteStorage(f"{folder}/sets")
        check_against_model(storage, done)
        storage.close()


def check_against_model(storage: Storage, done: list[tuple[str, Any, Any]]) -> None:
    model: dict[Any, set[Any]] = {}
    for action, key, value in done:
        if action == "add":
            storage.add(key, value)
            model.setdefault(key, set()).add(value)
        else:
            storage.remove(key, value)
            model.setdefault(key, set()).discard(value)
        assert storage[key] == model[key]
    for key, values in model.items():
        assert storage.get(key) == (values or None)


def test_memory_forgets_keys_that_have_become_empty() -> None:
    storage = MemoryStorage()
    storage.add("k", "v")
    storage.remove("k", "v")
    assert storage._sets == {}


def test_a_new_sqlite_file_is_private_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    SqliteStorage(str(tmp_path / "new")).add("a", "b")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    (tmp_path / "old").touch(0o660)
    (tmp_path / "old").chmod(0o660)
    SqliteStorage(str(tmp_path / "old")).close()
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o660


def test_sqlite_outlives_its_process_and_shows_ids_readably(tmp_path: Path) -> None:
    path = f"{tmp_path}/sets"
    first, second = SqliteStorage(path), SqliteStorage(path)
    first.add("token", "alice")
    assert second["token"] == {"alice"}
    first.close()
    second.close()
    assert b"tokenalice" in Path(path).read_bytes()
    third = SqliteStorage(path)
    assert third["token"] == {"alice"}
    third.close()


WORKER = """
import sys
from fws_pipe.storage.sqlite import SqliteStorage
name = sys.argv[1]
for path in map(str.rstrip, sys.stdin):
    storage = SqliteStorage(path)
    for number in range(6):
        storage.add("k", (name, number))
        assert (name, number) in storage["k"]
        if number % 2:
            storage.remove("k", (name, number))
    storage.close()
    print("done", flush=True)
"""


def test_processes_that_open_and_change_one_sqlite_file_at_once_lose_nothing(tmp_path: Path) -> None:
    names = "abcdef"
    with contextlib.ExitStack() as stack:
        pipe = subprocess.PIPE
        workers = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", WORKER, name], stdin=pipe, stdout=pipe, text=True, bufsize=1)
            )
            for name in names
        ]
        # Many new files, since the moment in which SQLite says "locked" without waiting is short.
        for path in [f"{tmp_path}/{number}" for number in range(100)]:
            for worker in workers:
                assert worker.stdin
                worker.stdin.write(f"{path}\n")
            for worker in workers:
                assert worker.stdout
                assert worker.stdout.readline() == "done\n"
            storage = SqliteStorage(path)
            assert storage["k"] == {(name, number) for name in names for number in range(0, 6, 2)}
            storage.close()


def test_threads_share_a_storage(storage: Storage) -> None:
    def work(name: str) -> None:
        for number in range(100):
            storage.add("k", (name, number))
            storage.add("k", number)
            storage.remove("k", number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage["k"] == {(name, number) for name in "abcd" for number in range(100)}


def test_a_file_that_is_no_database_is_named_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(SystemRefusedError) as caught:
        SqliteStorage(str(path))
    assert str(caught.value) == (
        f"can't keep sets in the SQLite file '{path}': file is not a database; "
        "name an SQLite file, or one that isn't there yet"
    )


def test_a_path_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SystemRefusedError, match=r"none/sets': unable to open database file; name a file in a folder"):
        SqliteStorage(f"{tmp_path}/none/sets")


def test_a_file_that_breaks_later_is_named_as_well(tmp_path: Path) -> None:
    storage = SqliteStorage(f"{tmp_path}/sets")
    storage.close()
    with pytest.raises(SystemRefusedError, match=r"^can't keep sets in the SQLite file .*; name another file$"):
        storage.add("k", "v")


def test_redis_holds_plain_sets_that_others_can_read_and_write(redis_server: RedisServer) -> None:
    storage = RedisStorage(settings_of(redis_server))
    client = redis_server.client()
    storage.add("token", "alice")
    assert client.smembers("own:storage:token") == {b"alice"}
    client.sadd("own:storage:token", "bob", b"\xff", b"msgpack:\xc1", b"msgpack:\x80")
    assert storage["token"] == {"alice", "bob", b"\xff", b"msgpack:\xc1", b"msgpack:\x80"}
    client.delete("own:storage:token")
    assert storage.get("token") is None
    storage.close()


def test_two_prefixes_in_one_redis_are_two_storages(redis_server: RedisServer) -> None:
    one, other = RedisStorage(RedisSettings(redis_server.url)), RedisStorage(RedisSettings(redis_server.url, key="x"))
    one.add("k", "v")
    assert other.get("k") is None
    one.close()
    other.close()


def test_the_first_call_after_a_restart_of_redis_works(redis_server: RedisServer) -> None:
    storage = RedisStorage(settings_of(redis_server))
    storage.add("k", "before")
    redis_server.restart()
    storage.add("k", "after")
    redis_server.kill()
    redis_server.restart()
    assert storage.get("k") is None
    storage.close()


def test_a_call_waits_for_a_redis_that_has_gone(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = RedisStorage(settings_of(redis_server), patience_s=60)
    delays: list[float] = []

    def come_back_at_the_third(delay: float) -> None:
        delays.append(delay)
        if len(delays) == 3:
            redis_server.restart()

    storage.add("k", "before")
    redis_server.kill()
    with monkeypatch.context() as patched:
        patched.setattr(redis_sets, "time", SimpleNamespace(monotonic=time.monotonic, sleep=come_back_at_the_third))
        storage.add("k", "after")
    assert len(set(delays)) == len(delays) >= 3
    assert storage["k"] == {"after"}
    storage.close()


def test_what_redis_refuses_is_told_in_one_line(redis_server: RedisServer) -> None:
    storage = RedisStorage(settings_of(redis_server), patience_s=0.1)
    redis_server.client().set("own:storage:k", "no set")
    with pytest.raises(SystemRefusedError, match=rf"^Redis at 127\.0\.0\.1:{redis_server.port} says: WRONGTYPE"):
        storage.add("k", "v")
    redis_server.kill()
    with pytest.raises(SystemRefusedError, match=r"can't be reached .*; start it, or name another with --redis-url"):
        storage.add("k", "v")
    storage.close()


def test_a_cluster_that_is_away_is_told_in_one_line() -> None:
    with pytest.raises(SystemRefusedError, match=r"^Redis at 127\.0\.0\.1:1 "):
        RedisStorage(RedisSettings("redis://127.0.0.1:1", sharded=True), patience_s=0)


def test_a_wrong_password_is_told_without_waiting(tmp_path_factory: pytest.TempPathFactory) -> None:
    with start_or_skip("valkey", tmp_path_factory.mktemp("valkey"), "--requirepass", "s3cret") as server:
        storage = RedisStorage(RedisSettings(f"redis://:wrong@127.0.0.1:{server.port}"), patience_s=3600)
        with pytest.raises(SystemRefusedError, match="wants another user or password"):
            storage.add("k", "v")
        storage.close()


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: "memory"}], ids=str)
def test_memory_is_what_there_is_unless_told(environment: dict[str, str]) -> None:
    assert isinstance(open_storage(environment), MemoryStorage)


@pytest.mark.parametrize("choice", ["disk", "sqlite", "sqlite:", "Memory", "redis://host"])
def test_any_other_storage_is_a_usage_error(choice: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_storage({VARIABLE: choice})
    assert str(caught.value) == f"FWS_STORAGE='{choice}': expected memory, sqlite:PATH or redis"


def test_redis_without_a_url_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"FWS_STORAGE=redis: .*--redis-url"):
        open_storage({VARIABLE: "redis"})


def test_only_what_is_chosen_is_loaded(tmp_path: Path) -> None:
    script = (
        "import sys, fws_pipe.storage as s; s.open_storage({}); slow = {'redis', 'sqlite3', 'trio', 'inspect'};"
        f"print(sorted(slow & set(sys.modules))); s.open_storage({{'FWS_STORAGE': 'sqlite:{tmp_path}/sets'}});"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n['sqlite3']\n"
