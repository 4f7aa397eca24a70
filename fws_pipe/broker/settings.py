"""The user's settings for Redis, checked without redis-py, which is slow to load and which the front never needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import SplitResult, parse_qs, quote, unquote_plus, urlsplit

from fws_pipe.broker import VARIABLE
from fws_pipe.errors import UsageError

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")

_TLS_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers",
     "ssl_keyfile", "ssl_min_version", "ssl_password"}
)  # fmt: skip
_OPTIONS = _TLS_OPTIONS | {"db", "username", "password", "client_name", "socket_timeout", "socket_connect_timeout"}
"""redis-py's options that are allowed in a URL's query. Others would change what its calls return (decode_responses,
protocol, encoding) or how it retries and connects (retry_on_timeout, max_connections, health_check_interval).
"""

_SENTINEL_CREDENTIALS = {"sentinel_username": "username", "sentinel_password": "password"}
"""Own options with the login of the sentinels themselves, and redis-py's name of each. The login before the @ is for
Redis.
"""

_TLS_SWITCH = "ssl"
"""Own option, named as redis-py's argument: ?ssl=true means the same as rediss://."""

_SWITCH_POSITIONS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

_FILE_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

_CERTIFICATE_DEMANDS = ("none", "optional", "required")

_OWN_OPTIONS = frozenset({_TLS_SWITCH, *_SENTINEL_CREDENTIALS})

_DEFAULT_PORT = 6379
_DEFAULT_SENTINEL_PORT = 26379
_CREDENTIALS = re.compile(r"://\S*@")
_PASSWORD_OPTIONS = re.compile(r"(?<=password=)[^&\s]+", re.IGNORECASE)
_PATTERN_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class RedisSettings:
    """The user's settings for Redis. `key` is the prefix of all keys and channels of the servers' own."""

    url: str
    key: str = "fws"
    channels: Sequence[str] = ("global",)
    sharded: bool = False
    server: str = ""
    """This server's name, with which its clients' ids begin."""
    expiry_s: float = 30.0
    """How long a server counts as alive after its last write to Redis, in seconds."""
    run: str = ""
    """A random id, new with each start of the server; it marks the server's relays and its hold on its name."""
    route: str = ""
    """The pattern of the route that this is for: routes don't mix. Empty for the chain of all paths that have no other:
    a server without routes has no other chain, and older servers know no routes.
    """

    @property
    def _of_route(self) -> str:
        return f":{self.route}" if self.route else ""

    def to_environment(self) -> dict[str, str]:
        """The settings as environment variables for a child process."""
        return {VARIABLE: json.dumps(asdict(self))}

    @property
    def address(self) -> str:
        """The URL for messages: without user and password."""
        return without_password(urlsplit(self.url))

    @property
    def own_channel(self) -> str:
        """The channel that this run's source subscribes to after all others: its subscriber is subscribed to all."""
        return f"{self.key}:subscribed:{self.server}-{self.run}{self._of_route}"

    @property
    def servers_channel(self) -> str:
        """The channel on which servers send each other actions for the clients of this route."""
        return f"{self.key}:servers{self._of_route}"

    def is_servers_channel(self, channel: str) -> bool:
        """Whether servers send each other actions on this channel, for this route or another."""
        return channel == f"{self.key}:servers" or channel.startswith(f"{self.key}:servers:/")

    @property
    def source_name(self) -> str:
        """The client name (CLIENT SETNAME) of the sources' subscriptions, by which publishers know them."""
        return f"{quote(self.key, safe=':')}:source"

    def source_name_after(self, client_name: str | None) -> str:
        """The client name of a source whose URL has one, too (`?client_name=`)."""
        return f"{client_name}/{self.source_name}" if client_name else self.source_name

    def is_source(self, client_name: str) -> bool:
        """Whether a client of this name is a server's source with the same `key`."""
        return client_name.rpartition("/")[2] == self.source_name

    @property
    def servers_key(self) -> str:
        """The key of the set of all servers' names; a living server removes those of dead ones."""
        return f"{self.key}:presence{self._of_route}"

    @property
    def name_key(self) -> str:
        """The key of this server's name; its value is the run id of the name's holder. It expires unless refreshed."""
        return f"{self.key}:server:{self.server}"

    @property
    def published_key(self) -> str:
        """The key of the position of this run's chain: an event's number, and the number of its published messages.

        It expires an hour after the last publish.
        """
        return f"{self.key}:published:{self.server}-{self.run}{self._of_route}"

    @property
    def name_holders_key(self) -> str:
        """The routes whose sources keep this server's name; the last of them gives it back."""
        return f"{self.name_key}:routes"

    def presence_key(self, server: str) -> str:
        """The key of the hash of a server's clients: id to a JSON list of its groups. It expires unless refreshed."""
        return f"{self.servers_key}:{server}"


def settings_from(environment: Mapping[str, str]) -> RedisSettings | None:
    """The settings in FWS_REDIS; None where it isn't set. Raises UsageError for a value that fws-pipe didn't write."""
    text = environment.get(VARIABLE)
    if not text:
        return None
    try:
        settings = RedisSettings(**json.loads(text))
        check_url(settings.url)
    except (AttributeError, TypeError, ValueError):
        # Without the value, which may hold a password.
        raise UsageError(f"{VARIABLE} is not as fws-pipe sets it; FWS_REDIS_URL is the one for a URL") from None
    return settings


def is_pattern(channel: str) -> bool:
    """Whether a channel's name is a pattern (PSUBSCRIBE)."""
    return not _PATTERN_CHARACTERS.isdisjoint(channel)


def check_channels(channels: Sequence[str], *, sharded: bool) -> None:
    """Check that all channels can be subscribed to. Raises UsageError."""
    pattern = next(filter(is_pattern, channels), None)
    if sharded and pattern is not None:
        raise UsageError(
            f"{pattern!r} is a pattern, which --redis-sharded doesn't know; name each channel, or leave "
            "--redis-sharded out"
        )


def check_url(url: str) -> str:
    """Check a URL of Redis, and return it. Raises ValueError, whose text says what was expected."""
    if not url.startswith(tuple(f"{name}://" for name in SCHEMES)):
        raise ValueError(f"expected a URL that begins with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    try:
        parts = urlsplit(url)
        _ = sentinels_of(parts) if is_sentinel(parts) else [parts.port]
        hidden = "@" in parts.path + parts.query + parts.fragment
    except ValueError:
        hidden = True
    if hidden:  # Python's own message may quote the password
        raise ValueError(
            "expected a URL such as redis://:PASSWORD@host:6379/0, with any of / ? # @ : [ ] in user and password, and "
            "any @ after the host, written as %2F %3F %23 %40 %3A %5B %5D"
        )
    _check_options(parts)
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("expected unix:///path/to/socket")
    if is_sentinel(parts) and not _service_and_database(parts)[0]:
        raise ValueError(f"expected {parts.scheme}://host:26379,host:26379/SERVICE")
    database = _service_and_database(parts)[1] if is_sentinel(parts) else parts.path.strip("/")
    if parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
        raise ValueError("expected the database as a number at the end, as in redis://host:6379/0")
    return url


def _check_options(parts: SplitResult) -> None:
    """Raise ValueError for an option that isn't allowed; its value isn't quoted."""
    given = parse_qs(parts.query, keep_blank_values=True)
    allowed = _OPTIONS | {_TLS_SWITCH}
    if is_sentinel(parts):
        allowed |= _SENTINEL_CREDENTIALS.keys()
    wrong = next((name for name in given if name not in allowed), None)
    if wrong is not None:
        raise ValueError(f"expected none of redis-py's options but {', '.join(sorted(allowed))}: leave ?{wrong}= out")
    _check_tls_options(parts, given)


def _check_tls_options(parts: SplitResult, given: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError where the scheme, ?ssl= and the options of TLS contradict each other."""
    if any(value.lower() not in _SWITCH_POSITIONS for value in given.get(_TLS_SWITCH, ())):
        raise ValueError("expected ?ssl=true or ?ssl=false")
    if any(value not in _CERTIFICATE_DEMANDS for value in given.get("ssl_cert_reqs", ())):
        raise ValueError(f"expected ?ssl_cert_reqs= with one of {', '.join(_CERTIFICATE_DEMANDS)}")
    if parts.scheme == "unix" and uses_tls(parts):
        raise ValueError("expected a unix:// URL without ?ssl=, since TLS is for TCP")
    if parts.scheme.startswith("rediss") and not uses_tls(parts):
        raise ValueError(f"expected {parts.scheme}:// without ?ssl=false, since that scheme asks for TLS")
    useless = next((name for name in given if name in _TLS_OPTIONS), None)
    if useless is not None and not uses_tls(parts):
        raise ValueError(f"expected ?{useless}= with TLS only, as in {_with_tls(parts.scheme)}://host: leave it out")


def _with_tls(scheme: str) -> str:
    return "rediss+sentinel" if scheme.endswith("+sentinel") else "rediss"


def is_sentinel(parts: SplitResult) -> bool:
    """Whether a URL names sentinels and their service, in place of a Redis."""
    return parts.scheme.endswith("+sentinel")


def uses_tls(parts: SplitResult) -> bool:
    """Whether a URL asks for TLS, to Redis and to its sentinels."""
    values = parse_qs(parts.query).get(_TLS_SWITCH)
    return parts.scheme.startswith("rediss") if values is None else _SWITCH_POSITIONS[values[0].lower()]


def plain_url(parts: SplitResult) -> str:
    """The URL with only the schemes and options that redis-py knows.

    A sentinels' URL gets a host that isn't used: redis-py asks the sentinels for the address.
    """
    query = "&".join(option for option in parts.query.split("&") if _option_name(option) not in _OWN_OPTIONS)
    scheme, netloc, path = parts.scheme, parts.netloc, parts.path
    if scheme != "unix":
        scheme = "rediss" if uses_tls(parts) else "redis"
    if is_sentinel(parts):
        login, at, _ = netloc.rpartition("@")
        netloc, path = f"{login}{at}localhost", f"/{_service_and_database(parts)[1]}"
    return f"{scheme}://{netloc}{path}?{query}"


def _option_name(option: str) -> str:
    return unquote_plus(option.partition("=")[0])


def service_of(parts: SplitResult) -> str:
    """The service in a URL of sentinels: the name by which they know the master."""
    return _service_and_database(parts)[0]


def sentinel_credentials(parts: SplitResult) -> dict[str, str]:
    """The username and password for the sentinels themselves, as far as the URL has them."""
    given = parse_qs(parts.query)
    return {name: given[option][0] for option, name in _SENTINEL_CREDENTIALS.items() if option in given}


def files_of(parts: SplitResult) -> dict[str, str]:
    """The options of a URL that name files, with their paths."""
    given = parse_qs(parts.query)
    return {option: given[option][0] for option in _FILE_OPTIONS if option in given}


def _service_and_database(parts: SplitResult) -> tuple[str, str]:
    service, _, database = parts.path.strip("/").partition("/")
    return service, database


def sentinels_of(parts: SplitResult) -> list[tuple[str, int]]:
    """The (host, port) of each sentinel in a URL. Raises ValueError."""
    found = []
    for address in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{address}")
        if not one.hostname:
            raise ValueError("a sentinel has no host")
        found.append((one.hostname, one.port or _DEFAULT_SENTINEL_PORT))
    return found


def without_passwords(text: str) -> str:
    """A message that quotes a command line, without the logins in its URLs."""
    return _PASSWORD_OPTIONS.sub("…", _CREDENTIALS.sub("://…@", text))


def without_password(parts: SplitResult) -> str:
    """The URL for messages: without user and password."""
    if parts.scheme == "redis":
        host = parts.hostname or "localhost"
        return f"[{host}]:{parts.port or _DEFAULT_PORT}" if ":" in host else f"{host}:{parts.port or _DEFAULT_PORT}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
