"""Membership in Redis: whole after every loss, told when it can't be written; a name has one server only."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from fws_pipe.broker.connection import RedisSettings
from fws_pipe.broker.membership import (
    Membership,
    MembershipKeeper,
    MembershipWriter,
    NameTakenError,
    forget_server,
    take_name,
)
from fws_pipe.errors import EXIT_USAGE
from tests.harness import PATIENCE_S, eventually
from tests.redis_servers import RedisServer, start_cluster


def settings_of(redis: RedisServer, expiry_s: float = 30.0) -> RedisSettings:
    return RedisSettings(redis.url, server="one", run="first", expiry_s=expiry_s)


def ignore(text: str) -> None:
    pass


@contextmanager
def keeping(settings: RedisSettings) -> Iterator[tuple[MembershipKeeper, queue.Queue[str], queue.Queue[str]]]:
    """A keeper, what it says and what it counts."""
    said: queue.Queue[str] = queue.Queue()
    counted: queue.Queue[str] = queue.Queue()
    keeper = MembershipKeeper(settings, said.put, counted.put)
    try:
        yield keeper, said, counted
    finally:
        keeper.finish()


@pytest.mark.parametrize("changed", ["a", "b", "new"])
def test_a_change_after_a_loss_writes_everybody(redis_server: RedisServer, changed: str) -> None:
    settings = settings_of(redis_server)
    writer = MembershipWriter(settings)
    for client in ("a", "b", "c"):
        writer.note(client, ["tea"])
    writer.write()
    redis_server.client().flushall()
    writer.note(changed, ["tea", "coffee"])
    writer.write()
    with closing(Membership(settings)) as membership:
        assert membership.members("tea") == {"a", "b", "c", changed}
    writer.disconnect()


def test_a_refresh_notices_what_is_missing(redis_server: RedisServer) -> None:
    settings = settings_of(redis_server)
    writer = MembershipWriter(settings)
    for client in ("a", "b"):
        writer.note(client, ["tea"])
    writer.refresh()
    redis_server.client().hdel(settings.presence_key("one"), "a")
    writer.refresh()
    with closing(Membership(settings)) as membership:
        assert membership.members("tea") == {"a", "b"}
    writer.disconnect()


def test_what_redis_refuses_is_told_once_and_its_end_too(redis_server: RedisServer) -> None:
    settings = settings_of(redis_server, expiry_s=0.3)
    redis_server.client().set(settings.servers_key, "no set")
    with keeping(settings) as (keeper, said, counted):
        keeper.note("a", ["tea"])
        assert "membership can't be written: Redis at" in (line := said.get(timeout=PATIENCE_S))
        assert "WRONGTYPE" in line
        assert [counted.get(timeout=PATIENCE_S) for _ in range(3)] == ["membership not written"] * 3
        redis_server.client().delete(settings.servers_key)
        assert said.get(timeout=PATIENCE_S) == "membership is written again"
        with closing(Membership(settings)) as membership:
            assert membership.members("tea") == {"a"}
    assert redis_server.client().keys("*") == []


def test_a_name_is_refused_while_its_server_lives_and_free_when_it_has_gone(redis_server: RedisServer) -> None:
    first = settings_of(redis_server, expiry_s=1.0)
    second = replace(first, run="second")
    take_name(first, ignore)
    with keeping(first):
        said: list[str] = []
        with pytest.raises(NameTakenError, match=r"--name one: .* names must differ") as caught:
            take_name(second, said.append)
        assert caught.value.exit_code == EXIT_USAGE
        assert len(said) == 1
        take_name(first, ignore)  # our own is ours
    take_name(second, ignore)
    forget_server(first)  # not its own any more
    assert redis_server.client().get(second.name_key) == b"second"
    forget_server(second)
    assert redis_server.client().keys("*") == []


def test_a_dead_servers_name_is_waited_for(redis_server: RedisServer) -> None:
    first = settings_of(redis_server, expiry_s=1.0)
    take_name(first, ignore)  # and never refreshed
    take_name(replace(first, run="second"), ignore)
    assert redis_server.client().get(first.name_key) == b"second"


def test_a_server_whose_name_was_taken_meanwhile_leaves_the_others_membership_alone(redis_server: RedisServer) -> None:
    first = settings_of(redis_server, expiry_s=0.3)
    other = MembershipWriter(replace(first, run="second", expiry_s=30.0))
    other.note("theirs", ["tea"])
    other.refresh()
    with keeping(first) as (keeper, said, _):
        keeper.note("ours", ["tea"])
        assert "names must differ" in said.get(timeout=PATIENCE_S)
    with closing(Membership(first)) as membership:
        assert membership.members("tea") == {"theirs"}
    other.disconnect()


def test_in_a_cluster(tmp_path_factory: pytest.TempPathFactory) -> None:
    with start_cluster("valkey", tmp_path_factory.mktemp("cluster")) as cluster:
        settings = RedisSettings(cluster.url, sharded=True, server="one", run="first", expiry_s=1.0)
        take_name(settings, ignore)
        with keeping(settings) as (keeper, _, _), closing(Membership(settings)) as membership:
            keeper.note("a", ["tea"])
            eventually(lambda: membership.members("tea") == {"a"}, "membership")
            with pytest.raises(NameTakenError):
                take_name(replace(settings, run="second"), ignore)
        assert [server.client().keys("*") for server in cluster.servers] == [[], [], []]


def test_what_others_have_written_ends_no_membership(redis_server: RedisServer) -> None:
    settings = settings_of(redis_server)
    redis = redis_server.client()
    redis.sadd(settings.servers_key, b"\xff", b"two")
    entries = {b"\xff": b"[]", b"x": b"{", b"y": b"5", b"z": b'["tea", 5, []]'}
    redis.hset(settings.presence_key("two"), mapping=entries)
    writer = MembershipWriter(settings)
    writer.note("a", ["tea"])
    with closing(Membership(settings)) as membership:
        assert membership.clients() == {"z": {"tea"}}
        writer.refresh()
        assert membership.members("tea") == {"a", "z"}
    assert redis.smembers(settings.servers_key) == {b"one", b"two"}, "the dead one is cleared away"
    writer.disconnect()
