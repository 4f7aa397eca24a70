"""The options: each is declared once, for the flag, the environment variable, the check and the help.

A flag beats its environment variable, which beats the config file, which beats the default.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from fws_pipe import __version__
from fws_pipe.admission.origins import OriginPattern, parse_origin
from fws_pipe.admission.proxies import Proxy, parse_proxy
from fws_pipe.broker.settings import RedisSettings, check_channels, check_url
from fws_pipe.clients.slow_client import SlowClient
from fws_pipe.config.addresses import AdminAddress, parse_admin
from fws_pipe.config.arguments import Parser, parse_all, parse_drain_over
from fws_pipe.config.file import LOUDNESS, ConfigFile, Given, chain_of, load_config_file
from fws_pipe.config.routes import RouteOption, chains_of, parse_route
from fws_pipe.config.topics import add_help, topics_epilog
from fws_pipe.config.websocketd import WEBSOCKETD
from fws_pipe.errors import EXIT_CODES, UsageError
from fws_pipe.http.routes import normal_path
from fws_pipe.log import Level, LogSettings, Subject
from fws_pipe.log_form import LogFormat
from fws_pipe.protocol.actions import is_token
from fws_pipe.protocol.codec import FRAME_LIMIT_BYTES
from fws_pipe.storage.base import StorageKind
from fws_pipe.websocket.intake import Intake
from fws_pipe.websocket.rates import EXPECTED as EXPECTED_RATE
from fws_pipe.websocket.rates import Rate, RatePolicy, rate_of, split_rate

DEFAULT_CHAIN = "broadcast | stdout_log"

_ON = ("1", "true", "yes", "on")
_OFF = ("0", "false", "no", "off")

_OLD_STORAGES = {
    "filtered_websocket.storage_objects.default": StorageKind.MEMORY,
    "filtered_websocket.storage_objects.redis": StorageKind.REDIS,
}

ChoiceT = TypeVar("ChoiceT", bound=enum.StrEnum)

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def parse_size(text: str) -> int:
    """A size in bytes, with K, M or G for binary multiples: "64M". Raises ValueError."""
    cleaned = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = cleaned[-1:] if cleaned[-1:] in _UNITS else ""
    number = cleaned.removesuffix(unit) if unit else cleaned
    if not number.isascii() or not number.isdecimal():
        raise ValueError("expected a size in bytes such as 65536, 64K or 1M")
    return int(number) * _UNITS[unit]


def parse_seconds(text: str) -> float:
    """Seconds, 0 or more. Raises ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected a number of seconds, 0 or more")
    return seconds


def parse_count(text: str) -> int:
    """A whole number, 0 or more. Raises ValueError."""
    if not text.isascii() or not text.isdecimal():
        raise ValueError("expected a whole number, 0 or more")
    return int(text)


def parse_port(text: str) -> int:
    """A TCP port. Raises ValueError."""
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        hint = _SERVICE_LINK if _SERVICE_LINK_VALUE.match(text) else ""
        raise ValueError(f"expected a port, 0 to 65535{hint}")
    return int(text)


_SERVICE_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)://")
_SERVICE_LINK = (
    " (Kubernetes sets such variables for a service that is called fws: give the service another name, say "
    "enableServiceLinks: false, or name the port with --port, which beats the variable)"
)


def parse_host(text: str) -> str:
    """An address or a name; an IPv6 address may stand in brackets, as in a URL. Raises ValueError."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text
    return parse_text(bare)


def parse_message_size(text: str) -> int:
    """A message's size in bytes, which leaves room for the rest of its frame. Raises ValueError."""
    size = parse_size(text)
    if not 0 < size <= FRAME_LIMIT_BYTES // 2:
        raise ValueError(f"expected a size of 1 to {FRAME_LIMIT_BYTES // 2} bytes")
    return size


def parse_outbox_size(text: str) -> int:
    """A size of 1 byte or more. Raises ValueError."""
    size = parse_size(text)
    if size <= 0:
        raise ValueError("expected a size of 1 byte or more")
    return size


def parse_header_size(text: str) -> int:
    """The size of a request head, 256 bytes to 1 MiB. Raises ValueError."""
    size = parse_size(text)
    if not 256 <= size <= 1024**2:
        raise ValueError("expected a size of 256 bytes to 1M")
    return size


def parse_rate(text: str) -> Rate | None:
    """A number a second, a minute or an hour, such as "100/s"; None for 0. Raises ValueError."""
    amount, seconds = split_rate(text)
    if not amount.isascii() or not amount.isdecimal():
        raise ValueError(EXPECTED_RATE)
    return rate_of(int(amount), seconds)


def parse_byte_rate(text: str) -> Rate | None:
    """A rate in bytes, with K, M or G, such as "64K/s"; None for 0. Raises ValueError."""
    amount, seconds = split_rate(text)
    try:
        return rate_of(parse_size(amount), seconds)
    except ValueError:
        raise ValueError("expected a rate in bytes such as 64K/s, 10M/m (a minute) or 0") from None


def parse_mode(text: str) -> int:
    """A file's permissions, octal as for chmod. Raises ValueError."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("expected permissions in octal such as 0660")
    return int(text, 8)


def parse_variable(text: str) -> str:
    """The name of an environment variable. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("expected names of environment variables; commas are between them")
    return text


def parse_name(text: str) -> str:
    """A server's name, which stands in ids, logs and channels. Raises ValueError."""
    if not text or len(text) > 32 or not all(character.isalnum() or character in "._" for character in text):
        raise ValueError("expected 1 to 32 letters, digits, dots and underscores")
    return text


def parse_text(text: str) -> str:
    """Any text that isn't empty. Raises ValueError."""
    if not text:
        raise ValueError("expected something")
    return text


def parse_group(text: str) -> str:
    """The name of a group. Raises ValueError."""
    if not text or len(text.encode(errors="replace")) > 1000:
        raise ValueError("expected 1 to 1000 bytes")
    return text


def parse_time(text: str) -> float:
    """Seconds, more than 0. Raises ValueError."""
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise ValueError("expected a number of seconds above 0")
    return seconds


def member_of(choices: type[ChoiceT]) -> Callable[[str], ChoiceT]:
    """A parser from a member's value to the member; it raises ValueError."""

    def parse(text: str) -> ChoiceT:
        try:
            return choices(text)
        except ValueError:
            raise ValueError(f"expected one of {', '.join(choices)}") from None

    return parse


def parse_expiry(text: str) -> float:
    """Seconds, 1 or more, since Redis counts whole seconds (EXPIRE). Raises ValueError."""
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = 0.0
    if seconds < 1:
        raise ValueError("expected a number of seconds, 1 or more")
    return seconds


def parse_cookie_name(text: str) -> str:
    """A cookie's name: a token (RFC 6265, section 4.1.1). Raises ValueError."""
    if not is_token(text):
        raise ValueError("expected a cookie's name: letters, digits and any of !#$%&'*+-.^_`|~")
    return text


def parse_subprotocol(text: str) -> str:
    """A subprotocol's name: a token (RFC 6455, section 4.1). Raises ValueError."""
    if not is_token(text):
        raise ValueError("expected a subprotocol's name: letters, digits and any of !#$%&'*+-.^_`|~")
    return text


def parse_switch(text: str) -> bool:
    """The value of a switch: whether it is on. Raises ValueError."""
    word = text.strip().lower()
    if word not in _ON and word not in _OFF:
        raise ValueError(f"expected one of {', '.join(_ON)}, or one of {', '.join(_OFF)}")
    return word in _ON


def parse_health_path(text: str) -> str:
    """A path of a URL, without a query. Raises ValueError."""
    if not re.fullmatch(r"/[!-\"$->@-~]*", text):
        raise ValueError("expected a path such as /health, without ? or #")
    return text


def parse_channel(text: str) -> str:
    """A channel's name. Raises ValueError."""
    if not text or any(character.isspace() for character in text):
        raise ValueError("expected channels that aren't empty and have no white space in them; commas are between them")
    return text


def parse_storage(text: str) -> str:
    """A kind of storage, or the name of a Python module. Raises ValueError."""
    name = _OLD_STORAGES.get(text, text).removeprefix("module:")
    is_file = name.startswith("sqlite:") and len(name) > len("sqlite:")
    if not is_file and not all(part.isidentifier() for part in name.split(".")):
        raise ValueError("expected memory, sqlite, sqlite:PATH, redis or a Python module's name")
    return name


class SubjectLevel(NamedTuple):
    """Up to which level a subject logs."""

    subject: Subject
    level: Level


def parse_log_level(text: str) -> SubjectLevel:
    """A subject of the log and its level, as SUBJECT=LEVEL. Raises ValueError."""
    subject, _, level = text.partition("=")
    levels = {each.name.lower(): each for each in Level}
    if subject not in tuple(Subject) or level not in levels:
        raise ValueError(f"expected SUBJECT=LEVEL, one of {', '.join(Subject)} and one of {', '.join(levels)}")
    return SubjectLevel(Subject(subject), levels[level])


class SourceCommand(NamedTuple):
    """A command whose output is an input, and the channel of its lines."""

    name: str
    text: str


CONTROL_AUTO = "auto"
CONTROL_OFF = "off"


def parse_control(text: str) -> str:
    """A path, or one of the two words above; nothing at all means off."""
    return text or CONTROL_OFF


_OWN_STDIN = "stdin"
"""The channel of --stdin."""


def parse_source(text: str) -> SourceCommand:
    """A name and a command, as NAME=CMD. Raises ValueError."""
    name, equals, command = text.partition("=")
    if not re.fullmatch(r"[\w.:/-]+", name) or not equals or not command.strip():
        raise ValueError("expected NAME=CMD such as load='vmstat 1', the name without spaces")
    if name == _OWN_STDIN:
        raise ValueError(f"expected another name than {name}, which is the channel of --stdin")
    return SourceCommand(name, command.strip())


@dataclass(frozen=True)
class Option:
    """One option. `parse` turns text into the value; it raises ValueError, whose text says what was expected."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    default_text: str
    help: str
    metavar: str
    group: str
    short: str | None = None
    is_list: bool = False
    """Given several times, or with `separator` between; the value is a tuple."""
    separator: str = ","
    choices: tuple[str, ...] = ()
    """The values that there are, where there are few; a shell's completion offers them."""
    has_variable: bool = True
    """Whether there is an environment variable for it."""
    is_flag: bool = False
    """Whether it is given without a value; `--no-…` overrides an environment variable or a config file that sets it."""
    is_secret: bool = False
    """Whether the value may hold a password, so that no message shows it."""
    for_front: bool = True
    old_flags: tuple[str, ...] = ()
    """The option's flags in filtered_websocket."""
    old_variables: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """`--max-message`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """`FWS_MAX_MESSAGE`."""
        return "FWS_" + self.key.upper()

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set it; the first one that isn't empty counts."""
        return (self.variable, *self.old_variables) if self.has_variable else ()

    @property
    def key(self) -> str:
        """`max_message`."""
        return self.name.replace("-", "_")


_LISTENING = "listening"
_PAGES = "pages"
_TLS = "TLS"
_ADMISSION = "admission"
_LIMITS = "limits"
_CHAIN = "the chain"
_INPUT = "input from outside"
_CONTROL = "control"
_LOG = "the log"
_SHARED = "Redis and storage"

OPTIONS = (
    Option(
        "port", parse_port, 9000, "9000", "the port to listen on; 0 picks a free one", "PORT", _LISTENING, short="p"
    ),
    Option(
        "host", parse_host, ("127.0.0.1",), "127.0.0.1",
        "an address or name to listen on; may be given several times, or with commas", "HOST", _LISTENING,
        is_list=True,
    ),
    Option(
        "unix", parse_text, (), "none",
        "a Unix socket to listen on, and no port unless --host or --port is given too; may be given several times",
        "PATH", _LISTENING, is_list=True,
    ),
    Option(
        "unix-mode", parse_mode, 0o660, "0660",
        "the permissions of the Unix socket's file; a process that may write it may connect", "MODE",
        _LISTENING,
    ),
    Option(
        "trusted-proxy", parse_proxy, (), "none",
        "a proxy's address or network, or unix; its X-Forwarded-For or Forwarded tells its clients' addresses",
        "NETWORK", _LISTENING, is_list=True,
    ),
    Option(
        "proxy-protocol", parse_switch, False, "off",
        "connections of trusted proxies begin with a header of the PROXY protocol (v1 or v2), also before TLS",
        "", _LISTENING, is_flag=True,
    ),
    Option(
        "health-path", parse_health_path, None, "none",
        "a path for health checks: GET, HEAD and OPTIONS get 200, and the chain gets no event",
        "PATH", _LISTENING,
    ),
    Option(
        "page", parse_text, None, "none",
        "a folder of pages, on the same port; / is its index.html; links in it and dot-files are not served",
        "DIR", _PAGES,
    ),
    Option(
        "console", parse_switch, True, "on",
        "without --page, show browsers at / what this is, with a console to try it", "", _PAGES, is_flag=True,
    ),
    Option(
        "name", parse_name, None, "random", "this server's name: every client's id begins with it", "NAME", _LISTENING
    ),
    Option(
        "cert", parse_text, None, "none", "a certificate and its chain (PEM); with it the server speaks TLS, wss://",
        "FILE", _TLS, old_flags=("-cert",),
    ),
    Option(
        "key", parse_text, None, "none", "the certificate's private key (PEM), unless it is in the same file", "FILE",
        _TLS, old_flags=("-key",),
    ),
    Option(
        "client-ca", parse_text, None, "none",
        "authorities (PEM) that sign clients' certificates; a client without such a certificate is refused",
        "FILE", _TLS,
    ),
    Option(
        "origin", parse_origin, (), "any",
        "pages that may connect: [scheme://]host[:port], *.domain, *, same, null; none: clients that name no page",
        "ORIGIN", _ADMISSION, is_list=True,
    ),
    Option(
        "auth-tokens", parse_text, None, "none",
        "a file with a token on each line; a client without one of them gets 401",
        "FILE", _ADMISSION,
    ),
    Option(
        "auth-jwt", parse_text, None, "none",
        "public keys (PEM or JWKS) that check a client's JWT; a client without a JWT gets 401", "KEYFILE", _ADMISSION,
    ),
    Option(
        "auth-jwt-secret", parse_text, None, "none",
        "the secret, 32 bytes or more, that a client's JWT is signed with (HS256); may stand beside --auth-jwt",
        "FILE", _ADMISSION,
    ),
    Option(
        "auth-audience", parse_text, None, "any",
        "the audience (aud) that a JWT must have; any: also one for another service",
        "TEXT", _ADMISSION,
    ),
    Option(
        "auth-issuer", parse_text, None, "any", "the issuer (iss) that a JWT must have", "TEXT", _ADMISSION,
    ),
    Option(
        "auth-cookie", parse_cookie_name, "token", "token",
        "the cookie that may hold the token: a WebSocket in a browser can't send an Authorization header", "NAME",
        _ADMISSION,
    ),
    Option(
        "gate", parse_switch, False, "off", "the chain answers each handshake itself, with accept or reject", "",
        _ADMISSION, is_flag=True,
    ),
    Option(
        "gate-timeout", parse_time, 5.0, "5", "how long the chain has to answer a handshake; after that it gets 503",
        "SECONDS", _ADMISSION,
    ),
    Option(
        "subprotocol", parse_subprotocol, (), "none",
        "a subprotocol that the server speaks, the preferred one first; a client gets the first that it offers, too",
        "NAME", _ADMISSION, is_list=True,
    ),
    Option(
        "max-message", parse_message_size, 1024**2, "1M",
        "the largest message from a client; a larger one closes it with 1009", "BYTES", _LIMITS,
    ),
    Option(
        "ping-interval", parse_seconds, 25.0, "25",
        "idle time after which a client is pinged (proxies cut idle connections after 30 to 60); 0: never",
        "SECONDS", _LIMITS,
    ),
    Option(
        "ping-timeout", parse_seconds, 20.0, "20",
        "time that a pinged client has to show life before it is closed with 1011; 0: any time", "SECONDS", _LIMITS,
    ),
    Option(
        "max-clients", parse_count, 16384, "16384",
        "clients at a time; a further one gets 503; 0: any number", "COUNT",
        _LIMITS,
    ),
    Option(
        "max-clients-per-address", parse_count, 12288, "12288",
        "clients at a time of one address (of one /64 with IPv6); a further one gets 429; 0: any number", "COUNT",
        _LIMITS,
    ),
    Option(
        "max-handshakes", parse_count, 1024, "1024",
        "connections at a time that are no clients yet; further ones wait to be accepted; 0: any number", "COUNT",
        _LIMITS,
    ),
    Option(
        "max-downloads", parse_count, 256, "256",
        "files of --page that are sent at a time; a further one may wait for 5 s, then gets 503; 0: any number",
        "COUNT", _LIMITS,
    ),
    Option(
        "handshake-timeout", parse_time, 10.0, "10", "a request that takes longer to arrive gets 408", "SECONDS",
        _LIMITS,
    ),
    Option(
        "max-header", parse_header_size, 16 * 1024, "16K", "the largest request; a larger one gets 431", "BYTES",
        _LIMITS,
    ),
    Option(
        "max-fragments", parse_count, 65536, "65536",
        "fragments of a message before its last; one more closes its client with 1009; 0: any number", "COUNT",
        _LIMITS,
    ),
    Option(
        "message-timeout", parse_seconds, 60.0, "60",
        "a message that takes longer to arrive closes its client with 1008; 0: any time", "SECONDS", _LIMITS,
    ),
    Option(
        "max-groups", parse_count, 1024, "1024", "groups that one client may be in; 0: any number", "COUNT", _LIMITS,
    ),
    Option(
        "memory-limit", parse_size, 512 * 1024**2, "512M",
        "unfinished messages, outboxes and group names of all clients; those that hold most get 1013; 0: any size",
        "BYTES", _LIMITS,
    ),
    Option(
        "rate", parse_rate, None, "0",
        "one client's messages, such as 100/s or 6000/m; as many may come at once; fragments and pings count; 0: any",
        "RATE", _LIMITS,
    ),
    Option(
        "rate-bytes", parse_byte_rate, None, "0",
        "one client's bytes, such as 64K/s or 10M/m; as many may come at once; 0: any", "RATE", _LIMITS,
    ),
    Option(
        "rate-policy", member_of(RatePolicy), RatePolicy.WAIT, "wait",
        "what happens to a client that sends faster: wait (it is read more slowly) or close (with 1008)", "POLICY",
        _LIMITS, choices=tuple(RatePolicy),
    ),
    Option(
        "idle-timeout", parse_seconds, 0.0, "0",
        "time without a message after which a client is closed with 1001; 0: never",
        "SECONDS", _LIMITS,
    ),
    Option(
        "outbox-limit", parse_outbox_size, 1024**2, "1M",
        "messages of others that may wait for a client that reads slowly; beyond it see --slow-client",
        "BYTES", _LIMITS,
    ),
    Option(
        "slow-client", member_of(SlowClient), SlowClient.CLOSE, "close",
        "what happens to a client whose outbox is full: close (1013), drop-oldest or drop-newest", "POLICY", _LIMITS,
        choices=tuple(SlowClient),
    ),
    Option(
        "journal-limit", parse_outbox_size, 64 * 1024**2, "64M",
        "events kept until they have passed the chain, so that a crash loses none; when full, no client is read",
        "BYTES", _LIMITS,
    ),
    Option(
        "stall-timeout", parse_seconds, 30.0, "30",
        "time without a tick, while events wait, after which a chain is restarted; 0: never", "SECONDS",
        _LIMITS, for_front=False,
    ),
    Option(
        "drain-timeout", parse_seconds, 10.0, "10",
        "how long clients and chain have to finish after SIGTERM or SIGINT", "SECONDS", _LIMITS,
    ),
    Option(
        "drain-over", parse_drain_over, 0.0, "0",
        "close clients one after the other over this time before that, with 1012 and a hint when to return; "
        "0: all at once, with 1001", "SECONDS", _LIMITS,
    ),
    Option(
        "intake", member_of(Intake), Intake.EPOLL, "epoll",
        "how clients are read: epoll, tasks (one each, as where there is no epoll), library (all by trio-websocket)",
        "NAME", _LIMITS, choices=tuple(Intake),
    ),
    Option(
        "stdin", parse_switch, False, "off",
        "each line of the server's stdin is a consumer event on the channel stdin; at its end the server goes on", "",
        _INPUT, is_flag=True, for_front=False,
    ),
    Option(
        "source", parse_source, (), "none",
        "each line that a command writes is a consumer event on the channel NAME; may be given several times",
        "NAME=CMD", _INPUT, is_list=True, separator="\n", for_front=False,
    ),
    Option(
        "route", parse_route, (), "none",
        "a chain for a path: '/chat=broadcast', '/log/*=…' for all below; CHAIN is for other paths, or they get 404",
        "PATH=CHAIN", _CHAIN, is_list=True, separator="\0", has_variable=False, for_front=False,
    ),
    Option(
        "shell", parse_text, "/bin/sh", "/bin/sh", "the shell that runs each stage, as SHELL -c", "PATH", _CHAIN,
        for_front=False,
    ),
    Option(
        "watch", parse_switch, False, "off",
        "replace the chain when the file of a filter, or the config file, has changed, as SIGHUP does", "", _CHAIN,
        is_flag=True, for_front=False,
    ),
    Option(
        "quarantine", parse_text, None, "none",
        "a folder for events that kill the chain again and again, one file each",
        "DIR", _CHAIN, for_front=False,
    ),
    Option(
        "pass-env", parse_variable, (), "none",
        "a variable that stages get although its name is like a secret's; may be given several times, or with commas",
        "NAME", _CHAIN, is_list=True, for_front=False,
    ),
    Option(
        "clean-env", parse_switch, False, "off",
        "stages get only PATH, HOME, LANG and the like of the environment, and what --pass-env names", "", _CHAIN,
        is_flag=True, for_front=False,
    ),
    Option(
        "control", parse_control, CONTROL_AUTO, "auto",
        "the socket for fws-ctl: a path, off, or auto (in the server's own folder, where fws-ctl finds it)", "PATH",
        _CONTROL, for_front=False,
    ),
    Option(
        "takeover", parse_text, None, "none",
        "take over the clients and the listening sockets of the server with this control socket; "
        "auto: of the only one of this user", "PATH", _CONTROL, for_front=False, has_variable=False,
    ),
    Option(
        "admin", parse_admin, None, "none",
        "an address for health checks, metrics and the live page: HOST:PORT, :PORT (127.0.0.1) or unix:PATH; never a "
        "public one",
        "ADDRESS", _CONTROL, for_front=False,
    ),
    Option(
        "admin-name", parse_host, (), "none",
        "a name by which the admin address may be called, beside IP addresses and localhost; may be given several "
        "times, or with commas",
        "NAME", _CONTROL, is_list=True, for_front=False,
    ),
    Option(
        "admin-actions", parse_switch, False, "off",
        "the live page on a TCP admin address may reload the chain, drain the server, close clients, and show "
        "frames and the log; on a Unix socket it always may",
        "", _CONTROL, is_flag=True, for_front=False,
    ),
    Option(
        "log-format", member_of(LogFormat), LogFormat.TEXT, "text",
        "the form of the log's lines: text, json (an object a line) or logfmt (name=value)", "FORM", _LOG,
    ),
    Option(
        "log-level", parse_log_level, (), "none",
        "a subject's own level, such as redis=debug or stage=error; may be given several times, or with commas",
        "SUBJECT=LEVEL", _LOG, is_list=True,
    ),
    Option(
        "access-log", parse_switch, False, "off",
        "a line in the log for each connection that has ended or was refused, as --log-level access=info does", "",
        _LOG, is_flag=True,
    ),
    Option(
        "token", parse_group, None, "none",
        "the group of clients that have chosen none, for broadcast_by_token and class-based filters", "NAME",
        _CHAIN, for_front=False, old_flags=("-token",),
    ),
    Option(
        "storage", parse_storage, StorageKind.SQLITE, "sqlite",
        "the filters' storage: memory, sqlite, sqlite:PATH, redis, or a Python module with a class StorageObject",
        "KIND", _SHARED, for_front=False, old_variables=("STORAGE_OBJECT_MODULE",), choices=tuple(StorageKind),
    ),
    Option(
        "redis-url", check_url, None, "none",
        "the Redis that servers share, as redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://",
        "URL", _SHARED, for_front=False, is_secret=True,
    ),
    Option(
        "redis-key", parse_text, "fws", "fws", "the prefix of the servers' own keys and channels in Redis", "PREFIX",
        _SHARED, for_front=False, old_flags=("--redis_key",),
    ),
    Option(
        "redis-channels", parse_channel, ("global",), "global",
        "a channel to subscribe to; may be given several times, or with commas", "CHANNEL", _SHARED, is_list=True,
        for_front=False, old_flags=("--redis_channels",),
    ),
    Option(
        "redis-sharded", parse_switch, False, "off", "Redis is a cluster: use sharded pub/sub (SPUBLISH)", "", _SHARED,
        is_flag=True, for_front=False,
    ),
    Option(
        "presence-expiry", parse_expiry, 30.0, "30",
        "time without a write to Redis after which a server counts as dead, and its clients as gone", "SECONDS",
        _SHARED,
        for_front=False,
    ),
)  # fmt: skip

OLD_OPTIONS = (
    Option(
        "redis_host", parse_text, None, "localhost", "as in filtered_websocket: makes the URL redis://HOST:PORT/0",
        "HOST", _SHARED, for_front=False,
    ),
    Option(
        "redis_port", parse_port, None, "6379", "as in filtered_websocket: makes the URL redis://HOST:PORT/0", "PORT",
        _SHARED, for_front=False,
    ),
)  # fmt: skip
"""Older forms of --redis-url. They have no environment variables: Kubernetes may set FWS_REDIS_PORT for a service."""

_PIPE_OPTIONS = (*OPTIONS, *OLD_OPTIONS)

SHELLS = ("bash", "zsh", "fish")
"""Those for which there is a completion."""


@dataclass(frozen=True)
class Config:
    """The configuration: a field for each option, and where some of them were given."""

    port: int
    host: Sequence[str]
    unix: Sequence[str]
    unix_mode: int
    trusted_proxy: Sequence[Proxy]
    proxy_protocol: bool
    health_path: str | None
    page: str | None
    console: bool
    name: str | None
    cert: str | None
    key: str | None
    client_ca: str | None
    origin: Sequence[OriginPattern]
    auth_tokens: str | None
    auth_jwt: str | None
    auth_jwt_secret: str | None
    auth_audience: str | None
    auth_issuer: str | None
    auth_cookie: str
    gate: bool
    gate_timeout: float
    subprotocol: Sequence[str]
    max_message: int
    ping_interval: float
    ping_timeout: float
    max_clients: int
    max_clients_per_address: int
    max_handshakes: int
    max_downloads: int
    handshake_timeout: float
    max_header: int
    max_fragments: int
    message_timeout: float
    max_groups: int
    memory_limit: int
    rate: Rate | None
    rate_bytes: Rate | None
    rate_policy: RatePolicy
    idle_timeout: float
    outbox_limit: int
    slow_client: SlowClient
    journal_limit: int
    stall_timeout: float
    drain_timeout: float
    drain_over: float
    intake: Intake
    stdin: bool
    source: Sequence[SourceCommand]
    route: Sequence[RouteOption]
    shell: str
    watch: bool
    quarantine: str | None
    pass_env: Sequence[str]
    clean_env: bool
    control: str
    takeover: str | None
    admin: AdminAddress | None
    admin_name: Sequence[str]
    admin_actions: bool
    log_format: LogFormat
    log_level: Sequence[SubjectLevel]
    access_log: bool
    token: str | None
    storage: str
    redis_url: str | None
    redis_key: str
    redis_channels: Sequence[str]
    redis_sharded: bool
    presence_expiry: float
    level: Level
    names_tcp: bool = False
    """Whether a host or a port was asked for, and is not the default."""
    chain: str | None = None
    """The chain that was asked for, but for routes; None: none was."""
    file: str | None = None
    """The config file's path; None: there is none."""
    chain_is_in_file: bool = False
    """Whether the chain, or one of a route, comes from the config file."""
    storage_has_pubsub: bool = False
    """Whether the user's own storage module has a subscriber; this is known once the module is loaded."""
    server_argv: Sequence[str] = ()
    """The command line in fws_server's form, from which a user's StorageObject gets its options."""

    @property
    def names_chain(self) -> bool:
        """Whether any chain was asked for."""
        return self.chain is not None or bool(self.route)

    @property
    def chains(self) -> dict[str, str]:
        """The chains by the patterns of their paths; the default one where none was asked for. Raises UsageError."""
        return chains_of(self.route, self.chain if self.names_chain else DEFAULT_CHAIN)

    @property
    def log_settings(self) -> LogSettings:
        """How the log is written."""
        access = {Subject.ACCESS: Level.INFO} if self.access_log else {}
        return LogSettings(self.level, {**access, **dict(self.log_level)}, self.log_format)

    @property
    def redis(self) -> RedisSettings | None:
        """The settings for Redis, without the server's name and run; None: there is no Redis."""
        if self.redis_url is None:
            return None
        return RedisSettings(
            url=self.redis_url,
            key=self.redis_key,
            channels=self.redis_channels,
            sharded=self.redis_sharded,
            expiry_s=self.presence_expiry,
        )

    @property
    def storage_module(self) -> str | None:
        """The user's own module with a class StorageObject, or None."""
        return storage_module_of(self.storage)

    @property
    def storage_environment(self) -> dict[str, str]:
        """The environment variables that give the stages their storage and the default group."""
        own = self.storage_module
        environment = {"FWS_STORAGE": self.storage if own is None else f"module:{own}"}
        if own is not None:
            environment["FWS_SERVER_ARGV"] = json.dumps(list(self.server_argv))
        if self.token is not None:
            environment["FWS_TOKEN"] = self.token
        return environment


@dataclass(frozen=True)
class Query:
    """A question to answer on stdout: `list`, `filters-dir`, `deploy-dir`, `completion` (for `shell`) or `check`.

    The last one is about `chain`, for `shell`.
    """

    kind: str
    chain: str = ""
    shell: str = "/bin/sh"


def pipe_parser() -> Parser:
    """fws-pipe's command line."""
    parser = _parser("fws-pipe", "A WebSocket server whose behaviour is a Unix pipeline of filters.", _PIPE_OPTIONS)
    parser.add_argument(
        "chain", nargs="?", metavar="CHAIN", help=f'the filters, as in a shell: "A | B | C" (default: {DEFAULT_CHAIN})'
    )
    asked = parser.add_argument_group("instead of serving").add_mutually_exclusive_group()
    asked.add_argument("--list", action="store_true", help="list the filters, with a line about each")
    asked.add_argument("--filters-dir", action="store_true", help="print the filters' directory, for a shell's PATH")
    asked.add_argument(
        "--deploy-dir", action="store_true",
        help="print the folder of files for systemd, containers, Kubernetes, nginx, Caddy and HAProxy",
    )  # fmt: skip
    asked.add_argument("--check", metavar="CHAIN", help="parse and resolve a chain, print its stages, start nothing")
    asked.add_argument(
        "--completion", metavar="SHELL", choices=SHELLS,
        help=f"print the completion of all commands for a shell: {', '.join(SHELLS)}",
    )  # fmt: skip
    return parser


def parse_pipe(argv: Sequence[str], environment: Mapping[str, str]) -> Config | Query:
    """Parse fws-pipe's command line. Raises UsageError; exits 0 after --help and --version."""
    arguments = parse_all(pipe_parser(), argv, WEBSOCKETD)
    if arguments.list:
        return Query("list")
    if arguments.filters_dir:
        return Query("filters-dir")
    if arguments.deploy_dir:
        return Query("deploy-dir")
    if arguments.completion is not None:
        return Query("completion", shell=arguments.completion)
    if arguments.check is not None:
        shell: str = arguments.shell or environment.get("FWS_SHELL") or Query.shell
        return Query("check", arguments.check, shell)
    file = read_file(arguments.config)
    chain = arguments.chain if arguments.chain is not None else chain_of(file)
    config = make_config(_given(arguments, _PIPE_OPTIONS), environment, file, chain)
    old_form = {"--port": str(config.port), "-key": config.key, "-cert": config.cert, "-token": config.token}
    argv = [word for flag, value in old_form.items() if value is not None for word in (flag, value)]
    in_file = (arguments.chain is None and chain is not None) or (arguments.route is None and bool(config.route))
    return replace(config, server_argv=argv, chain_is_in_file=in_file)


def front_parser() -> Parser:
    """fws-front's command line."""
    about = (
        "The front alone: events on stdout, actions on stdin. mkfifo back; fws-front <back | broadcast | fws-sink >back"
    )
    return _parser("fws-front", about, [option for option in OPTIONS if option.for_front])


def parse_front(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Parse fws-front's command line. Raises UsageError; exits 0 after --help and --version."""
    options = [option for option in OPTIONS if option.for_front]
    arguments = parse_all(front_parser(), argv)
    own = {option.key for option in options}
    file = read_file(arguments.config)
    # fws-pipe may share the file: the options that only fws-pipe has must not stop a front.
    file = replace(file, values={key: value for key, value in file.values.items() if key in own})
    return make_config(_given(arguments, options), environment, file, options=options)


def read_file(path: str | None, *, takes_unknown: bool = False) -> ConfigFile:
    """The content of a config file; None as path: an empty one. Raises UsageError."""
    if path is None:
        return ConfigFile(None)
    options = [option for option in (*OPTIONS, *OLD_OPTIONS) if option.key != "route"]  # the file has a table of routes
    flags = {option.key for option in options if option.is_flag}
    lists = {option.key for option in options if option.is_list}
    secrets = {option.key for option in options if option.is_secret}
    known = {option.key for option in options}
    return load_config_file(path, known, flags, lists, secrets, takes_unknown=takes_unknown)


def storage_named(environment: Mapping[str, str], file: ConfigFile) -> str:
    """The storage that the environment, or else the file, names. Raises UsageError."""
    option = next(option for option in OPTIONS if option.key == "storage")
    given = _from_environment([option], environment).get(option.key, file.values.get(option.key))
    return str(option.default if given is None else _value(option, given))


def storage_module_of(storage: str) -> str | None:
    """The user's own module with a class StorageObject, or None for our own kinds of storage."""
    return None if storage in tuple(StorageKind) or storage.startswith("sqlite:") else storage


def make_config(
    given: Mapping[str, Given],
    environment: Mapping[str, str],
    file: ConfigFile,
    chain: str | None = None,
    options: Sequence[Option] = OPTIONS,
) -> Config:
    """The configuration from the command line (`given`), else from the environment, else from the file.

    Raises UsageError for an invalid value, or options that exclude each other.
    """
    sources = [_with_redis_url(file.values), _from_environment(options, environment), _with_redis_url(given)]
    said: dict[str, Given] = {key: value for source in sources for key, value in source.items()}
    values = {option.key: _value(option, said[option.key]) for option in options if option.key in said}
    defaults = {option.key: option.default for option in OPTIONS}
    loudness = said["loudness"].text if "loudness" in said else file.loudness
    config = Config(
        **{**defaults, **values},
        level=LOUDNESS.get(str(loudness), Level.INFO),
        names_tcp=not said.keys().isdisjoint(("host", "port")),
        chain=chain,
        file=file.path,
    )
    _check(config)
    return config


def _check(config: Config) -> None:
    """Raise UsageError for options that need another one."""
    if config.storage == StorageKind.REDIS and config.redis_url is None:
        raise UsageError("--storage redis needs a Redis; add --redis-url redis://HOST:PORT")
    if config.redis_sharded and config.redis_url is None:
        raise UsageError("--redis-sharded needs a Redis; add --redis-url redis://HOST:PORT")
    check_channels(config.redis_channels, sharded=config.redis_sharded)
    _check_paths(config)
    has_port = config.names_tcp or not config.unix
    if config.admin is not None and has_port and config.admin.port and config.admin.port == config.port:
        raise UsageError(f"--admin: {config.port} is the clients' port; choose another one (0 picks a free one)")
    if config.admin is None and (config.admin_actions or config.admin_name):
        raise UsageError(
            f"--admin-{'actions' if config.admin_actions else 'name'} needs --admin with an address such as :9090"
        )
    names = [source.name for source in config.source]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--source: two inputs are called {twice}; each needs a name of its own")


def _check_paths(config: Config) -> None:
    """Raise UsageError for a path that stands for two things."""
    chains = chains_of(config.route, config.chain)
    if config.health_path is not None and normal_path(config.health_path) in chains:
        raise UsageError(f"--health-path {config.health_path}: a route has this path; choose another one")


def _parser(program: str, about: str, options: Sequence[Option]) -> Parser:
    codes = "".join(f"\n  {code}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = Parser(
        prog=program,
        description=about,
        epilog=f"exit codes:{codes}\n\n{topics_epilog(program)}",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add_help(parser)
    parser.add_argument(
        "-c", "--config", metavar="FILE",
        help="options as JSON or TOML; its keys are their names, and chain or filters",
    )  # fmt: skip
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-v", "--verbose", action="store_const", dest="loudness", const="verbose",
        help="also tell of each client that comes, goes or is refused",
    )  # fmt: skip
    loudness.add_argument(
        "-q",
        "--quiet",
        action="store_const",
        dest="loudness",
        const="quiet",
        help="tell only what goes wrong, and where it listens",
    )
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(option.group for option in options)}
    for option in options:
        names, settings = _argument(option)
        groups[option.group].add_argument(*names, **settings)
    return parser


def _argument(option: Option) -> tuple[list[str], dict[str, Any]]:
    """The arguments of argparse's add_argument: the names, and the settings."""
    names = [*([f"-{option.short}"] if option.short else []), option.flag, *option.old_flags]
    known_as = [] if option in OLD_OPTIONS else option.variables
    text = f"{option.help} (default: {option.default_text}{''.join(f'; {name}' for name in known_as)})"
    if option.is_flag:
        return names, {"dest": option.key, "help": text, "action": argparse.BooleanOptionalAction}
    action = "append" if option.is_list else "store"
    return names, {"dest": option.key, "help": text, "action": action, "metavar": option.metavar}


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the description, but not the table of exit codes."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("exit codes:"):
            return super()._fill_text(text, width, indent)
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _given(arguments: argparse.Namespace, options: Sequence[Option]) -> dict[str, Given]:
    """The options given on the command line, by key."""
    said = {option: value for option in options if (value := getattr(arguments, option.key)) is not None}
    switches = {True: "on", False: "off"}
    given = {
        option.key: Given(option.flag, switches[value] if option.is_flag else value) for option, value in said.items()
    }
    if arguments.loudness is not None:
        given["loudness"] = Given("", arguments.loudness)
    return given


_GUARDS = frozenset({"auth-tokens", "auth-jwt", "auth-jwt-secret", "origin", "client-ca"})
"""The options that keep clients out: a variable that a script has left empty by mistake must not switch one off."""


def _from_environment(options: Sequence[Option], environment: Mapping[str, str]) -> dict[str, Given]:
    """The options given in the environment, by key; an empty variable counts as unset. Raises UsageError."""
    found = {}
    for option in options:
        variable = next((name for name in option.variables if environment.get(name)), None)
        if variable is None and option.name in _GUARDS and environment.get(option.variable) == "":
            raise UsageError(f"{option.variable}: is empty, which would let anybody in; give it a value, or unset it")
        if variable is not None:
            text = environment[variable]
            found[option.key] = Given(variable, [text] if option.is_list else text)
    return found


def _with_redis_url(said: Mapping[str, Given]) -> dict[str, Given]:
    """The options with the old host and port turned into a URL. Raises UsageError where a URL is given, too."""
    rest = dict(said)
    old = [(option, rest.pop(option.key)) for option in OLD_OPTIONS if option.key in said]
    if not old:
        return rest
    source = old[0][1].source
    if "redis_url" in rest:
        raise UsageError(f"{source}: {rest['redis_url'].source} is given, too; leave one of them out")
    address = {option.key: _value(option, given) for option, given in old}
    host, port = address.get("redis_host", "localhost"), address.get("redis_port", 6379)
    url = f"redis://[{host}]:{port}/0" if ":" in host else f"redis://{host}:{port}/0"
    return {**rest, "redis_url": Given(source, url)}


def _value(option: Option, given: Given) -> Any:
    if isinstance(given.text, list):
        items = [item.strip() for text in given.text for item in text.split(option.separator)]
        return tuple(_parsed(option, item, given.source) for item in items)
    return _parsed(option, given.text, given.source)


def _parsed(option: Option, text: str, source: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        got = "" if option.is_secret else f", got {text!r}"
        raise UsageError(f"{source}: {error}{got}") from None


def current_environment() -> dict[str, str]:
    """A copy of the environment, for the parsers and for the stages."""
    return dict(os.environ)
