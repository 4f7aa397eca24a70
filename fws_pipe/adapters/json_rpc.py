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
from fws_pipe.adapters.rpc_form import InvalidMessageError, Kind, Message, answered_id_of, call_id_of, kind_of
from fws_pipe.pipes.line_cutter import LineCutter
from fws_pipe.protocol.actions import CLOSE, SEND
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe
from fws_pipe.protocol.events import DISCONNECT, MESSAGE, OPEN
from fws_pipe.protocol.outgoing import Outgoing

HEADERS = Option("--headers", "each message has a Content-Length header, as in LSP; without it is a line, as in MCP")

REQUESTS_LIMIT = 1024
"""The most unanswered requests of one client, and of the program; a further one is answered with an error."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INTERNAL_ERROR = -32603
UNAVAILABLE = -32000
"""Error codes of JSON-RPC 2.0, section 5.1; UNAVAILABLE is from the range that servers define."""

_TOO_MANY = f"{REQUESTS_LIMIT} requests wait for answers"

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


class _Batch:
    """A list of messages of one client, whose answers are one list as well (JSON-RPC 2.0, section 6)."""

    def __init__(self) -> None:
        self.waiting = 1
        """How many of its requests are unanswered, and 1 while it is being read."""
        self.answers: list[Message] = []


class _Request(NamedTuple):
    """An unanswered request of a client."""

    client: str
    own_id: Any
    """The id that the client has chosen."""
    method: str
    tokens: list[str]
    """Our progress tokens in the request."""
    batch: _Batch | None
    """The list that the request came in; None: it came alone."""


class _Question(NamedTuple):
    """An unanswered request of the program, which was sent to `client`."""

    client: str
    own_id: Any
    """The id that the program has chosen."""


class JsonRpc(GivingTranslator):
    """The translator of jsonrpc. `tell` logs complaints; `has_headers`: the program is an LSP server."""

    handles = (OPEN, MESSAGE, DISCONNECT)

    def __init__(self, tell: Callable[[str], None], out: Outgoing, *, has_headers: bool) -> None:
        super().__init__(AtMostOnce(out), tell)
        self._has_headers = has_headers
        self._numbers = itertools.count(1)
        self._clients: dict[str, dict[str, int]] = {}
        """For each client that is served its unanswered requests: our number by the client's id as JSON."""
        self._closed: set[str] = set()
        """Clients of an earlier program, which are being closed."""
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

    def take(self, frame: Frame, handled: str) -> None:
        """Take a frame from stdin."""
        self._giving.pass_on(frame)
        if handled == OPEN:
            self._note_open(frame)
        elif handled == DISCONNECT:
            self._note_gone(frame)
        elif handled == MESSAGE:
            self._note_message(frame)

    def _note_open(self, event: Frame) -> None:
        if event.get("replay"):
            # The client has talked to an earlier program. No `seq`, since the close answers no event.
            reason = "the program has started anew"
            self._closed.add(event["id"])
            self._giving.write({"type": CLOSE, "to": event["id"], "code": SERVICE_RESTART, "reason": reason})
        else:
            self._clients.setdefault(event["id"], {})

    def _note_message(self, event: Frame) -> None:
        client = event["id"]
        if client in self._clients:
            self._take_message(event)
        elif client not in self._closed:
            self._tell(f"{client} has sent a message and has had no `open`; it is not served")

    def _note_gone(self, event: Frame) -> None:
        self._closed.discard(event["id"])
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

    def _reply(self, event: Frame, message: Message, batch: _Batch | None) -> None:
        """Answer a client in place of the program."""
        if batch is None:
            self._respond(event, message)
        else:
            batch.answers.append(message)

    def _respond(self, event: Frame, answer: Message | list[Message]) -> None:
        self._act(event, {"type": SEND, "to": event["id"], "data": _dump(answer)})

    def _act(self, event: Frame, action: Frame) -> None:
        """Do what an event asks for."""
        self._giving.write({**action, "seq": event["seq"]} if "seq" in event else action)

    # Messages of clients.

    def _take_message(self, event: Frame) -> None:
        if not isinstance(event["data"], str):
            self._act(event, {"type": CLOSE, "to": event["id"], "code": UNACCEPTABLE, "reason": "text only"})
            return
        try:
            parsed = json.loads(event["data"])
            _dump(parsed)
        except (ValueError, RecursionError):
            self._respond(event, _answer(None, error={"code": PARSE_ERROR, "message": "Parse error"}))
            return
        if isinstance(parsed, list) and parsed:
            self._take_batch(event, parsed)
        else:
            self._take_from_client(event, parsed, None)

    def _take_batch(self, event: Frame, messages: list[object]) -> None:
        batch = _Batch()
        for message in messages:
            self._take_from_client(event, message, batch)
        batch.waiting -= 1
        if not batch.waiting and batch.answers:
            self._respond(event, batch.answers)

    def _take_from_client(self, event: Frame, message: Any, batch: _Batch | None) -> None:
        try:
            kind = kind_of(message)
        except InvalidMessageError as error:
            self._refuse(event, message, error, batch)
            return
        if kind is Kind.ANSWER:
            self._take_client_answer(event, message)
        elif kind is Kind.REQUEST:
            self._take_request(event, message, batch)
        else:
            self._take_notification(event, message)

    def _refuse(self, event: Frame, message: object, fault: InvalidMessageError, batch: _Batch | None) -> None:
        error = {"code": INVALID_REQUEST, "message": f"Invalid Request: {fault}"}
        self._reply(event, _answer(call_id_of(message), error=error), batch)
        question = self._answered_question(event["id"], answered_id_of(message))
        if question is not None:
            error = {"code": INTERNAL_ERROR, "message": "the client's answer is no JSON-RPC 2.0"}
            self._give(event, _answer(question.own_id, error=error))

    def _take_request(self, event: Frame, message: Message, batch: _Batch | None) -> None:
        requests = self._clients[event["id"]]
        key = _dump(message["id"])
        if key in requests or len(requests) >= REQUESTS_LIMIT:
            problem = "this id is in use" if key in requests else _TOO_MANY
            self._reply(event, _answer(message["id"], error={"code": UNAVAILABLE, "message": problem}), batch)
            return
        known = self._once.answer_to(message) if self._has_headers else None
        if known is not None:
            self._reply(event, {**known, "id": message["id"]}, batch)
            return
        number = next(self._numbers)
        requests[key] = number
        if batch is not None:
            batch.waiting += 1
        tokens = self._replace_tokens(event["id"], message.get("params"))
        self._requests[number] = _Request(event["id"], message["id"], message["method"], tokens, batch)
        self._give(event, {**message, "id": number})

    def _take_notification(self, event: Frame, message: Message) -> None:
        method = message["method"]
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
                self._finish(self._forget(requests.pop(key)), None)

    def _take_client_answer(self, event: Frame, message: Message) -> None:
        question = self._answered_question(event["id"], answered_id_of(message))
        if question is not None:
            self._give(event, {**message, "id": question.own_id})

    def _answered_question(self, client: str, number: int | None) -> _Question | None:
        """Forget and return the question that a client answers; None: it was not asked that."""
        if number is None or number not in self._questions or self._questions[number].client != client:
            return None
        return self._questions.pop(number)

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

    def _take_from_program(self, message: Any) -> None:
        number = answered_id_of(message)
        try:
            kind = kind_of(message)
        except InvalidMessageError as error:
            self._tell(f"not JSON-RPC 2.0 ({error}): {describe(message)}; dropped")
            fault = {"code": INTERNAL_ERROR, "message": "the program's answer is no JSON-RPC 2.0"}
            self._take_answer(number, _answer(number, error=fault))
            return
        if kind is Kind.ANSWER:
            self._take_answer(number, message)
        elif kind is Kind.REQUEST:
            self._take_question(message)
        else:
            self._take_news(message)

    def _take_answer(self, number: int | None, message: Message) -> None:
        if number is None or number not in self._requests:
            return  # its client has gone meanwhile, or has cancelled the request
        request = self._forget(number)
        del self._clients[request.client][_dump(request.own_id)]
        self._once.note_answer(request.method, message)
        self._finish(request, {**message, "id": request.own_id})

    def _finish(self, request: _Request, answer: Message | None) -> None:
        """Answer a client's request, alone or with the others of its list; None: it has no answer."""
        batch = request.batch
        if batch is None:
            if answer is not None:
                self._send(request.client, answer)
            return
        batch.waiting -= 1
        if answer is not None:
            batch.answers.append(answer)
        if not batch.waiting and batch.answers:
            self._send(request.client, batch.answers)

    def _take_question(self, message: Message) -> None:
        """Send a request of the program to the client with the oldest unanswered request, or to the oldest client."""
        oldest = next(iter(self._requests.values()), None)
        client = oldest.client if oldest is not None else next(iter(self._clients), None)
        if client is None or len(self._questions) >= REQUESTS_LIMIT:
            problem = "no client is here" if client is None else _TOO_MANY
            self._give({}, _answer(message["id"], error={"code": UNAVAILABLE, "message": problem}))
            return
        number = next(self._numbers)
        self._questions[number] = _Question(client, message["id"])
        self._send(client, {**message, "id": number})

    def _take_news(self, message: Message) -> None:
        params = message.get("params")
        method = message["method"]
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
            if _dump(question.own_id) == _dump(params.get(field)):
                self._send(question.client, {**message, "params": {**params, field: number}})
                return

    def _send(self, client: str, message: Message | list[Message]) -> None:
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
