"""Config files: what they say, and what is wrong with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.config.file import ConfigFile, Given, chain_of
from fws_pipe.config.options import Config, parse_pipe, read_file
from fws_pipe.errors import UsageError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str | bytes, name: str = "chat.json", **options: Any) -> ConfigFile:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return read_file(name, **options)


def test_json_as_filtered_websocket_read_it() -> None:
    file = read('# a comment\n{\n# another\n"port": "9001", "flags": ["gate", "quiet"], "redis_port": 1}')
    assert file.values == {
        "port": Given("chat.json: port", "9001"),
        "gate": Given("chat.json: flags: gate", "on"),
        "redis_port": Given("chat.json: redis_port", "1"),
    }
    assert file.loudness == "quiet"


def test_toml_and_json_by_content_or_name() -> None:
    expected = {"max_message": "1", "ping_interval": "0.5", "host": ["a"], "redis_channels": ["b"]}
    toml = 'max-message = 1\nping_interval = 0.5\nhost = ["a"]\nredis-channels = "b"\n'
    for text, name in (
        (toml, "chat.toml"),
        (toml, "chat"),
        (json.dumps(expected), "chat"),
        ("# x\n  " + json.dumps(expected), "chat.conf"),
        ("\ufeff" + json.dumps(expected), "chat.json"),
    ):
        values = read(text, name).values
        assert {key: value.text for key, value in values.items() if key != "redis_channels"} == {
            key: value for key, value in expected.items() if key != "redis_channels"
        }
        assert values["redis_channels"].text == ["b"]


def test_the_redis_flag_of_old() -> None:
    config = parse_pipe(["-c", "a.json"], {}) if read('{"flags": ["redis"]}', "a.json") else None
    assert isinstance(config, Config)
    assert (config.storage, config.redis_url) == ("redis", "redis://localhost:6379/0")
    read('{"flags": ["redis"], "redis_host": "h"}', "a.json")
    config = parse_pipe(["-c", "a.json"], {})
    assert isinstance(config, Config)
    assert config.redis_url == "redis://h:6379/0"


def test_filters_become_stages() -> None:
    for name in ("room.py", "mirror.py", "it's.py"):
        Path(name).touch()
    Path("hall").mkdir()
    Path("hall/__init__.py").touch()
    file = read('{"filters": ["a.b", "room", "hall", "mirror", "publish news", "./x.py", "lines jq"]}')
    assert (
        chain_of(file)
        == "fws-filter a.b | fws-filter room | fws-filter hall | mirror | publish news | ./x.py | lines jq"
    )
    assert chain_of(read('{"chain": "a | b"}')) == "a | b"
    assert chain_of(read("{}")) is None
    assert chain_of(read('{"filters": []}')) == "cat"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"prot": 1}', 'unknown key "prot"; did you mean "port"?'),
        ('{"xyzzy": 1}', 'unknown key "xyzzy"'),
        ('{"port": [1]}', "port: expected a string or a number, got list [1]"),
        ('{"port": true}', "port: expected a string or a number, got bool True"),
        ('{"port": null}', "port: expected a string or a number, got NoneType None"),
        ('{"name": {"a": 1}}', "name: expected a string or a number, got dict {'a': 1}"),
        ('{"host": [["a"]]}', "host: expected a list of strings, got list ['a']"),
        ('{"gate": 5.5}', None),
        ('{"gate": []}', "gate: expected true or false, got list []"),
        ('{"verbose": true, "quiet": true}', '"verbose" and "quiet" contradict each other'),
        ('{"flags": "gate"}', "flags: expected a list, got str 'gate'"),
        ('{"flags": ["gaet"]}', 'flags: unknown flag "gaet"; did you mean "gate"?'),
        ('{"flags": ["port"]}', 'flags: unknown flag "port"'),
        ('{"filters": "a"}', """filters: expected a list, got str 'a'; a string goes under "chain\""""),
        ('{"chain": ["a"]}', "chain: expected a string or a number, got list ['a']"),
        ('{"chain": "a", "filters": []}', '"chain" and "filters" both name the chain; leave one of them out'),
        ('{"chain": "a\\u0000"}', "chain: expected text that a command line can hold, got str 'a\\x00'"),
        ('{"shell": "\\ud800"}', "shell: expected text that a command line can hold, got str '\\ud800'"),
        ('{"port": 1, "port": 2}', 'the key "port" is there twice'),
        ('{"max-message": 1, "max_message": 2}', '"max_message" and "max-message" are the same key'),
        ("{", "line 1, column 2: not JSON: Expecting property name enclosed in double quotes"),
        ('#\n{"port":\n# x\n  nope}', "line 4, column 3: not JSON: Expecting value"),
        ("", "line 1, column 1: not JSON: Expecting value"),
        ("[1]", "expected an object, {…}, got list [1]"),
        ("[" * 100_000, "brackets are nested too deeply"),
        (b"\xff", "not UTF-8 at byte 0"),
    ],
)
def test_what_is_wrong_with_json(text: str | bytes, problem: str | None) -> None:
    if problem is None:
        read(text)
        return
    with pytest.raises(UsageError) as caught:
        read(text)
    assert str(caught.value).startswith(f"chat.json: {problem}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = \n", "line 1, column 8: not TOML: Invalid value"),
        ("\nchain = 'a", 'line 2, column 11: not TOML: Expected "\'"'),
        ("port = 1\nport = 2", "line 2, column 9: not TOML: Cannot overwrite a value"),
        ("[redis]\nurl = 1", 'unknown key "redis"'),
        ("port = 1979-05-27", "port: expected a string or a number, got date datetime.date(1979, 5, 27)"),
    ],
)
def test_what_is_wrong_with_toml(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"chat.toml: {problem}")):
        read(text, "chat.toml")


def test_what_cannot_be_read() -> None:
    with pytest.raises(UsageError, match=r"^can't read the config file nope: No such file or directory$"):
        read_file("nope")
    with pytest.raises(UsageError, match=r"^can't read the config file \.: Is a directory$"):
        read_file(".")


def test_a_wrong_value_names_file_and_key() -> None:
    read('{"port": "x"}')
    with pytest.raises(UsageError, match=r"^chat\.json: port: expected a port, 0 to 65535, got 'x'$"):
        parse_pipe(["-c", "chat.json"], {})
    read('{"redis_host": "h", "redis-url": "redis://h"}')
    with pytest.raises(UsageError, match=r"^chat\.json: redis_host: chat\.json: redis-url is given, too"):
        parse_pipe(["-c", "chat.json"], {})


def test_unknown_keys_for_another_parser() -> None:
    file = read('{"db": "-x", "sync": true, "off": false, "nodes": ["a", 1]}', takes_unknown=True)
    assert file.unknown == {"db": ["--db=-x"], "sync": ["--sync"], "off": [], "nodes": ["--nodes", "a", "1"]}
    with pytest.raises(UsageError, match="db: expected a string or a number, got NoneType None"):
        read('{"db": null}', takes_unknown=True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["port", "host", "flags", "gate", "chain", "filters", "redis_host", "name"])


@given(st.dictionaries(keys | st.text(max_size=5), json_values, max_size=4))
def test_any_table_is_a_configuration_or_one_line(table: dict[str, Any]) -> None:
    """Nothing but UsageError is raised, whatever stands in a file that can be parsed."""
    Path("any.json").write_text(json.dumps(table))
    try:
        parse_pipe(["-c", "any.json"], {})
    except UsageError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=30), st.sampled_from(["any.json", "any.toml"]))
def test_any_bytes_are_a_file_or_one_line(content: bytes, name: str) -> None:
    """Nothing but UsageError is raised, whatever a file holds."""
    Path(name).write_bytes(content)
    try:
        parse_pipe(["-c", name], {})
    except UsageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("table", "routes"),
    [
        ('{"/chat": "broadcast", "/log/*": "a | b"}', ["/chat=broadcast", "/log/*=a | b"]),
        ('{"/x": ["a", "b c"], "/y": []}', ["/x=a | b c", "/y=cat"]),
        ("{}", []),
    ],
)
def test_a_table_of_routes_says_what_the_option_does(table: str, routes: list[str]) -> None:
    file = read(f'{{"routes": {table}}}')
    assert file.values["route"].text == routes
    assert file.names_chain == bool(routes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"routes": ["/chat=broadcast"]}', "routes: expected a table of paths and their chains, got list"),
        ('{"routes": {"/a=b": "cat"}}', 'routes: "/a=b": a = in a path is written as %3D'),
        ('{"routes": {"/a": 5.5, "/b": true}}', 'routes: "/b": expected a chain, or a list of filters, got bool'),
        ('{"route": "/a=cat"}', 'unknown key "route"; did you mean "routes"'),
    ],
)
def test_a_table_of_routes_that_makes_no_sense(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        read(text)
