"""The option table and its parsers."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.broker.settings import RedisSettings
from fws_pipe.cli.fws_server import parse_server
from fws_pipe.clients.slow_client import SlowClient
from fws_pipe.config.options import (
    OLD_OPTIONS,
    OPTIONS,
    Config,
    Option,
    parse_count,
    parse_front,
    parse_pipe,
    parse_port,
    parse_seconds,
    parse_size,
)
from fws_pipe.errors import EXIT_CODES, FwsError, UsageError
from fws_pipe.log import Level
from fws_pipe.websocket.intake import Intake
from fws_pipe.websocket.rates import RatePolicy


def pipe(*argv: str, **environment: str) -> Config:
    """What fws-pipe makes of a command line."""
    config = parse_pipe(argv, environment)
    assert isinstance(config, Config)
    return config


@pytest.mark.parametrize("name", ["AUTH_TOKENS", "AUTH_JWT", "AUTH_JWT_SECRET", "ORIGIN", "CLIENT_CA"])
def test_a_variable_that_is_empty_does_not_switch_protection_off(name: str) -> None:
    with pytest.raises(UsageError, match=f"FWS_{name}: is empty, which would let anybody in"):
        parse_pipe(["mirror"], {f"FWS_{name}": ""})
    assert isinstance(parse_pipe(["mirror"], {"FWS_PORT": ""}), Config)


def test_a_port_that_kubernetes_has_set_gets_a_hint() -> None:
    with pytest.raises(UsageError, match=r"FWS_PORT: expected a port.*Kubernetes.*, got 'tcp://10\.0\.0\.1:80'"):
        parse_pipe(["mirror"], {"FWS_PORT": "tcp://10.0.0.1:80"})


@pytest.mark.parametrize(
    ("text", "host"), [("[::1]", "::1"), ("::1", "::1"), ("localhost", "localhost"), ("[a]", "[a]")]
)
def test_an_ipv6_address_may_stand_in_brackets(text: str, host: str) -> None:
    config = parse_pipe(["--host", text, "mirror"], {})
    assert isinstance(config, Config)
    assert config.host == (host,)


def test_the_table_has_no_name_twice_and_says_what_each_is_for() -> None:
    flags = [flag for option in OPTIONS for flag in (option.flag, *option.old_flags)]
    flags += [f"-{option.short}" for option in OPTIONS if option.short]
    assert len(set(flags)) == len(flags)
    variables = [variable for option in OPTIONS for variable in option.variables]
    assert len(set(variables)) == len(variables)
    for option in OPTIONS:
        assert option.help
        assert option.metavar == "" if option.is_flag else option.metavar.isupper()
        assert option.key in Config.__dataclass_fields__


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.is_list and option.default is not None])
def test_the_default_that_help_shows_is_the_default(option: Option) -> None:
    assert option.parse(option.default_text) == option.default


@given(st.integers(0, 2**40))
def test_sizes(number: int) -> None:
    assert parse_size(str(number)) == number
    assert parse_size(f"{number}K") == parse_size(f"{number} kib".replace(" ", "")) == number * 1024
    assert parse_size(f" {number}M ") == number * 1024**2


@pytest.mark.parametrize("text", ["", "K", "1.5M", "-1", "1T", "1 2", "٣", "0x10", "1KK"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@given(st.text(max_size=6))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    """No option takes a text by surprise: it is a value, or the error says what was expected."""
    for option in (*OPTIONS, *OLD_OPTIONS):
        try:
            option.parse(text)
        except ValueError as error:
            assert str(error).startswith("expected")


flags = [f"{dash}{option.key.replace('_', '-')}" for option in (*OPTIONS, *OLD_OPTIONS) for dash in ("-", "--")]
names_of_environment = st.sampled_from([f"FWS_{option.key.upper()}" for option in OPTIONS])
words = st.one_of(st.sampled_from(flags), st.text(max_size=8), st.integers(-5, 70_000).map(str))


@given(st.lists(words, max_size=5), st.dictionaries(names_of_environment, st.text(max_size=8), max_size=2))
def test_any_command_line_is_a_configuration_or_one_line(argv: list[str], environment: dict[str, str]) -> None:
    """Nothing but UsageError is raised, and its message is one line; only help and the version end the program."""
    for parse in (parse_pipe, parse_front):
        try:
            parse(argv, environment)
        except UsageError as error:
            assert len(str(error).splitlines()) == 1
        except SystemExit as ended:
            assert ended.code == 0
            words_of_an_end = ("--help", "--version")
            # `-h` may have a topic right behind it, and `--help` one behind a `=`.
            assert any(
                word.startswith("-h") or any(whole.startswith(word.partition("=")[0]) for whole in words_of_an_end)
                for word in argv
            )


def test_numbers() -> None:
    assert parse_seconds("2.5") == 2.5
    assert parse_count("0") == 0
    assert parse_port("65535") == 65535


@pytest.mark.parametrize(
    ("argv", "environment", "names_tcp"),
    [
        ([], {}, False),
        (["--unix", "a"], {}, False),
        (["--unix", "a", "--port", "1"], {}, True),
        (["--unix", "a", "--host", "b"], {}, True),
        (["--unix", "a"], {"FWS_PORT": "1"}, True),
    ],
)
def test_whether_a_port_was_asked_for(argv: list[str], environment: dict[str, str], names_tcp: bool) -> None:
    assert pipe(*argv, **environment).names_tcp is names_tcp


def test_lists_of_origins_and_proxies_and_paths() -> None:
    config = pipe(
        "--origin", "a.com, *.b.com", "--origin", "none", "--trusted-proxy", "10.0.0.0/8,unix", "--unix", "a,b"
    )
    assert [pattern.text for pattern in config.origin] == ["a.com", "*.b.com", "none"]
    assert [str(proxy) for proxy in config.trusted_proxy] == ["10.0.0.0/8", "unix"]
    assert config.unix == ("a", "b")
    assert pipe("--unix-mode", "600").unix_mode == 0o600


def test_a_flag_beats_the_environment_which_beats_the_default() -> None:
    environment = {"FWS_PORT": "1", "FWS_HOST": "a,b", "FWS_NAME": ""}
    config = pipe(**environment)
    assert (config.port, config.host, config.name) == (1, ("a", "b"), None)
    config = pipe("-p", "2", "--host", "c", "--host", "d,e", "cat", **environment)
    assert (config.port, config.host, config.chain) == (2, ("c", "d", "e"), "cat")


def test_a_file_comes_after_the_environment_and_before_the_default(tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    path.write_text('port = 1\nhost = ["a", "b"]\ngate = true\nverbose = true\nmax-message = "2K"\nchain = "cat"\n')
    config = pipe("-c", str(path))
    assert (config.port, config.host, config.gate, config.level) == (1, ("a", "b"), True, Level.DEBUG)
    assert (config.max_message, config.chain, config.file) == (2048, "cat", str(path))
    config = pipe("--config", str(path), "-q", "--host", "c", "mirror", FWS_PORT="2", FWS_GATE="off")
    assert (config.port, config.host, config.gate, config.level) == (2, ("c",), False, Level.NOTICE)
    assert config.chain == "mirror"


def test_a_front_takes_its_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text('{"port": 1, "filters": ["mirror"], "redis_host": "r", "shell": "/bin/bash"}')
    config = parse_front(["-c", str(path)], {"FWS_SHELL": "/bin/ksh"})
    assert (config.port, config.redis_url, config.shell) == (1, None, "/bin/sh")
    path.write_text('{"prot": 1}')
    with pytest.raises(UsageError, match='unknown key "prot"; did you mean "port"'):
        parse_front(["-c", str(path)], {})


@pytest.mark.parametrize("text", ["1", "true", "YES", "on"])
def test_a_flag_in_the_environment(text: str) -> None:
    assert pipe("--gate").gate
    assert pipe(FWS_GATE=text).gate
    assert not pipe(FWS_GATE="0").gate
    assert not pipe(FWS_GATE="").gate
    with pytest.raises(UsageError, match=r"FWS_GATE: expected one of 1, true, yes, on, or one of 0.*, got 'maybe'"):
        pipe(FWS_GATE="maybe")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.is_flag], ids=lambda option: option.name)
def test_the_command_line_switches_off_what_others_switch_on(option: Option, tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    path.write_text(f"{option.key} = true\n")
    needed = {"FWS_REDIS_URL": "redis://h", "FWS_ADMIN": ":0"}  # without them two of the switches make no sense
    for argv, environment in (([], {option.variable: "on", **needed}), (["-c", str(path)], needed)):
        assert getattr(pipe(*argv, **environment), option.key) is True
        assert getattr(pipe(*argv, f"--no-{option.name}", **environment), option.key) is False
    assert getattr(pipe(option.flag, **{option.variable: "off", **needed}), option.key) is True


@pytest.mark.parametrize(
    ("name", "choices"), [("intake", Intake), ("slow-client", SlowClient), ("rate-policy", RatePolicy)]
)
def test_an_option_takes_the_members_of_its_enum_and_nothing_else(name: str, choices: type[enum.StrEnum]) -> None:
    (option,) = (option for option in OPTIONS if option.name == name)
    assert isinstance(option.default, choices)
    assert option.default_text == option.default
    members = list(choices)
    for member in members:
        assert getattr(pipe(f"--{name}", member.value), option.key) is member
    with pytest.raises(UsageError, match=f"--{name}: expected one of {', '.join(members)}, got 'Close'"):
        pipe(f"--{name}", "Close")


SECRET_URLS = (
    "redis://:s3cretpw@h:6379/abc",
    "redis://:s3cretpw@h:70000/0",
    "redis://:s3cretpw@h:s3cretpw",
    "http://:s3cretpw@h",
    "redis://u:s3cretpw@[h",
    "redis+sentinel://:s3cretpw@h",
    "redis+sentinel://h?sentinel_password=s3cretpw",
    "rediss+sentinel://h/main?ssl=no&sentinel_password=s3cretpw",
)


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_message_shows_a_password(url: str, tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    texts = [f'redis_url = "{url}"', f'redis-url = ["{url}"]', f'redis-url = "{url}\\u0000"']
    with pytest.raises(UsageError) as by_flag:
        pipe("--redis-url", url)
    with pytest.raises(UsageError) as by_variable:
        pipe(FWS_REDIS_URL=url)
    messages = [str(by_flag.value), str(by_variable.value)]
    for text in texts:
        path.write_text(text)
        with pytest.raises(UsageError) as by_file:
            pipe("-c", str(path))
        messages.append(str(by_file.value))
    for message in messages:
        assert "expected" in message
        assert "s3cretpw" not in message
        assert "got" not in message


@pytest.mark.parametrize("parse", [parse_pipe, parse_front, parse_server])
@pytest.mark.parametrize("argv", [["--redis-ulr=redis://u:s3cretpw@h"], ["--redis-ulr", "x", "redis://u:s3cretpw@h"]])
def test_no_message_shows_a_password_behind_a_mistyped_option(
    parse: Callable[[list[str], dict[str, str]], object], argv: list[str]
) -> None:
    with pytest.raises(UsageError, match="unknown option --redis-ulr; ") as caught:
        parse(argv, {})
    assert "s3cretpw" not in str(caught.value)


@pytest.mark.parametrize(
    ("parse", "argv", "told"),
    [
        (parse_pipe, ["--prot", "1", "mirror"], "unknown option --prot; did you mean --port? See fws-pipe --help"),
        (parse_pipe, ["--redis-ulr=u"], "unknown option --redis-ulr; did you mean --redis-url? See fws-pipe --help"),
        (parse_pipe, ["--lits"], "unknown option --lits; did you mean --list? See fws-pipe --help"),
        (parse_pipe, ["--no-wach"], "unknown option --no-wach; did you mean --no-watch? See fws-pipe --help"),
        (parse_pipe, ["--xyzzy\n"], r"unknown option --xyzzy\n; see fws-pipe --help"),
        (
            parse_pipe,
            ["mirror", "redis://u:pw@h"],
            "unexpected argument 'redis://…@h'; a chain is one argument, in quotes; see fws-pipe --help",
        ),
        (parse_front, ["--prot", "1"], "unknown option --prot; did you mean --port? See fws-front --help"),
        (parse_server, ["--hots=::"], "unknown option --hots; did you mean --host? See fws_server --help"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest_one(
    parse: Callable[[list[str], dict[str, str]], object], argv: list[str], told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv, {})
    assert str(caught.value) == told


def test_old_spellings() -> None:
    config = pipe("-cert", "c", "-key", "k", "-token", "t", "--redis_key", "r", "--redis_channels", "a, b")
    assert (config.cert, config.key, config.token) == ("c", "k", "t")
    assert (config.redis_key, config.redis_channels) == ("r", ("a", "b"))
    assert config.server_argv == ["--port", "9000", "-key", "k", "-cert", "c", "-token", "t"]


@pytest.mark.parametrize(
    ("argv", "url"),
    [
        (["--redis_host", "h"], "redis://h:6379/0"),
        (["--redis_port", "1"], "redis://localhost:1/0"),
        (["--redis_host", "::1", "--redis_port", "1"], "redis://[::1]:1/0"),
        (["--redis-url", "unix:///tmp/redis"], "unix:///tmp/redis"),
        ([], "redis://e:1"),
    ],
)
def test_redis(argv: list[str], url: str) -> None:
    assert pipe().redis is None
    assert pipe(*argv, FWS_REDIS_URL="redis://e:1").redis == RedisSettings(url)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--redis-sharded"], "--redis-sharded needs a Redis; add --redis-url"),
        (["--redis-sharded", "--redis-url=redis://h", "--redis-channels=a,b*"], r"'b\*' is a pattern"),
    ],
)
def test_sharded_pubsub_needs_redis_and_knows_no_patterns(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        pipe(*argv)


def test_redis_in_full() -> None:
    config = pipe(
        "--redis-url=redis://h", "--redis-key=k", "--redis-channels=a", "--redis-channels=b,c", "--redis-sharded",
        "--presence-expiry=5",
    )  # fmt: skip
    assert config.redis == RedisSettings("redis://h", "k", ("a", "b", "c"), True, "", 5.0)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--redis-url", "http://h"], "--redis-url: expected a URL that begins with"),
        (["--redis-url", "redis://[h"], "--redis-url: expected a URL such as"),
        (["--redis-url", "redis://h", "--redis_port", "1"], "--redis_port: --redis-url is given, too; leave one"),
        (["--redis-channels", "a b"], "--redis-channels: expected channels .*, got 'a b'"),
        (["--redis-channels", "a,,b"], "--redis-channels: expected channels .*, got ''"),
        (["--storage", "redis"], "--storage redis needs a Redis"),
        (["--admin-actions"], "--admin-actions needs --admin with an address"),
        (["--admin-name", "a.example"], "--admin-name needs --admin with an address"),
        (["--storage", "sqlite:"], "--storage: expected memory, sqlite, sqlite:PATH, redis or"),
        (["--presence-expiry", "0.9"], "--presence-expiry: expected a number of seconds, 1 or more, got '0.9'"),
        (["--gate-timeout", "0"], "--gate-timeout: expected a number of seconds above 0"),
        (["--auth-cookie", "a b;="], "--auth-cookie: expected a cookie's name: .*, got 'a b;='"),
        (["--subprotocol", "chat,a b"], "--subprotocol: expected a subprotocol's name: .*, got 'a b'"),
        (["--health-path", "health"], "--health-path: expected a path such as /health"),
        (["--health-path", "/a?b"], "--health-path: expected a path such as /health"),
        (
            ["--health-path", "/%61", "--route", "/a=mirror"],
            "--health-path /%61: a route has this path; choose another",
        ),
        (
            ["--source", "stdin=date"],
            "--source: expected another name than stdin, which is the channel of --stdin, got",
        ),
        (["--subprotocol", ""], "--subprotocol: expected a subprotocol's name"),
        (["--auth-cookie", "a="], "--auth-cookie: expected a cookie's name"),
        (["-c", "/nope"], "can't read the config file /nope: No such file or directory"),
    ],
)
def test_what_makes_no_sense(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        pipe(*argv)


@pytest.mark.parametrize(
    ("given", "storage", "module"),
    [
        ({}, "sqlite", None),
        ({"FWS_STORAGE": "sqlite:/a/b.db"}, "sqlite:/a/b.db", None),
        ({"STORAGE_OBJECT_MODULE": "filtered_websocket.storage_objects.default"}, "memory", None),
        ({"STORAGE_OBJECT_MODULE": "my.store"}, "my.store", "my.store"),
        ({"FWS_STORAGE": "module:my.store"}, "my.store", "my.store"),
        ({"FWS_STORAGE": "memory", "STORAGE_OBJECT_MODULE": "my.store"}, "memory", None),
    ],
)
def test_storage(given: dict[str, str], storage: str, module: str | None) -> None:
    config = pipe(**given)
    assert (config.storage, config.storage_module) == (storage, module)


def test_what_the_stages_are_told() -> None:
    assert pipe().storage_environment == {"FWS_STORAGE": "sqlite"}
    assert pipe("--token", "t", "--storage", "my.store", "-p", "1").storage_environment == {
        "FWS_STORAGE": "module:my.store",
        "FWS_SERVER_ARGV": '["--port", "1", "-token", "t"]',
        "FWS_TOKEN": "t",
    }


def test_a_wrong_value_names_where_it_came_from() -> None:
    with pytest.raises(UsageError, match="FWS_PORT: expected a port, 0 to 65535, got 'x'"):
        parse_pipe([], {"FWS_PORT": "x"})


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("30", 30.0), ("30s", 30.0), ("1.5m", 90.0), ("24h", 86400.0)]
)
def test_the_time_of_a_drain(text: str, seconds: float) -> None:
    assert pipe("--drain-over", text).drain_over == seconds


@pytest.mark.parametrize("text", ["-1", "25h", "5 m", "s", "1e9", "inf", "nan", "٣"])
def test_what_is_no_time_of_a_drain(text: str) -> None:
    with pytest.raises(UsageError, match="expected a time such as 30s or 5m, 24h at most"):
        pipe(f"--drain-over={text}")


def test_every_error_has_a_documented_exit_code() -> None:
    todo: list[type[FwsError]] = [FwsError]
    while todo:
        error = todo.pop()
        todo += error.__subclasses__()
        assert error.exit_code in EXIT_CODES
        assert error.__doc__


def test_a_mistyped_option_shows_no_password_of_its_url() -> None:
    url = "redis+sentinel://h/main?sentinel_password=s3cretpw&ssl=true"
    with pytest.raises(UsageError) as caught:
        pipe("--redis-ulr", url)
    assert "s3cretpw" not in str(caught.value)
    assert "--redis-ulr" in str(caught.value)
