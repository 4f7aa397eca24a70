"""Connects to Redis, checks it at the start, and explains its errors in one line.

The sink, the source, the storage and the check at the start use it, each with connections of its own and plain blocking
redis-py. The front never does.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import redis
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.cluster import RedisCluster
from redis.connection import parse_url
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ClusterError,
    NoPermissionError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from fws_pipe.broker.settings import RedisSettings as RedisSettings
from fws_pipe.broker.settings import check_channels as check_channels
from fws_pipe.broker.settings import check_url as check_url
from fws_pipe.broker.settings import (
    files_of,
    is_sentinel,
    plain_url,
    sentinel_credentials,
    sentinels_of,
    service_of,
    uses_tls,
)
from fws_pipe.broker.settings import is_pattern as is_pattern
from fws_pipe.broker.settings import settings_from as settings_from
from fws_pipe.errors import SystemRefusedError, UsageError

CONNECT_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 10.0
"""A Redis that takes longer than this to answer counts as away."""

ERRORS = (RedisError, RedisClusterException, OSError)
"""All exceptions that a client raises. RedisClusterException, which is no RedisError, comes from pipelines only;
`connect` and plain commands turn it into a RedisError.
"""

AWAY = (redis.ConnectionError, TimeoutError, ClusterError, RedisClusterException, OSError)
"""The exceptions that mean an outage: Redis is down, or its cluster is not whole."""

PASSING = (*AWAY, ReadOnlyError)
"""The exceptions after which a repeated command may succeed: outages, and a failover that isn't complete."""

_CLUSTER_REPLIES = ("MOVED ", "ASK ", "CROSSSLOT ")
"""How replies of a cluster's node begin for which redis-py 5 has no exceptions of their own."""

Client = Any
"""redis.Redis or RedisCluster: the same commands, no common base class."""


class _Cluster(RedisCluster):
    """A RedisCluster whose commands raise RedisError, as those of redis.Redis do, also when no node can be reached."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RedisClusterException as error:
            raise _as_redis_error(error) from None

    def close(self) -> None:
        """Close all connections, which redis-py leaves open in the pools of the nodes."""
        if hasattr(self, "nodes_manager"):  # redis-py also closes one that could not be made
            self.disconnect_connection_pools()  # type: ignore[no-untyped-call]
        super().close()


def connect(settings: RedisSettings) -> Client:
    """A client for these settings. It connects on first use; a cluster's at once, which may raise RedisError or
    OSError.

    redis-py's own retries, which take seconds, are off, so commands raise at once; in a cluster they are on, since they
    follow moved slots. Raises ValueError for a URL with a value that redis-py doesn't take.
    """
    timeouts: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": REPLY_TIMEOUT_S,
    }
    once = {**timeouts, "retry": Retry(NoBackoff(), 0)}
    parts = urlsplit(settings.url)
    keepalive = {} if parts.scheme == "unix" else {"socket_keepalive": True}
    if is_sentinel(parts):
        return _connect_through_sentinels(parts, {**once, **keepalive})
    url = plain_url(parts)
    if settings.sharded:
        try:
            return _Cluster.from_url(url, **timeouts, **keepalive)
        except RedisClusterException as error:
            raise _as_redis_error(error) from None
        except IndexError:  # so redis-py 5 puts it
            raise ClusterDownError("no node has a slot") from None
    return redis.Redis.from_url(url, **once, **keepalive)


_FOR_REDIS_ALONE = ("db", "username", "password")
"""Options that aren't passed to sentinels, which have no databases, and users of their own."""


def _connect_through_sentinels(parts: SplitResult, defaults: dict[str, Any]) -> Client:
    """A client of the master that the sentinels name. Both get the URL's options, which override the defaults."""
    options = {**defaults, **parse_url(plain_url(parts)), "ssl": uses_tls(parts)}  # type: ignore[no-untyped-call]
    for name in ("host", "connection_class"):  # the sentinels tell the one, and ssl the other
        options.pop(name, None)
    shared = {name: value for name, value in options.items() if name not in _FOR_REDIS_ALONE}
    sentinels = _Sentinels(sentinels_of(parts), {**shared, **sentinel_credentials(parts)}, options)
    return sentinels.master_for(service_of(parts))  # type: ignore[no-untyped-call]


class _OneSentinel(redis.Redis):
    """A sentinel that keeps the exception of its last command: redis-py drops it."""

    problem: Exception | None = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.problem = None
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except ERRORS as error:
            self.problem = error
            raise


class _Sentinels(Sentinel):
    """Sentinels whose MasterNotFoundError has as its cause the exception of one that could not be asked, if any."""

    def __init__(
        self, addresses: list[tuple[str, int]], own_options: dict[str, Any], master_options: dict[str, Any]
    ) -> None:
        super().__init__([], sentinel_kwargs=own_options, **master_options)  # type: ignore[no-untyped-call]
        self._asked = [_OneSentinel(host, port, **own_options) for host, port in addresses]
        self.sentinels = [*self._asked]  # redis-py changes their order

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            problems = [sentinel.problem for sentinel in self._asked if sentinel.problem is not None]
            # A sentinel that refuses the login explains more than one that is down.
            problems.sort(key=lambda problem: not isinstance(problem, AuthenticationError))
            raise error from next(iter(problems), None)


_DOUBLINGS = 32
"""How often a delay is doubled at most: redis-py computes 2**failures, which is no float beyond 2**1023."""


def jittered_delays(first_s: float = 0.1, longest_s: float = 5.0) -> Callable[[], float]:
    """A function that returns the seconds to wait before the next attempt: longer each time, with jitter.

    `first_s` and `longest_s` bound the delay.
    """
    backoff = EqualJitterBackoff(cap=longest_s, base=first_s)
    failures = itertools.count()
    return lambda: backoff.compute(min(next(failures), _DOUBLINGS))


def close_quietly(client: Any) -> None:
    """Close a client or a subscription that may have failed already."""
    try:
        client.close()
    except ERRORS:
        pass  # it isn't used any more


def check_usable(settings: RedisSettings, *, keeps_storage: bool = False) -> None:
    """Check before a server starts that Redis can be reached, and allows all that the server does.

    `keeps_storage`: it holds the filters' storage as well.

    Raises SystemRefusedError, or UsageError for a wrong setting.
    """

    def check_rights(client: Client) -> None:
        _check_rights(client, settings)
        if keeps_storage:
            _check_storage_rights(client, settings)

    check_reachable(settings, check_rights)


def check_reachable(settings: RedisSettings, check_further: Callable[[Client], object] = lambda client: None) -> None:
    """Check that Redis can be reached. It subscribes to no channel, so a publisher hears of no subscriber too early.

    `check_further` then gets a client. Raises SystemRefusedError, or UsageError for a wrong setting.
    """
    scheme = urlsplit(settings.url).scheme
    if settings.sharded and scheme not in ("redis", "rediss"):
        raise UsageError(f"a cluster has no {scheme}:// address; leave --redis-sharded out, or name a redis:// one")
    _check_files(settings)
    try:
        client = connect(settings)
        try:
            client.ping()
            if not settings.sharded and _is_cluster(client):
                raise UsageError(_part_of_a_cluster(settings))
            check_further(client)
        finally:
            client.close()
    except ERRORS as error:
        raise SystemRefusedError(
            f"can't use Redis: {explain(error, settings)}; or serve without it: leave --redis-url and the like out"
        ) from None
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the URL of Redis at {settings.address} has an option that redis-py doesn't take ({error})"
        ) from None


def _check_files(settings: RedisSettings) -> None:
    """Check that the files in the URL can be read: redis-py would report an unreadable one as an unreachable Redis."""
    for option, path in files_of(urlsplit(settings.url)).items():
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise UsageError(
                f"the URL of Redis at {settings.address} has ?{option}={path}, which can't be read: {error.strerror}"
            ) from None


def _check_rights(client: Client, settings: RedisSettings) -> None:
    """Try each command that a server uses, with a key of its own. Raises SystemRefusedError where one isn't allowed."""
    key = _scratch_key(settings)
    commands = (
        ("SET", key, "1", "NX", "EX", "1"), ("GET", key), ("EXPIRE", key, "1"), ("PTTL", key), ("EXISTS", key),
        ("DEL", key), ("HSET", key, "id", "[]"), ("HLEN", key), ("HDEL", key, "id"), ("SADD", key, "name"),
        ("SMEMBERS", key), ("SREM", key, "name"),
    )  # fmt: skip
    _try_commands(client, settings, commands)
    if not settings.sharded:
        _try_right(settings, "MULTI and EXEC", functools.partial(_transact, client, key))
    publish = client.spublish if settings.sharded else client.publish
    own = settings.own_channel
    _try_right(settings, f"publishing to channel {own!r}", functools.partial(publish, own, b""))
    for channel in (*settings.channels, settings.servers_channel, own):
        what = f"subscribing to channel {channel!r}"
        _try_right(settings, what, functools.partial(_subscribe_once, client, channel, settings))


def _check_storage_rights(client: Client, settings: RedisSettings) -> None:
    """Try what the storage needs beyond that. Raises SystemRefusedError where one isn't allowed."""
    key = _scratch_key(settings)
    commands = (
        ("EVAL", "return redis.call('RPUSH', KEYS[1], 'value')", "1", key), ("LTRIM", key, "-1", "-1"),
        ("LRANGE", key, "-1", "-1"), ("DEL", key), ("HSET", key, "field", "value"), ("HGET", key, "field"),
        ("HGETALL", key), ("DEL", key),
    )  # fmt: skip
    _try_commands(client, settings, commands)


def _scratch_key(settings: RedisSettings) -> str:
    return f"{settings.key}:check:{secrets.token_hex(4)}"


def _try_commands(client: Client, settings: RedisSettings, commands: Iterable[tuple[str, ...]]) -> None:
    for command in commands:
        _try_right(settings, command[0], functools.partial(client.execute_command, *command))


def _try_right(settings: RedisSettings, what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except NoPermissionError as error:
        raise SystemRefusedError(
            f"can't use Redis: Redis at {settings.address} does not allow this user {what} ({error}); allow it there, "
            "as fws-pipe --help redis shows, or name another user"
        ) from None


def _transact(client: Client, key: str) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.get(key)
        pipeline.execute()


def _subscribe_once(client: Client, channel: str, settings: RedisSettings) -> None:
    """Subscribe, and wait until Redis has confirmed or refused it."""
    if settings.sharded:
        client = client.get_redis_connection(client.get_node_from_key(channel))
    pubsub = client.pubsub()
    try:
        if settings.sharded:
            pubsub.ssubscribe(channel)
        elif is_pattern(channel):
            pubsub.psubscribe(channel)
        else:
            pubsub.subscribe(channel)
        pubsub.get_message(timeout=REPLY_TIMEOUT_S)
    finally:
        close_quietly(pubsub)


def explain(error: Exception, settings: RedisSettings) -> str:
    """The meaning of an error of redis-py in one line, with the address and the mend."""
    where = f"Redis at {settings.address}"
    parts = urlsplit(settings.url)
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.rpartition(" of pipeline caused error: ")[2]  # without the whole command and its data before it
    if isinstance(error, AuthenticationError):
        # Where no password is given, redis-py's text is a long one about the protocol.
        reason = "" if text.startswith(("HELLO", "Authentication required")) else f" ({text})"
        return f"{where} wants another user or password{reason}; give them as {parts.scheme}://USER:PASSWORD@…"
    if isinstance(error, NoPermissionError):
        return f"{where} does not allow this user what is needed ({text}); allow it there, or name another user"
    if isinstance(error, BusyLoadingError):
        return f"{where} is still loading its data; try again in a moment"
    if settings.sharded and ("is not enabled" in text or "support disabled" in text):
        return f"{where} is not a cluster; leave --redis-sharded out"
    if settings.sharded and (isinstance(error, ClusterDownError) or "slots are not covered" in text):
        return f"{where} is a cluster that is not whole ({text}); mend it, or try again when it has mended itself"
    is_cluster_error = isinstance(error, (AskError, ClusterDownError, ClusterCrossSlotError))
    if not settings.sharded and (is_cluster_error or text.startswith(_CLUSTER_REPLIES)):
        return _part_of_a_cluster(settings)
    if isinstance(error, MasterNotFoundError):
        return _explain_missing_master(error, settings)
    if isinstance(error, (TimeoutError, socket.timeout)):
        tls = ", and is it TLS that it speaks" if uses_tls(parts) else ""
        return f"{where} does not answer; is the address right, and the machine up{tls}?"
    if _BAD_CERTIFICATE in text:
        return f"{where} {_distrusted(text)}"
    if isinstance(error, (redis.ConnectionError, OSError)):
        if "max number of clients" in text:
            return f"{where} takes no more clients ({text}); raise its maxclients, or end some"
        return f"{where} can't be reached ({text}); start it, or name another with --redis-url"
    return f"{where} says: {text}"


def _explain_missing_master(error: MasterNotFoundError, settings: RedisSettings) -> str:
    where, cause = f"the sentinel at {settings.address}", error.__cause__
    if cause is None:
        return f"{where} knows no living master of that name; is the name right, and Redis up?"
    text = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(cause, AuthenticationError):
        return (
            f"{where} wants another user or password for itself; give them as "
            "?sentinel_username=USER&sentinel_password=PASSWORD"
        )
    if _BAD_CERTIFICATE in text:
        return f"{where} {_distrusted(text)}"
    tls = "is it TLS that they speak" if uses_tls(urlsplit(settings.url)) else "do they speak without TLS"
    return f"no sentinel at {settings.address} can be reached ({text}); start one, or name others; and {tls}?"


_BAD_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"


def _distrusted(text: str) -> str:
    return f"shows a certificate that can't be trusted ({text}); name its authority: ?ssl_ca_certs=FILE"


def _is_cluster(client: Client) -> bool:
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except ResponseError:  # the user lacks the right, or a proxy doesn't know the command
        return False


def _part_of_a_cluster(settings: RedisSettings) -> str:
    return f"Redis at {settings.address} is part of a cluster; add --redis-sharded, or name one that isn't"


def _as_redis_error(error: RedisClusterException) -> RedisError:
    cause = error.__cause__
    return cause if isinstance(cause, RedisError) else ClusterError(str(error))
