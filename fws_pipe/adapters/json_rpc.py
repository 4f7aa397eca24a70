"""jsonrpc: one JSON-RPC program on stdio, such as an MCP or LSP server, serves all clients. No I/O.

A client's request goes to the program under a number of the adapter's own, and the answer goes back to that client
under the id that it has chosen. A notification of the program goes to all clients, but one about the progress or the
cancellation of a request only to the client concerned. When a client leaves, its unanswered requests are cancelled.

Specifications: JSON-RPC 2.0 (https://www.jsonrpc.org/specification), the Model Context Protocol
(https://modelcontextprotocol.io), the Language Server Protocol.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from fws_pipe.adapters.arguments import Option, Words
from fws_pipe.adapters.content_length import MessageCutter, with_header
from fws_pipe.adapters.giving import AtMostOnce, GivingTranslator
from fws_pipe.adapters.lines import LINE_LIMIT_BYTES
from fws_pipe.pipes.line_cutter import LineCutter
from fws_pipe.protocol.actions import CLOSE, SEND
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe
from fws_pipe.protocol.events import DISCONNECT, MESSAGE, OPEN, REQUIRED_FIELDS
from fws_pipe.protocol.outgoing import Outgoing

Message = dict[str, Any]
"""A request, a notification or an answer."""

HEADERS = Option("--headers", "each message has a Content-Length header, as in LSP; without it is a line, as in MCP")

REQUESTS_LIMIT = 1024
"""The most unanswered requests of one client; a further one is answered with an error."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
UNAVAILABLE = -32000
"""Error codes of JSON-RPC 2.0, section 5.1; UNAVAILABLE is from the range that servers define."""

SERVICE_RESTART = 1012
UNACCEPTABLE = 1003
"""Close codes (RFC 6455, section 7.4.1, and the IANA registry)."""

_CANCELLATIONS = {"notifications/cancelled": "requestId", "$/cancelRequest": "id"}
"""The notifications that cancel a request, in MCP and LSP, and their field for its id."""

_PROGRESS = {"notifications/progress": "progressToken", "$/progress": "token"}
_TOKENS = ("workDoneToken", "partialResultToken")
"""The notifications of progress, with their field for the token; and the fields for tokens in an LSP request."""

_OUR_TOKEN = "fws-"
"""The beginning of our progress tokens."""


class _Request(NamedTuple):
    """An unanswered request of a client."""

    client: str
    own_id: Any
    """The id that the client has chosen."""
    method: str
    tokens: list[str]
    """Our progress tokens in the request."""


class _Question(NamedTuple):
    """An unanswered request of the program, which was sent to `client`."""

    client: str
    own_id: Any
    """The id that the program has chosen."""


class JsonRpc(GivingTranslator):
    """The translator of jsonrpc. `tell` logs complaints; `has_headers`: the program is an LSP server."""

    def __init__(self, tell: Callable[[str], None], out: Outgoing, *, has_headers: bool) -> None:
        super().__init__(AtMostOnce(out), tell)
        self._has_headers = has_headers
        self._numbers = itertools.count(1)
        self._clients: dict[str, dict[str, int]] = {}
        """For each client that is served its unanswered requests: our number by the client's id as JSON."""
        self._requests: dict[int, _Request] = {}
        self._questions: dict[int, _Question] = {}
        self._tokens: dict[str, tuple[str, Any]] = {}
        """The client and its own token, by our progress token."""
        self._once = _Once()

    # Events.

    @property
    def promise(self) -> str:
        """For the log: what happens to the clients if the program dies."""
        return "when it dies its clients are closed with 1012, and begin again with the next one"

    def take(self, frame: Frame) -> None:
        """Take a frame from stdin."""
        self._giving.pass_on(frame)
        kind = frame.get("type")
        if type(kind) is not str or any(name not in frame for name in REQUIRED_FIELDS.get(kind, ())):
            return
        if kind == OPEN:
            self._note_open(frame)
        elif kind == DISCONNECT:
            self._note_gone(frame)
        elif kind == MESSAGE and frame["id"] in self._clients:
            self._take_message(frame)

    def _note_open(self, event: Frame) -> None:
        if event.get("replay"):
            # The client has talked to an earlier program. No `seq`, since the close answers no event.
            reason = "the program has started anew"
            self._giving.write({"type": CLOSE, "to": event["id"], "code": SERVICE_RESTART, "reason": reason})
        else:
            self._clients[event["id"]] = {}

    def _note_gone(self, event: Frame) -> None:
        for number in self._clients.pop(event["id"], {}).values():
            request = self._forget(number)
            if request.method != "initialize":  # MCP forbids cancelling it
                self._give(event, self._cancellation(number))
        for number in [number for number, question in self._questions.items() if question.client == event["id"]]:
            error = {"code": UNAVAILABLE, "message": "the client has gone"}
            self._give(event, _answer(self._questions.pop(number).own_id, error=error))

    def _cancellation(self, number: int) -> Message:
        if self._has_headers:
            return {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": number}}
        params = {"requestId": number, "reason": "the client has gone"}
        return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}

    def _give(self, event: Frame, message: Message) -> None:
        raw = _dump(message).encode()
        self._giving.give(event, with_header(raw) if self._has_headers else raw + b"\n")

    def _reply(self, event: Frame, message: Message) -> None:
        """Answer a client in place of the program."""
        reply: Frame = {"type": SEND, "to": event["id"], "data": _dump(message)}
        self._giving.write({**reply, "seq": event["seq"]} if "seq" in event else reply)

    # Messages of clients.

    def _take_message(self, event: Frame) -> None:
        if not isinstance(event["data"], str):
            close: Frame = {"type": CLOSE, "to": event["id"], "code": UNACCEPTABLE, "reason": "text only"}
            self._giving.write({**close, "seq": event["seq"]} if "seq" in event else close)
            return
        try:
            parsed = json.loads(event["data"])
            _dump(parsed)
        except (ValueError, RecursionError):
            self._reply(event, _answer(None, error={"code": PARSE_ERROR, "message": "Parse error"}))
            return
        for message in parsed if isinstance(parsed, list) and parsed else [parsed]:
            self._take_from_client(event, message)

    def _take_from_client(self, event: Frame, message: object) -> None:
        if not isinstance(message, dict) or not ({"method", "result", "error"} & message.keys()):
            self._reply(event, _answer(None, error={"code": INVALID_REQUEST, "message": "Invalid Request"}))
        elif "method" not in message:
            self._take_client_answer(event, message)
        elif "id" in message:
            self._take_request(event, message)
        else:
            self._take_notification(event, message)

    def _take_request(self, event: Frame, message: Message) -> None:
        requests = self._clients[event["id"]]
        key = _dump(message["id"])
        if key in requests or len(requests) >= REQUESTS_LIMIT:
            problem = "this id is in use" if key in requests else f"{REQUESTS_LIMIT} requests wait for answers"
            self._reply(event, _answer(message["id"], error={"code": UNAVAILABLE, "message": problem}))
            return
        known = self._once.answer_to(message) if self._has_headers else None
        if known is not None:
            self._reply(event, {**known, "id": message["id"]})
            return
        number = next(self._numbers)
        requests[key] = number
        tokens = self._replace_tokens(event["id"], message.get("params"))
        self._requests[number] = _Request(event["id"], message["id"], str(message["method"]), tokens)
        self._give(event, {**message, "id": number})

    def _take_notification(self, event: Frame, message: Message) -> None:
        method = str(message["method"])
        if method in _CANCELLATIONS:
            self._take_cancellation(event, message, _CANCELLATIONS[method])
        elif not (self._has_headers and self._once.has_had(message)):
            self._give(event, message)

    def _take_cancellation(self, event: Frame, message: Message, field: str) -> None:
        params = message.get("params")
        if not isinstance(params, dict) or field not in params:
            return
        requests, key = self._clients[event["id"]], _dump(params[field])
        if key in requests:
            self._give(event, {**message, "params": {**params, field: requests[key]}})
            if not self._has_headers:  # MCP doesn't answer a cancelled request, LSP does
                self._forget(requests.pop(key))

    def _take_client_answer(self, event: Frame, message: Message) -> None:
        number = message.get("id")
        question = self._questions.get(number) if type(number) is int else None
        if question is not None and question.client == event["id"]:
            del self._questions[number]  # type: ignore[arg-type]  # it is an int: the question was found
            self._give(event, {**message, "id": question.own_id})

    def _replace_tokens(self, client: str, params: object) -> list[str]:
        """Replace a client's progress tokens, which another client may have chosen too, by ours; returns ours."""
        places: list[tuple[Message, str]] = []
        if isinstance(params, dict):
            places += [(params, name) for name in _TOKENS if name in params]
            meta = params.get("_meta")
            if isinstance(meta, dict) and "progressToken" in meta:
                places.append((meta, "progressToken"))
        tokens = []
        for place, name in places:
            token = f"{_OUR_TOKEN}{next(self._numbers)}"
            self._tokens[token] = (client, place[name])
            place[name] = token
            tokens.append(token)
        return tokens

    def _forget(self, number: int) -> _Request:
        request = self._requests.pop(number)
        for token in request.tokens:
            del self._tokens[token]
        return request

    # Messages of the program.

    def take_lines(self, lines: list[bytes]) -> None:
        """Take messages of the program."""
        for line in lines:
            if not line.strip():
                continue
            try:
                message = json.loads(line)
                _dump(message)
            except (ValueError, RecursionError) as error:
                self._tell(f"not JSON ({error}): {describe(line)}; dropped")
                continue
            for part in message if isinstance(message, list) else [message]:
                self._take_from_program(part)

    def _take_from_program(self, message: object) -> None:
        if not isinstance(message, dict) or not ({"method", "id"} & message.keys()):
            self._tell(f"expected a JSON-RPC message, got {describe(message)}; dropped")
        elif "method" not in message:
            self._take_answer(message)
        elif "id" in message:
            self._take_question(message)
        else:
            self._take_news(message)

    def _take_answer(self, message: Message) -> None:
        number = message["id"]
        if type(number) is not int or number not in self._requests:
            return  # the client has left, or has cancelled the request
        request = self._forget(number)
        del self._clients[request.client][_dump(request.own_id)]
        self._once.note_answer(request.method, message)
        self._send(request.client, {**message, "id": request.own_id})

    def _take_question(self, message: Message) -> None:
        """Send a request of the program to the client with the oldest unanswered request, or to the oldest client."""
        oldest = next(iter(self._requests.values()), None)
        client = oldest.client if oldest is not None else next(iter(self._clients), None)
        if client is None:
            self._give({}, _answer(message["id"], error={"code": UNAVAILABLE, "message": "no client is here"}))
            return
        number = next(self._numbers)
        self._questions[number] = _Question(client, message["id"])
        self._send(client, {**message, "id": number})

    def _take_news(self, message: Message) -> None:
        params = message.get("params")
        method = str(message["method"])
        if isinstance(params, dict) and method in _PROGRESS:
            field = _PROGRESS[method]
            token = params.get(field)
            if isinstance(token, str) and token.startswith(_OUR_TOKEN):
                if token in self._tokens:  # otherwise its request has been answered
                    client, own_token = self._tokens[token]
                    self._send(client, {**message, "params": {**params, field: own_token}})
                return
        elif isinstance(params, dict) and method in _CANCELLATIONS:
            self._cancel_question(message, params, _CANCELLATIONS[method])
            return
        if self._clients:
            self._giving.write({"type": SEND, "to": list(self._clients), "data": _dump(message)})

    def _cancel_question(self, message: Message, params: Message, field: str) -> None:
        for number, question in self._questions.items():
            if question.own_id == params.get(field):
                self._send(question.client, {**message, "params": {**params, field: number}})
                return

    def _send(self, client: str, message: Message) -> None:
        self._giving.write({"type": SEND, "to": client, "data": _dump(message)})


class _Once:
    """Lets only one client initialize an LSP server, and none shut it down, since the server serves all clients."""

    def __init__(self) -> None:
        self._initialized: Message | None = None
        """The answer to the first `initialize`."""
        self._has_been_told = False

    def answer_to(self, request: Message) -> Message | None:
        """The adapter's own answer to a request; None: the program has to answer it."""
        if request["method"] == "shutdown":
            return {"jsonrpc": "2.0", "result": None}
        return self._initialized if request["method"] == "initialize" else None

    def has_had(self, notification: Message) -> bool:
        """Whether to keep a notification from the program, since it has had it, or must never get it."""
        if notification["method"] == "initialized":
            has_been_told, self._has_been_told = self._has_been_told, True
            return has_been_told
        return bool(notification["method"] == "exit")

    def note_answer(self, method: str, answer: Message) -> None:
        """Note the program's answer to a request."""
        if method == "initialize" and "result" in answer:
            self._initialized = answer


def _answer(message_id: Any, *, error: Message) -> Message:
    return {"jsonrpc": "2.0", "id": message_id, "error": error}


def _dump(value: object) -> str:
    """A value as one line of JSON in ASCII. Raises ValueError for a number without a form in JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def make(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> JsonRpc:
    """Make the translator of the filter jsonrpc."""
    return JsonRpc(tell, out, has_headers=words.has(HEADERS))


def cutter(words: Words) -> LineCutter | MessageCutter:
    """Make the cutter for the program's output."""
    return MessageCutter() if words.has(HEADERS) else LineCutter(LINE_LIMIT_BYTES)
