"""What the user says about Redis, checked without loading redis-py, which is slow and which the front never needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

from fws_pipe.errors import UsageError

VARIABLE = "FWS_REDIS"
"""The environment variable that hands the settings to the processes that need them; never argv, which all can read."""

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel")

_OPTIONS = frozenset(
    {"db", "username", "password", "client_name", "socket_timeout", "socket_connect_timeout", "ssl_ca_certs",
     "ssl_ca_path", "ssl_ca_data", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile", "ssl_password"}
)  # fmt: skip
"""What may stand behind the ? of a URL. Others of redis-py's change what its calls return (decode_responses, protocol,
encoding) or undo what we rely on (retry_on_timeout, max_connections, health_check_interval).
"""

_DEFAULT_PORT = 6379
_DEFAULT_SENTINEL_PORT = 26379
_CREDENTIALS = re.compile(r"://\S*@")
_PATTERN_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class RedisSettings:
    """What the user has said about Redis. `key` is the prefix of all keys and channels that are our own."""

    url: str
    key: str = "fws"
    channels: Sequence[str] = ("global",)
    sharded: bool = False
    server: str = ""
    """This server's name: it says which clients are its."""
    expiry_s: float = 30.0
    """How long a server that tells nothing of itself counts as alive."""
    run: str = ""
    """A random id, new with each start of the server: it marks what the server has sent, and holds its name."""

    def to_environment(self) -> dict[str, str]:
        """The form in which a child process gets it."""
        return {VARIABLE: json.dumps(asdict(self))}

    @property
    def address(self) -> str:
        """The URL as messages show it: without user and password."""
        return without_password(urlsplit(self.url))

    @property
    def own_channel(self) -> str:
        """The channel that this run's source subscribes to behind all others: who hears it hears all of them."""
        return f"{self.key}:subscribed:{self.server}-{self.run}"

    @property
    def servers_channel(self) -> str:
        """The channel on which servers pass each other actions for their clients."""
        return f"{self.key}:servers"

    @property
    def servers_key(self) -> str:
        """The set of the names of all servers, dead ones included until one that lives clears them away."""
        return f"{self.key}:presence"

    @property
    def name_key(self) -> str:
        """Who has this server's name: its run id. Expires unless the server refreshes it."""
        return f"{self.key}:server:{self.server}"

    @property
    def published_key(self) -> str:
        """How far this run of the server has got with what it publishes: an event's number, and how many of its
        actions. Expires an hour after the last publish.
        """
        return f"{self.key}:published:{self.server}-{self.run}"

    def presence_key(self, server: str) -> str:
        """The hash of a server's clients: id to the JSON list of its groups. Expires unless the server refreshes it."""
        return f"{self.key}:presence:{server}"


def settings_from(environment: Mapping[str, str]) -> RedisSettings | None:
    """The settings that a parent has handed down, or None. Raises UsageError for what no parent of ours has written."""
    text = environment.get(VARIABLE)
    if not text:
        return None
    try:
        settings = RedisSettings(**json.loads(text))
        check_url(settings.url)
    except (AttributeError, TypeError, ValueError):
        # Without the value: there is a password in it.
        raise UsageError(f"{VARIABLE} is not as fws-pipe sets it; FWS_REDIS_URL is the one for a URL") from None
    return settings


def is_pattern(channel: str) -> bool:
    """Whether a subscription's name stands for many channels (PSUBSCRIBE)."""
    return not _PATTERN_CHARACTERS.isdisjoint(channel)


def check_channels(channels: Sequence[str], *, sharded: bool) -> None:
    """See to it that all channels can be subscribed to. Raises UsageError."""
    pattern = next(filter(is_pattern, channels), None)
    if sharded and pattern is not None:
        raise UsageError(
            f"{pattern!r} stands for many channels, which --redis-sharded doesn't know; name each of them, or leave "
            "--redis-sharded out"
        )


def check_url(url: str) -> str:
    """The URL. Raises ValueError with what was expected."""
    if not url.startswith(tuple(f"{name}://" for name in SCHEMES)):
        raise ValueError(f"expected a URL that begins with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    try:
        parts = urlsplit(url)
        _ = [parts.port] if parts.scheme != "redis+sentinel" else sentinels_of(parts)
        hidden = "@" in parts.path + parts.query + parts.fragment
    except ValueError:
        hidden = True
    if hidden:  # what Python says of it may quote the password
        raise ValueError(
            "expected a URL such as redis://:PASSWORD@host:6379/0, with any of / ? # @ : [ ] in user and password, and "
            "any @ after the host, written as %2F %3F %23 %40 %3A %5B %5D"
        )
    _check_options(parts)
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("expected unix:///path/to/socket")
    if parts.scheme == "redis+sentinel" and not parts.path.strip("/"):
        raise ValueError("expected redis+sentinel://host:26379,host:26379/SERVICE")
    database = parts.path.strip("/")
    if parts.scheme == "redis+sentinel":
        database = database.partition("/")[2]
    if parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
        raise ValueError("expected the database as a number at the end, as in redis://host:6379/0")
    return url


def _check_options(parts: SplitResult) -> None:
    """Raise ValueError for an option that would be ignored, or would do harm; without its value."""
    allowed: frozenset[str] = frozenset() if parts.scheme == "redis+sentinel" else _OPTIONS
    wrong = next((name for name in parse_qs(parts.query, keep_blank_values=True) if name not in allowed), None)
    if wrong is not None and not allowed:
        raise ValueError(
            f"expected a {parts.scheme}:// URL without options, since none is passed on: leave ?{wrong}= out"
        )
    if wrong is not None:
        raise ValueError(f"expected none of redis-py's options but {', '.join(sorted(allowed))}: leave ?{wrong}= out")


def sentinels_of(parts: SplitResult) -> list[tuple[str, int]]:
    """The addresses in a redis+sentinel URL. Raises ValueError."""
    found = []
    for address in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{address}")
        if not one.hostname:
            raise ValueError("a sentinel has no host")
        found.append((one.hostname, one.port or _DEFAULT_SENTINEL_PORT))
    return found


def without_passwords(text: str) -> str:
    """A message that quotes a command line, where an option may be mistyped: without what URLs have before their @."""
    return _CREDENTIALS.sub("://…@", text)


def without_password(parts: SplitResult) -> str:
    """A URL as messages show it: without user and password."""
    if parts.scheme == "redis":
        host = parts.hostname or "localhost"
        return f"[{host}]:{parts.port or _DEFAULT_PORT}" if ":" in host else f"{host}:{parts.port or _DEFAULT_PORT}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
