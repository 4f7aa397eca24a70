"""The bytes of keys and values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.storage.stored_form import from_bytes, to_bytes, value_from_bytes, value_to_bytes

# With surrogates, alone and in pairs, which st.text() leaves out.
texts = st.text(st.characters(codec=None, categories=None))
scalars = st.one_of(
    texts,
    st.builds(str.__add__, st.just("msgpack:"), texts),
    st.binary(),
    st.builds(bytes.__add__, st.just(b"msgpack:"), st.binary()),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.booleans(),
    st.none(),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)


nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(values, inner),
    max_leaves=8,
)


@given(values)
def test_what_comes_back_is_what_went_in_type_and_all(value: Any) -> None:
    # repr: it tells 1 from True, 0.0 from -0.0, and finds nan equal to nan.
    assert repr(from_bytes(to_bytes(value))) == repr(value)


@given(nested)
def test_what_a_list_or_map_holds_comes_back_type_and_all(value: Any) -> None:
    assert repr(value_from_bytes(value_to_bytes(value))) == repr(value)


@given(values, values)
def test_different_values_have_different_bytes(one: Any, other: Any) -> None:
    assert (to_bytes(one) == to_bytes(other)) == (repr(one) == repr(other))


@given(st.text())
def test_text_is_its_own_bytes(text: str) -> None:
    assert to_bytes(text) == text.encode()


@given(st.binary() | st.builds(bytes.__add__, st.just(b"msgpack:"), st.binary()))
def test_whatever_another_program_stored_is_a_value(data: bytes) -> None:
    hash(from_bytes(data))
    value_from_bytes(data)


def test_what_another_program_stored() -> None:
    assert from_bytes(b"abc") == "abc"
    assert from_bytes(b"\xff\xfe") == b"\xff\xfe"
    assert from_bytes(b"msgpack:\xc1") == b"msgpack:\xc1"
    assert from_bytes(b"msgpack:") == "msgpack:"
    assert from_bytes(b"msgpack:hello") == "msgpack:hello"
    assert from_bytes(b"msgpack:\x80") == b"msgpack:\x80", "a map has no hash"


def test_what_is_told_apart() -> None:
    values = ["1", b"1", 1, 1.0, True, ("1",), None, ()]
    assert len({to_bytes(value) for value in values}) == len(values)
    assert to_bytes(b"x") == b"msgpack:\xc4\x01x"
    assert math.isnan(from_bytes(to_bytes(math.nan)))


class TwoLines:
    def __repr__(self) -> str:
        return "two\nlines"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (object, "can't store type <class 'object'> ("),
        (2**64, "can't store int 18446744073709551616 ("),
        (frozenset("x"), "can't store frozenset frozenset({'x'}) ("),
        (TwoLines(), "can't store TwoLines two lines ("),
        (["x"], "can't store list ['x'] (unhashable type: 'list')"),
        (("x", {}), "can't store tuple ('x', {}) (unhashable type: 'dict')"),
        (bytearray(b"x"), "can't store bytearray bytearray(b'x') (unhashable type: 'bytearray')"),
        (memoryview(bytearray(b"x")), "can't store memoryview <memory at"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_named_in_one_line(value: Any, shown: str) -> None:
    with pytest.raises(TypeError) as caught:
        to_bytes(value)
    text = str(caught.value)
    assert text.startswith(shown)
    assert text.endswith("; expected str, bytes, int, float, bool, None or a tuple of these")
    assert "\n" not in text


def test_a_tuple_of_any_depth_is_stored_or_named() -> None:
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep,)
    with pytest.raises(TypeError, match="can't store tuple"):
        to_bytes(deep)


def nested_in(kind: type[list[Any]] | type[tuple[Any, ...]], depth: int) -> Any:
    value: Any = kind()
    for _ in range(depth):
        value = kind([value])
    return value


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_value_of_any_depth_is_stored_or_named(kind: type[list[Any]] | type[tuple[Any, ...]]) -> None:
    assert value_from_bytes(value_to_bytes(nested_in(kind, 50))) == nested_in(kind, 50)
    with pytest.raises(TypeError, match=f"can't store {kind.__name__}"):
        value_to_bytes(nested_in(kind, 100_000))


@pytest.mark.parametrize(
    "value",
    [object(), {"x"}, frozenset("x"), 2**64, [object()], {"x": {"y"}}, (object(),), TwoLines()],
    ids=lambda value: type(value).__name__,
)
def test_what_a_list_or_map_cannot_hold_is_named_in_one_line(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        value_to_bytes(value)
    text = str(caught.value)
    assert text.startswith(f"can't store {type(value).__name__} ")
    assert text.endswith("; expected str, bytes, int, float, bool, None, or a list, tuple or dict of these")
    assert "\n" not in text


def test_what_another_program_stored_in_a_list_or_map() -> None:
    assert value_from_bytes(b"abc") == "abc"
    assert value_from_bytes(b"\xff\xfe") == b"\xff\xfe"
    assert value_from_bytes(b"msgpack:\xc1") == b"msgpack:\xc1"
    assert value_from_bytes(b"msgpack:\xd4\x01\x01") == b"msgpack:\xd4\x01\x01", "a tuple's data is a list"
