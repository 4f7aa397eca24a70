"""PATH=CHAIN: any text is a route or a ValueError, and no two routes are for one path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.config.options import Config, parse_front, parse_pipe
from fws_pipe.config.routes import RouteOption, chains_of, parse_route
from fws_pipe.errors import UsageError
from fws_pipe.http.routes import EVERY_PATH, parse_pattern


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("/chat=broadcast", RouteOption("/chat", "broadcast")),
        ("/log/*=a | b", RouteOption("/log/*", "a | b")),
        (" /x = X=1 cmd, other ", RouteOption("/x", "X=1 cmd, other")),
        ("/a%3Db=cat", RouteOption("/a=b", "cat")),
        ("/%63hat=cat", RouteOption("/chat", "cat")),
        ("/=cat", RouteOption("/", "cat")),
        ("/*=cat", RouteOption("/*", "cat")),
    ],
)
def test_the_first_equals_sign_stands_between_path_and_chain(text: str, route: RouteOption) -> None:
    assert parse_route(text) == route


@given(st.text(alphabet="/a=*%2F é?", max_size=12))
def test_any_text_is_a_route_or_a_value_error(text: str) -> None:
    try:
        route = parse_route(text)
    except ValueError:
        return
    assert route.chain
    path = route.pattern.replace("=", "%3D")
    assert parse_route(f"{path}={route.chain}") == route
    assert parse_pattern(path) == route.pattern


def config_of(*argv: str) -> Config:
    config = parse_pipe(list(argv), {})
    assert isinstance(config, Config)
    return config


def test_chains_by_path() -> None:
    assert config_of().chains == {EVERY_PATH: "broadcast | stdout_log"}
    assert config_of("cat").chains == {EVERY_PATH: "cat"}
    assert config_of("--route", "/a=x,y", "--route", "/b=z").chains == {"/a": "x,y", "/b": "z"}
    assert config_of("--route", "/a=x", "cat").chains == {"/a": "x", EVERY_PATH: "cat"}


@pytest.mark.parametrize("routes", [["/a=x", "/%61=y"], ["/*=x"]])
def test_a_path_has_one_chain(routes: list[str]) -> None:
    with pytest.raises(UsageError, match="leave one of"):
        chains_of([parse_route(route) for route in routes], "cat")


def test_fws_front_takes_no_routes() -> None:
    with pytest.raises(UsageError, match="unknown option --route"):
        parse_front(["--route", "/a=cat"], {})
