"""Each answer finds who has asked, whatever ids the clients have chosen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.arguments import parse_words
from fws_pipe.adapters.content_length import MessageCutter
from fws_pipe.adapters.json_rpc import HEADERS, REQUESTS_LIMIT, cutter, make
from fws_pipe.adapters.rpc_form import kind_of
from fws_pipe.pipes.line_cutter import LineCutter
from fws_pipe.protocol.codec import Frame
from tests.unit.adapters.conversation import Conversation, message

Message = dict[str, Any]


class Talk(Conversation):
    """The same with messages of JSON-RPC, and clients a and b."""

    def __init__(self, *words: str) -> None:
        super().__init__(make, [HEADERS], *words)
        self._has_headers = bool(words)
        for client in ("a", "b"):
            self.give({"type": "open", "id": client})
        self.frames()

    def say(self, client: str, *messages: Any, **fields: object) -> list[Message]:
        """A client says something; returns what the program reads."""
        raw = b"".join(self.give({**message(json.dumps(spoken), client=client), **fields}) for spoken in messages)
        return self.read(raw)

    def read(self, raw: bytes) -> list[Message]:
        """What the program reads of these bytes."""
        parts = MessageCutter().feed(raw) if self._has_headers else raw.splitlines()
        return [json.loads(part) for part in parts]

    def program(self, *messages: Any) -> list[tuple[Any, Any]]:
        """The program says something; returns who gets what."""
        return self.sent(self.answer(*[json.dumps(spoken).encode() for spoken in messages]))

    def sent(self, frames: list[Frame]) -> list[tuple[Any, Any]]:
        """Who gets what by these frames."""
        return [(frame["to"], json.loads(frame["data"])) for frame in frames if frame["type"] == "send"]

    def leave(self, client: str) -> list[Message]:
        """A client leaves; returns what the program reads."""
        return self.read(self.give({"type": "disconnect", "id": client, "code": 1000}))


def ask(number: object, method: str = "go", **params: object) -> Message:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def tell(method: str, **params: object) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(number: object, value: object = 0) -> Message:
    return {"jsonrpc": "2.0", "id": number, "result": value}


ids = st.one_of(st.integers(-3, 3), st.sampled_from(["1", "a", "", None, 1.5]))


@given(st.lists(st.tuples(st.sampled_from("ab"), ids), unique_by=lambda pair: (pair[0], repr(pair[1]))), st.randoms())
def test_answers_go_to_who_has_asked_under_its_own_id(asked: list[tuple[str, object]], random: Any) -> None:
    talk = Talk()
    read = [talk.say(client, ask(own_id, n=place)) for place, (client, own_id) in enumerate(asked)]
    numbers = [spoken["id"] for [spoken] in read]
    assert len(set(numbers)) == len(numbers)
    order = list(range(len(asked)))
    random.shuffle(order)
    for place in order:
        [(client, answer)] = talk.program(result(numbers[place], place))
        assert (client, repr(answer["id"]), answer["result"]) == (asked[place][0], repr(asked[place][1]), place)


def test_news_go_to_all_and_errors_to_one() -> None:
    talk = Talk()
    assert talk.program(tell("news")) == [(["a", "b"], tell("news"))]
    [request] = talk.say("b", ask("x"))
    error = {"code": 5, "message": "no"}
    assert talk.program({"jsonrpc": "2.0", "id": request["id"], "error": error}) == [
        ("b", {"jsonrpc": "2.0", "id": "x", "error": error})
    ]
    assert talk.program(result(request["id"])) == []
    talk.leave("a")
    talk.leave("b")
    assert talk.program(tell("news")) == []


def test_what_a_client_has_asked_is_cancelled_when_it_leaves() -> None:
    talk = Talk()
    talk.say("a", ask(0, "initialize"))
    [request] = talk.say("a", ask(1))
    assert talk.leave("a") == [tell("notifications/cancelled", requestId=request["id"], reason="the client has gone")]
    assert talk.program(result(request["id"])) == []
    lsp = Talk("--headers")
    [request] = lsp.say("a", ask(1))
    assert lsp.leave("a") == [tell("$/cancelRequest", id=request["id"])]


def test_a_client_cancels_its_own_request_only() -> None:
    talk = Talk()
    [request] = talk.say("a", ask(7))
    cancel = tell("notifications/cancelled", requestId=7)
    assert talk.say("b", cancel) == []
    assert talk.say("a", tell("notifications/cancelled"), {**cancel, "params": None}) == []
    assert talk.say("a", cancel) == [tell("notifications/cancelled", requestId=request["id"])]
    assert talk.say("a", cancel) == []
    assert talk.program(result(request["id"])) == []
    lsp = Talk("--headers")
    [request] = lsp.say("a", ask(7))
    assert lsp.say("a", tell("$/cancelRequest", id=7)) == [tell("$/cancelRequest", id=request["id"])]
    assert lsp.program(result(request["id"])) == [("a", result(7))]


@pytest.mark.parametrize(
    ("params", "method", "field"),
    [
        ({"_meta": {"progressToken": 7}}, "notifications/progress", "progressToken"),
        ({"workDoneToken": 7}, "$/progress", "token"),
        ({"partialResultToken": 7}, "$/progress", "token"),
    ],
)
def test_progress_goes_to_who_waits_for_it(params: Message, method: str, field: str) -> None:
    talk = Talk()
    read = [talk.say(client, ask(7, **params))[0] for client in "ab"]
    name, value = next(iter(read[1]["params"].items()))
    ours = value["progressToken"] if name == "_meta" else value
    assert talk.program(tell(method, **{field: ours})) == [("b", tell(method, **{field: 7}))]
    talk.program(result(read[1]["id"]))
    assert talk.program(tell(method, **{field: ours})) == []
    assert talk.program(tell(method, **{field: "the program's own"})) == [
        (["a", "b"], tell(method, **{field: "the program's own"}))
    ]


def test_the_program_asks_the_client_that_it_works_for() -> None:
    talk = Talk()
    talk.say("b", ask(1))
    [(client, question)] = talk.program(ask("q", "roots/list"))
    assert client == "b"
    assert talk.say("a", result(question["id"])) == []
    assert talk.say("b", result("unknown"), result(question["id"], 5)) == [result("q", 5)]
    [(_, question)] = talk.program(ask("r"))
    assert talk.program(tell("notifications/cancelled", requestId="r")) == [
        ("b", tell("notifications/cancelled", requestId=question["id"]))
    ]
    assert talk.program(tell("notifications/cancelled", requestId="unknown")) == []
    assert [spoken.get("error", {}).get("message") for spoken in talk.leave("b")] == [None, "the client has gone"]
    [(client, _)] = talk.program(ask("s"))
    assert client == "a"
    talk.leave("a")
    assert talk.program(ask("t")) == []
    [answer] = talk.read(talk.translator.lines())
    assert (answer["id"], answer["error"]["message"]) == ("t", "no client is here")


def test_the_clients_of_an_older_program_begin_again() -> None:
    talk = Talk()
    talk.give(
        {"type": "open", "id": "c", "seq": 1, "replay": True}, message('{"jsonrpc":"2.0","method":"lost"}', client="c")
    )
    closed = [frame for frame in talk.frames() if frame["type"] == "close"]
    assert closed == [{"type": "close", "to": "c", "code": 1012, "reason": "the program has started anew"}]
    assert talk.told == []
    talk.leave("c")
    assert talk.say("c", tell("x")) == []
    assert talk.told == ["c has sent a message and has had no `open`; it is not served"]
    assert "1012" in talk.translator.promise


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", -32700), ("[" * 100_000, -32700), ('{"id":1e400,"method":"x"}', -32700),
        ("[]", -32600), ("5", -32600), ('{"jsonrpc":"2.0","id":1}', -32600), ('{"id":1,"result":0}', -32600),
    ],
)  # fmt: skip
def test_what_is_no_json_rpc_is_answered_and_not_passed_on(text: str, code: int) -> None:
    talk = Talk()
    assert talk.give(message(text, client="a")) == b""
    [(client, answer)] = talk.sent(talk.frames())
    assert (client, answer["id"], answer["error"]["code"]) == ("a", None, code)


@pytest.mark.parametrize(
    ("wrong", "own_id"),
    [
        ({"method": 7}, 1), ({"method": None}, 1), ({"jsonrpc": "1.0"}, 1), ({"jsonrpc": 2.0}, 1), ({"params": 5}, 1),
        ({"params": "x"}, 1), ({"id": True}, None), ({"id": [1]}, None), ({"id": {}}, None),
    ],
)  # fmt: skip
def test_an_invalid_request_is_answered_and_does_not_wait(wrong: Message, own_id: object) -> None:
    talk = Talk()
    for _ in range(REQUESTS_LIMIT + 1):
        assert talk.say("a", {**ask(1), **wrong}) == []
    answers = talk.sent(talk.frames())
    assert {(client, answer["id"], answer["error"]["code"]) for client, answer in answers} == {("a", own_id, -32600)}
    assert len(answers) == REQUESTS_LIMIT + 1
    assert len(talk.say("a", ask(1))) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab1"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["code", "message", "x"]), inner),
    max_leaves=4,
)
methods = st.sampled_from(["go", "initialize", "notifications/cancelled", "notifications/progress"])
params = st.dictionaries(st.sampled_from(["requestId", "_meta", "progressToken"]), json_values)
odd_messages = st.one_of(
    json_values,
    st.fixed_dictionaries({}, optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "1.0", 2]),
        "id": st.integers(0, 4) | json_values,
        "method": methods | json_values, "params": params | json_values,
        "result": json_values, "error": json_values,
    }),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "program"]), odd_messages), max_size=12))
def test_whatever_is_said_each_message_is_passed_on_or_answered(said: list[tuple[str, Any]]) -> None:
    """Nothing raises; what the program reads, and what clients get, is JSON-RPC; whoever leaves leaves nothing."""
    talk = Talk()
    for speaker, spoken in said:
        if speaker == "program":
            got = talk.program(spoken)
            read = talk.read(talk.translator.lines())
        else:
            read = talk.say(speaker, spoken)
            got = talk.sent(talk.frames())
            if not isinstance(spoken, dict) or spoken.get("jsonrpc") != "2.0":
                invalid = [answer for _, answer in got if not isinstance(answer, list)]
                assert isinstance(spoken, list) or [answer["error"]["code"] for answer in invalid] == [-32600]
        for part in [*read, *(answer for _, answer in got)]:
            for single in part if isinstance(part, list) else [part]:
                kind_of(single)
    talk.leave("a")
    talk.leave("b")
    assert not any(vars(talk.translator)[name] for name in ("_clients", "_requests", "_questions", "_tokens"))


def test_a_binary_message_closes_its_client() -> None:
    talk = Talk()
    talk.give(message(b"\0", client="a"))
    assert talk.frames()[-1] == {"type": "close", "to": "a", "code": 1003, "reason": "text only", "seq": 1}


def test_a_list_is_taken_apart_and_answered_by_a_list() -> None:
    talk = Talk()
    read = talk.say("a", [ask(1), tell("x"), ask(2), 5, ask(3)])
    assert [spoken["method"] for spoken in read] == ["go", "x", "go", "go"]
    assert talk.program(result(read[2]["id"], "second")) == []
    assert talk.say("a", tell("notifications/cancelled", requestId=3)) != []
    [(client, answers)] = talk.program(result(read[0]["id"], "first"))
    assert client == "a"
    assert answers == [ANSWERED_5, result(2, "second"), result(1, "first")]
    assert talk.say("a", [tell("x"), tell("y")]) != []
    assert talk.sent(talk.frames()) == []
    assert talk.say("a", [5, 5]) == []
    assert talk.sent(talk.frames()) == [("a", [ANSWERED_5, ANSWERED_5])]


ANSWERED_5 = {
    "jsonrpc": "2.0", "id": None,
    "error": {"code": -32600, "message": "Invalid Request: expected an object, got int 5"},
}  # fmt: skip


def test_a_list_that_waits_for_nothing_more_is_answered_when_its_last_request_is_cancelled() -> None:
    talk = Talk()
    [first, _] = talk.say("a", [ask(1), ask(2)])
    assert talk.program(result(first["id"])) == []
    talk.say("a", tell("notifications/cancelled", requestId=2))
    assert talk.sent(talk.frames()) == [("a", [result(1)])]
    talk.say("a", [ask(1), ask(2)])
    talk.leave("a")
    assert talk.sent(talk.frames()) == []


def test_an_invalid_answer_leaves_nobody_waiting() -> None:
    talk = Talk()
    [request] = talk.say("a", ask("x"))
    [(client, answer)] = talk.program({"id": request["id"], "result": 0})
    assert (client, answer["id"], answer["error"]["code"]) == ("a", "x", -32603)
    [(client, question)] = talk.program(ask("q"))
    assert client == "a"
    [answer] = talk.say("a", {"jsonrpc": "2.0", "id": question["id"], "result": 0, "error": 0})
    assert (answer["id"], answer["error"]["code"]) == ("q", -32603)
    assert [answer["id"] for _, answer in talk.sent(talk.frames())] == [None]


def test_too_many_questions_of_the_program_are_refused() -> None:
    talk = Talk()
    for number in range(REQUESTS_LIMIT):
        assert len(talk.program(ask(number))) == 1
    assert talk.program(ask("more")) == []
    [answer] = talk.read(talk.translator.lines())
    assert (answer["id"], answer["error"]["message"]) == ("more", "1024 requests wait for answers")


def test_the_lists_of_a_program_are_taken_apart() -> None:
    talk = Talk()
    assert talk.sent(talk.answer(json.dumps([tell("x"), tell("y")]).encode())) == [
        (["a", "b"], tell("x")), (["a", "b"], tell("y")),
    ]  # fmt: skip


def test_too_many_requests_and_ids_in_use_are_refused() -> None:
    talk = Talk()
    for number in range(REQUESTS_LIMIT):
        talk.say("a", ask(number))
    assert talk.say("a", ask("one more")) == talk.say("a", ask(1)) == []
    answers = talk.sent(talk.frames())
    assert [answer["error"]["message"] for _, answer in answers] == [
        "1024 requests wait for answers",
        "this id is in use",
    ]
    assert len(talk.say("b", ask(1))) == 1


def test_a_server_of_lsp_is_started_once_and_ended_by_nobody() -> None:
    talk = Talk("--headers")
    [request] = talk.say("a", ask(1, "initialize"))
    talk.program(result(request["id"], {"capabilities": {}}))
    talk.frames()
    assert talk.say("b", ask("i", "initialize")) == talk.say("b", ask("s", "shutdown"), tell("exit")) == []
    assert talk.sent(talk.frames()) == [
        ("b", result("i", {"capabilities": {}})), ("b", {"jsonrpc": "2.0", "result": None, "id": "s"}),
    ]  # fmt: skip
    assert talk.say("a", tell("initialized"), tell("initialized")) == [tell("initialized")]


def test_garbage_of_the_program_is_told_and_dropped() -> None:
    talk = Talk()
    assert talk.answer(b"", b"nonsense", b"5", b'{"jsonrpc":"2.0","method":5}', b"\xff") == []
    talk.translator.note_dropped(2)
    assert [line.split("(")[0].split(",")[0].strip() for line in talk.told] == [
        "not JSON", "not JSON-RPC 2.0", "not JSON-RPC 2.0", "not JSON",
        "2 lines over the limit of 16777216 bytes; dropped",
    ]  # fmt: skip


def test_other_frames_pass() -> None:
    talk = Talk()
    passed: list[Frame] = [{"type": "send", "to": "x", "data": ""}, {"type": "message", "id": "a"}, {"no": "type"}]
    assert talk.give(*passed, {"type": "tick", "seq": 5}) == b""
    assert talk.frames() == [*passed, {"type": "tick", "seq": 5}]
    talk.translator.end()
    assert (talk.translator.missing(), talk.translator.unanswered) == ("", 0)


def test_what_cuts() -> None:
    assert isinstance(cutter(parse_words([HEADERS], [])), LineCutter)
    assert isinstance(cutter(parse_words([HEADERS], ["--headers"])), MessageCutter)
