"""What all storages promise, and what each adds; Redis is a real server."""

from __future__ import annotations

import contextlib
import os
import signal
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
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fws_pipe.broker import connection
from fws_pipe.broker.connection import RedisSettings
from fws_pipe.errors import SystemRefusedError, UsageError
from fws_pipe.storage import VARIABLE, MemoryStorage, Storage, open_storage, redis_storage
from fws_pipe.storage.redis_storage import RedisStorage
from fws_pipe.storage.sqlite import SqliteStorage
from tests.conftest import start_or_skip
from tests.redis_servers import RedisServer, start_cluster

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


def test_a_list_keeps_its_newest_values(storage: Storage) -> None:
    assert storage.last("k") == []
    for number in range(25):
        storage.append("k", number)
    assert storage.last("k") == list(range(5, 25))
    assert storage.last("k", 3) == [22, 23, 24]
    assert storage.last("k", 0) == []
    storage.append("k", "x", keep=2)
    assert storage.last("k", 100) == [24, "x"]
    storage.append("k", "y", keep=3)
    assert storage.last("k", 100) == [24, "x", "y"]
    storage.append("other", 1, keep=1)
    storage.delete_list("k")
    assert [storage.last("k"), storage.last("other")] == [[], [1]]
    storage.append("k", "z")
    assert storage.last("k") == ["z"]


def test_a_map_has_a_value_for_each_field(storage: Storage) -> None:
    assert storage.fetch("k", "f") is None
    assert storage.fetch("k", "f", 0) == 0
    storage.put("k", "f", 1)
    storage.put("k", "f", {"a": [1, (2, b"x")]})
    storage.put("k", ("g", 1), None)
    assert storage.fetch("k", "f") == {"a": [1, (2, b"x")]}
    assert storage.fetch("k", ("g", 1), "default") is None
    assert storage.fetch_all("k") == {"f": {"a": [1, (2, b"x")]}, ("g", 1): None}
    storage.delete_field("k", "f")
    storage.delete_field("k", "f")
    assert storage.fetch_all("k") == {("g", 1): None}
    storage.put("other", "f", 2)
    storage.delete_map("k")
    storage.delete_map("k")
    assert [storage.fetch_all("k"), storage.fetch_all("other")] == [{}, {"f": 2}]


def test_a_set_a_list_and_a_map_of_one_key_are_three_things(storage: Storage) -> None:
    storage.add("k", "in the set")
    storage.append("k", "in the list")
    storage.put("k", "f", "in the map")
    assert storage["k"] == {"in the set"}
    assert storage.last("k") == ["in the list"]
    storage.delete_set("k")
    assert storage.get("k") is None
    storage.delete_list("k")
    assert storage.fetch_all("k") == {"f": "in the map"}


@pytest.mark.parametrize("value", [*VALUES, [], {}, [("x", [1])], {1: None, b"x": {}}], ids=ascii)
def test_values_of_lists_and_maps_keep_their_type(storage: Storage, value: Any) -> None:
    storage.append("k", value)
    storage.put("k", "f", value)
    assert repr([storage.last("k"), storage.fetch("k", "f")]) == repr([[value], value])


def test_keys_and_fields_keep_their_type(storage: Storage) -> None:
    for value in VALUES:
        storage.append(value, value)
        storage.put("k", value, value)
    assert all(repr(storage.last(value)) == repr([value]) for value in VALUES)
    assert all(repr(storage.fetch("k", value)) == repr(value) for value in VALUES)
    storage.delete_field("k", True)
    assert {repr(field) for field in storage.fetch_all("k")} == {repr(value) for value in VALUES if value is not True}


def test_what_a_list_or_map_returns_is_a_copy(storage: Storage) -> None:
    value = ["x"]
    storage.append("k", value)
    storage.put("k", "f", value)
    value.append("y")
    storage.last("k")[0].append("z")
    storage.fetch("k", "f").append("z")
    storage.fetch_all("k").clear()
    assert [storage.last("k"), storage.fetch_all("k")] == [[["x"]], {"f": ["x"]}]


def test_what_lists_and_maps_cannot_hold_is_an_error(storage: Storage) -> None:
    with pytest.raises(TypeError, match=r"can't store object .*; expected str, bytes, int, float, bool, None, or a"):
        storage.append("k", object())
    with pytest.raises(TypeError, match=r"can't store set .*; expected str"):
        storage.put("k", "f", {"x"})
    unhashable: list[Any] = [[], {}]
    for key in unhashable:
        with pytest.raises(TypeError, match="unhashable"):
            storage.append(key, "x")
        with pytest.raises(TypeError, match="unhashable"):
            storage.put("k", key, "x")
    for keep in (0, -1, 2**31, True, 1.0, "20"):
        with pytest.raises(ValueError, match="keep: expected an integer from 1 to 2147483647, got "):
            storage.append("k", "x", keep=keep)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n: expected an integer from 0 to 2147483647, got -1"):
        storage.last("k", -1)
    assert [storage.last("k"), storage.fetch_all("k")] == [[], {}]


def test_what_has_no_hash_is_a_type_error(storage: Storage) -> None:
    unhashable: list[Any] = [[], {}, bytearray(b"x"), ("x", [])]
    for value in unhashable:
        with pytest.raises(TypeError, match="unhashable"):
            storage.add("k", value)
        with pytest.raises(TypeError, match="unhashable"):
            storage.get(value)
    assert storage.get("k") is None


keys = st.sampled_from(["a", b"a", 1])
contents = st.lists(st.integers(0, 9), max_size=2) | few_members
changes = st.lists(
    st.one_of(
        st.tuples(st.just("append"), keys, contents, st.integers(1, 4)),
        st.tuples(st.just("delete_list"), keys),
        st.tuples(st.just("put"), keys, members, contents),
        st.tuples(st.just("delete_field"), keys, members),
        st.tuples(st.just("delete_map"), keys),
    )
)


@given(steps, changes)
def test_memory_does_as_dicts_of_sets_lists_and_dicts(
    done: list[tuple[str, Any, Any]], changed: list[tuple[Any, ...]]
) -> None:
    storage = MemoryStorage()
    check_against_model(storage, done)
    check_lists_and_maps_against_model(storage, changed)


@settings(max_examples=25)
@given(steps, changes)
def test_sqlite_does_as_dicts_of_sets_lists_and_dicts(
    done: list[tuple[str, Any, Any]], changed: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = SqliteStorage(f"{folder}/sets")
        check_against_model(storage, done)
        check_lists_and_maps_against_model(storage, changed)
        storage.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes)
def test_redis_does_as_dicts_of_lists_and_dicts(redis_server: RedisServer, changed: list[tuple[Any, ...]]) -> None:
    redis_server.client().flushall()
    storage = RedisStorage(settings_of(redis_server))
    check_lists_and_maps_against_model(storage, changed)
    storage.close()


def check_lists_and_maps_against_model(storage: Storage, changed: list[tuple[Any, ...]]) -> None:
    lists: dict[Any, list[Any]] = {}
    maps: dict[Any, dict[str, tuple[Any, Any]]] = {}
    for change, key, *arguments in changed:
        getattr(storage, change)(key, *arguments)
        if change == "append":
            value, keep = arguments
            lists[key] = [*lists.get(key, []), value][-keep:]
        elif change == "put":
            field, value = arguments
            maps.setdefault(key, {})[repr(field)] = (field, value)
        elif change == "delete_field":
            maps.get(key, {}).pop(repr(*arguments), None)
        else:
            (lists if change == "delete_list" else maps).pop(key, None)
    for key in ("a", b"a", 1):
        assert repr(storage.last(key, 3)) == repr(lists.get(key, [])[-3:])
        fields = sorted(maps.get(key, {}).values(), key=repr)
        assert repr(sorted(storage.fetch_all(key).items(), key=repr)) == repr(fields)
        assert all(repr(storage.fetch(key, field)) == repr(value) for field, value in fields)


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
    storage.put("k", "f", "v")
    storage.delete_field("k", "f")
    storage.delete_field("none", "f")
    assert (storage._sets, storage._maps) == ({}, {})


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
from fws_pipe.storage import open_storage
name = sys.argv[1]
for line in map(str.rstrip, sys.stdin):
    storage = open_storage(dict(pair.split("=", 1) for pair in line.split("\\t")))
    for number in range(6):
        storage.add("k", (name, number))
        assert (name, number) in storage["k"]
        if number % 2:
            storage.remove("k", (name, number))
            storage.append("k", (name, number), keep=15)
            storage.put("k", (name, number), number)
    storage.close()
    print("done", flush=True)
"""


ORDERS = [[1, 3, 5], [3, 5], [5], []]
"""What is left of what a worker has appended."""


NAMES = "abcdef"


@pytest.fixture(scope="module")
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that change each storage that they are told of, all at once."""
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", WORKER, name], stdin=pipe, stdout=pipe, text=True, bufsize=1)
            )
            for name in NAMES
        ]
        yield started
        for worker in started:
            assert worker.stdin
            worker.stdin.close()


def check_shared(workers: list[subprocess.Popen[str]], environment: dict[str, str]) -> None:
    """Let them all change one storage, and check that nothing is lost."""
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("\t".join(f"{name}={value}" for name, value in environment.items()) + "\n")
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "done\n"
    storage = open_storage(environment)
    assert storage["k"] == {(name, number) for name in NAMES for number in range(0, 6, 2)}
    written = [(name, number) for name in NAMES for number in range(1, 6, 2)]
    assert storage.fetch_all("k") == {(name, number): number for name, number in written}
    newest = storage.last("k", 100)
    assert len(newest) == len(set(newest)) == 15
    assert all([number for who, number in newest if who == name] in ORDERS for name in NAMES)
    storage.close()


def test_processes_that_open_and_change_one_sqlite_file_at_once_lose_nothing(
    workers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    # Many new files, since the moment in which SQLite says "locked" without waiting is short.
    for number in range(100):
        check_shared(workers, {VARIABLE: f"sqlite:{tmp_path}/{number}"})


def test_processes_that_share_redis_lose_nothing(
    workers: list[subprocess.Popen[str]], redis_server: RedisServer
) -> None:
    for number in range(10):
        settings = RedisSettings(redis_server.url, key=f"round{number}")
        check_shared(workers, {VARIABLE: "redis", **settings.to_environment()})


def test_threads_share_a_storage(storage: Storage) -> None:
    def work(name: str) -> None:
        for number in range(100):
            storage.add("k", (name, number))
            storage.add("k", number)
            storage.remove("k", number)
            storage.append("k", (name, number), keep=1000)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage["k"] == {(name, number) for name in "abcd" for number in range(100)}
    assert sorted(storage.last("k", 1000)) == [(name, number) for name in "abcd" for number in range(100)]


def test_a_file_that_is_no_database_is_named_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(SystemRefusedError) as caught:
        SqliteStorage(str(path))
    assert str(caught.value) == (
        f"can't use the SQLite file '{path}': file is not a database; name an SQLite file, or one that isn't there yet"
    )


def test_a_path_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SystemRefusedError, match=r"none/sets': unable to open database file; name a file in a folder"):
        SqliteStorage(f"{tmp_path}/none/sets")


def test_a_file_that_breaks_later_is_named_as_well(tmp_path: Path) -> None:
    storage = SqliteStorage(f"{tmp_path}/sets")
    storage.close()
    with pytest.raises(SystemRefusedError, match=r"^can't use the SQLite file .*; name another file$"):
        storage.add("k", "v")


def test_redis_holds_plain_sets_that_others_can_read_and_write(redis_server: RedisServer) -> None:
    storage = RedisStorage(settings_of(redis_server))
    client = redis_server.client()
    storage.add("token", "alice")
    assert set(client.smembers("own:storage:token")) == {b"alice"}
    client.sadd("own:storage:token", "bob", b"\xff", b"msgpack:\xc1", b"msgpack:\x80")
    assert storage["token"] == {"alice", "bob", b"\xff", b"msgpack:\xc1", b"msgpack:\x80"}
    client.delete("own:storage:token")
    assert storage.get("token") is None
    storage.close()


def test_redis_holds_plain_lists_and_hashes_that_others_can_read_and_write(redis_server: RedisServer) -> None:
    storage = RedisStorage(settings_of(redis_server))
    client = redis_server.client()
    storage.append("log", "first")
    client.rpush("own:{list:log}", "second")
    assert client.lrange("own:{list:log}", 0, -1) == [b"first", b"second"]
    assert storage.last("log") == ["first", "second"]
    storage.put("names", "a", "alice")
    client.hset("own:map:names", "b", "bob")
    assert client.hgetall("own:map:names") == {b"a": b"alice", b"b": b"bob"}
    assert storage.fetch_all("names") == {"a": "alice", "b": "bob"}
    (mark,) = client.keys("own:*:appended:*")
    assert 0 < client.ttl(mark) <= 3600
    storage.close()


def test_two_prefixes_in_one_redis_are_two_storages(redis_server: RedisServer) -> None:
    one, other = RedisStorage(RedisSettings(redis_server.url)), RedisStorage(RedisSettings(redis_server.url, key="x"))
    one.add("k", "v")
    one.append("k", "v")
    one.put("k", "f", "v")
    assert other.get("k") is None
    assert [other.last("k"), other.fetch_all("k")] == [[], {}]
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
        patched.setattr(redis_storage, "time", SimpleNamespace(monotonic=time.monotonic, sleep=come_back_at_the_third))
        storage.add("k", "after")
    assert len(set(delays)) == len(delays) >= 3
    assert storage["k"] == {"after"}
    storage.close()


@pytest.mark.parametrize("executed", ["at once", "later"])
def test_what_is_appended_again_is_appended_once(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, executed: str
) -> None:
    """A Redis that has been stopped for longer than the reply timeout executes all attempts when it goes on."""
    storage = RedisStorage(settings_of(redis_server), patience_s=60)
    execute = storage._client.execute_command
    held: list[tuple[Any, ...]] = []

    def lose_the_reply(*words: Any) -> Any:
        if executed == "at once":
            execute(*words)
        held.append(words)
        if len(held) == 2:
            monkeypatch.undo()
        raise redis.ConnectionError("the reply is lost")

    storage.append("k", "first")
    monkeypatch.setattr(storage._client, "execute_command", lose_the_reply)
    storage.append("k", "second")
    storage.append("k", "third")
    for words in held:
        execute(*words)
    assert len(held) == 2
    assert storage.last("k") == ["first", "second", "third"]
    storage.close()


@pytest.mark.slow
def test_a_redis_that_is_stopped_appends_once_when_it_goes_on(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_S", 0.5)
    storage = RedisStorage(settings_of(redis_server), patience_s=60)
    delays: list[float] = []

    def go_on_at_the_third(delay: float) -> None:
        delays.append(delay)
        if len(delays) == 3:
            os.kill(redis_server.pid, signal.SIGCONT)

    storage.append("k", "before")
    os.kill(redis_server.pid, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(redis_storage, "time", SimpleNamespace(monotonic=time.monotonic, sleep=go_on_at_the_third))
        storage.append("k", "meanwhile")
    assert len(delays) == 3
    assert storage.last("k") == ["before", "meanwhile"]
    storage.close()


@pytest.mark.slow
def test_a_cluster_holds_sets_lists_and_maps(tmp_path_factory: pytest.TempPathFactory) -> None:
    with start_cluster("valkey", tmp_path_factory.mktemp("cluster")) as cluster:
        storage = RedisStorage(RedisSettings(cluster.url, sharded=True))
        for key in ("a", "b{c}d", "}e", "{", ("f", 1), b"\xff"):
            storage.add(key, "v")
            for number in range(5):
                storage.append(key, number, keep=3)
            storage.put(key, "f", key)
            assert [storage.get(key), storage.last(key), storage.fetch_all(key)] == [{"v"}, [2, 3, 4], {"f": key}]
            storage.delete_set(key)
            storage.delete_list(key)
            storage.delete_map(key)
            assert [storage.get(key), storage.last(key), storage.fetch_all(key)] == [None, [], {}]
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
