"""Hypothesis strategies for frames and addresses."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

ids = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-"), min_size=1, max_size=12)
texts = st.text(st.characters(codec="utf-8"), max_size=60)
prefixed_texts = st.builds(
    str.__add__, st.sampled_from(["\x10", "\x1a", "\x10base64:", "\x10msgpack:", "\x1ad", "base64:"]), texts
)
payloads = st.one_of(texts, prefixed_texts, st.binary(max_size=60))
codes = st.sampled_from([1000, 1001, 1003, 1007, 1011, 3000, 4999])
receivers = st.one_of(st.just("*"), ids, st.lists(ids, max_size=3))
headers = st.lists(st.tuples(ids, texts).map(list), max_size=3)


def _frame(kind: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"type": st.just(kind), **required}, optional=optional or {})


_stamps = {"seq": st.integers(1, 2**40), "time": st.floats(0, 4e9)}
_of_client = {**_stamps, "id": ids}

events = st.one_of(
    _frame(
        "open",
        {
            **_of_client,
            "path": texts,
            "query": texts,
            "headers": headers,
            "remote": st.tuples(texts, st.integers(0, 65535)).map(list),
            "subprotocol": st.none() | texts,
            "tls": st.none() | st.just({"version": "TLSv1.3", "subject": None}),
            "auth": st.none() | st.dictionaries(texts, texts, max_size=2),
            "replay": st.booleans(),
        },
    ),
    _frame("data", {**_of_client, "data": st.binary(max_size=60)}),
    _frame("message", {**_of_client, "data": payloads}),
    _frame("disconnect", {**_of_client, "code": codes, "reason": texts, "clean": st.booleans()}),
    _frame("consumer", {**_stamps, "channel": st.none() | texts, "data": payloads, "origin": texts}),
    _frame("flushed", _of_client),
    _frame("tick", _stamps),
)

_TYPES: dict[str, dict[str, tuple[type, ...]]] = {
    "open": {
        "id": (str,), "path": (str,), "query": (str,), "headers": (list,), "remote": (list,),
        "subprotocol": (str, type(None)), "tls": (dict, type(None)), "auth": (dict, type(None)), "groups": (list,),
        "remembered": (dict,), "replay": (bool,), "traceparent": (str,),
    },
    "data": {"id": (str,), "data": (bytes,)},
    "message": {"id": (str,), "data": (str, bytes)},
    "disconnect": {"id": (str,), "code": (int,), "reason": (str,), "clean": (bool,), "replay": (bool,)},
    "consumer": {"channel": (str, type(None)), "origin": (str, type(None))},
    "flushed": {"id": (str,)},
}  # fmt: skip
"""The types of the fields of events, but for those of all."""

_VALUES: list[Any] = [5, -1, 2**63, 1.5, True, None, "x", "", b"x", [], ["x"], [["x", "y"]], [1, 2], {}, {"a": 1}]
_WRONG_LISTS: dict[str, list[Any]] = {
    "headers": [["x"], [["x"]], [["x", 5]], [[5, "x"]], [["a", "b", "c"]], [None]],
    "remote": [[], ["x"], ["x", 5, 6]],
    "groups": [[5], ["x", None]],
}


def wrong_values(kind: str, name: str) -> list[Any]:
    """Values that a field of an event of this type can't have."""
    types = {**_TYPES[kind], "seq": (int,), "time": (int, float)}[name]
    return [value for value in _VALUES if type(value) not in types] + _WRONG_LISTS.get(name, [])


ODD_FIELDS = [(kind, name) for kind, fields in _TYPES.items() for name in [*fields, "seq", "time"]]
"""Each field of each event that can be wrong, with the event's type."""


def sound_event(kind: str) -> dict[str, Any]:
    """An event of this type with what every filter may rely on."""
    of_type: dict[str, dict[str, Any]] = {
        "consumer": {"channel": "news", "data": "x"},
        "data": {"id": "a-1", "data": b"x"},
        "message": {"id": "a-1", "data": "x"},
    }
    return {"type": kind, "seq": 1, "time": 1.5, **of_type.get(kind, {"id": "a-1"})}


@st.composite
def odd_events(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """An event with one wrong field, and that field's name."""
    kind, name = draw(st.sampled_from(ODD_FIELDS))
    return {**sound_event(kind), name: draw(st.sampled_from(wrong_values(kind, name)))}, name


_cause = {"seq": st.integers(1, 2**40)}
actions = st.one_of(
    _frame("send", {"to": receivers, "data": payloads}, {**_cause, "except": ids}),
    _frame("send", {"to": ids, "data": st.lists(payloads, max_size=3)}),
    _frame("send", {"group": texts, "data": payloads}, {**_cause, "except": st.lists(ids, max_size=3)}),
    _frame("close", {"to": receivers}, {**_cause, "code": codes, "reason": st.text("ab é", max_size=20)}),
    _frame("join", {"id": ids, "group": texts}, _cause),
    _frame("leave", {"id": ids, "group": texts}, _cause),
    _frame("publish", {"channel": ids, "data": payloads}, _cause),
    _frame("enqueue", {"data": payloads | st.lists(st.integers(-5, 5), max_size=3)}, _cause),
    _frame("accept", {"id": ids}, {**_cause, "auth": st.none(), "subprotocol": st.none() | st.just("v1.chat")}),
    _frame("hold", {"id": ids}, _cause),
    _frame("flush", {"id": ids}, _cause),
    _frame("resume", {"id": ids}, _cause),
    _frame("want", {"events": st.lists(ids, max_size=2)}, _cause),
)

frames = st.one_of(events, actions)

hosts = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "unix"])
"""Addresses, some of which are of one network (proxies.group_of), and that of a Unix socket."""
