"""lines: events as lines of tab-separated fields, and such lines as actions. No I/O.

The program reads lines such as `message⇥ID⇥TEXT`, and writes lines such as `send⇥ID⇥TEXT`. In a field `%0A`, `%0D`,
`%09` and `%25` stand for LF, CR, TAB and the percent sign; the last field of a line from the program may also hold tabs
and percent signs as they are. Events bypass the program on their way to the next stage. With acknowledgements the
program writes an empty line behind its answers to each line.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import NamedTuple

from fws_pipe.adapters.arguments import Words
from fws_pipe.adapters.giving import GivingTranslator, giving_of
from fws_pipe.adapters.lines import escape, unescape, without_return
from fws_pipe.protocol.actions import (
    ACCEPT,
    CLOSE,
    EVERYONE,
    JOIN,
    LEAVE,
    PUBLISH,
    REJECT,
    SEND,
    check_action,
)
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe
from fws_pipe.protocol.events import CONSUMER, DISCONNECT, MESSAGE, OPEN
from fws_pipe.protocol.json_form import value_to_json
from fws_pipe.protocol.outgoing import Outgoing


class TextLines(GivingTranslator):
    """The translator of lines."""

    handles = (OPEN, MESSAGE, DISCONNECT, CONSUMER)

    def take(self, frame: Frame, handled: str) -> None:
        """Take a frame from stdin."""
        self._giving.pass_on(frame)
        if handled:
            fields = [escape(field) for field in _LINES[handled](frame)]
            self._giving.give(frame, ("\t".join(fields) + "\n").encode(errors="surrogateescape"))

    def take_lines(self, lines: list[bytes]) -> None:
        """Take lines of the program: actions, acknowledgements, and lines that are dropped with a complaint."""
        for line in lines:
            text = without_return(line)
            if not text:
                self._giving.acknowledge()
                continue
            try:
                action = action_of(text)
            except ValueError as error:
                self._tell(f"{error}, got {describe(line)}; dropped")
            else:
                self._giving.write(action)


def make(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> TextLines:
    """Make the translator of the filter lines."""
    return TextLines(giving_of(words, tell, decoder, out), tell)


# Events as fields.


def _open(event: Frame) -> list[str]:
    query = event.get("query")
    target = f"{event.get('path', '')}?{query}" if query else event.get("path", "")
    return ["open", event["id"], target, *(["replay"] if event.get("replay") else [])]


def _message(event: Frame) -> list[str]:
    return _named("message", "binary", event["id"], event["data"])


def _close(event: Frame) -> list[str]:
    return ["close", event["id"], str(event.get("code", ""))]


def _consumer(event: Frame) -> list[str]:
    return _named("consumer", "consumer-binary", event["channel"] or "", event["data"])


def _named(text_verb: str, binary_verb: str, name: str, data: object) -> list[str]:
    if isinstance(data, bytes):
        return [binary_verb, name, binascii.b2a_base64(data, newline=False).decode()]
    return [text_verb, name, data if isinstance(data, str) else _json_of(data)]


def _json_of(data: object) -> str:
    """A value from the queue as JSON; a value nested too deeply as a description."""
    try:
        return value_to_json(data)
    except (ValueError, RecursionError):
        return describe(data)


_LINES: dict[str, Callable[[Frame], list[str]]] = {
    OPEN: _open,
    MESSAGE: _message,
    DISCONNECT: _close,
    CONSUMER: _consumer,
}


# Actions from fields.


def action_of(line: bytes) -> Frame:
    """The action of a line. Raises ValueError with what was expected."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("expected UTF-8") from None
    verb = text.split("\t", 1)[0]
    form = _FORMS.get(verb)
    if form is None:
        raise ValueError(f"expected one of {', '.join(_FORMS)} and a tab at the beginning of a line")
    # The last field may hold tabs as they are.
    fields = [unescape(field) for field in text.split("\t", len(form.fields))[1:]]
    if len(fields) < form.required:
        raise ValueError(f"expected {'⇥'.join([verb, *form.fields])}")
    action = form.make(*fields)
    problem = check_action(action)
    if problem:
        raise ValueError(problem.split(", got ")[0])
    return action


def _receivers(to: str) -> Frame:
    if to.startswith("@"):
        return {"group": to[1:]}
    return {"to": EVERYONE, "except": to[1:]} if to.startswith("!") else {"to": to}


def _send(to: str, text: str) -> Frame:
    return {"type": SEND, **_receivers(to), "data": text}


def _binary(to: str, encoded: str) -> Frame:
    return {"type": SEND, **_receivers(to), "data": _bytes_of(encoded)}


def _publish(channel: str, text: str) -> Frame:
    return {"type": PUBLISH, "channel": channel, "data": text}


def _publish_binary(channel: str, encoded: str) -> Frame:
    return {"type": PUBLISH, "channel": channel, "data": _bytes_of(encoded)}


def _close_client(client: str, code: str = "", reason: str = "") -> Frame:
    return {"type": CLOSE, "to": client, "code": _number(code, 1000), "reason": reason}


def _reject(client: str, status: str = "", reason: str = "") -> Frame:
    return {"type": REJECT, "id": client, "status": _number(status, 403), "reason": reason}


def _bytes_of(encoded: str) -> bytes:
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise ValueError("expected base64 in its last field") from None


_DIGITS = 10
"""No number in a line has as many digits."""


def _number(text: str, default: int) -> int:
    if text and not (text.isascii() and text.isdecimal() and len(text) < _DIGITS):
        raise ValueError("expected a number in its third field")
    return int(text) if text else default


class _Form(NamedTuple):
    """The form of a line, by its verb."""

    fields: tuple[str, ...]
    """The fields behind the verb, as messages show them."""
    required: int
    """The number of fields that must be there."""
    make: Callable[..., Frame]
    """Makes the action from the fields."""


_FORMS = {
    "send": _Form(("ID|*|@GROUP|!ID", "TEXT"), 2, _send),
    "binary": _Form(("ID|*|@GROUP|!ID", "BASE64"), 2, _binary),
    "close": _Form(("ID", "CODE", "REASON"), 1, _close_client),
    "join": _Form(("ID", "GROUP"), 2, lambda client, group: {"type": JOIN, "id": client, "group": group}),
    "leave": _Form(("ID", "GROUP"), 2, lambda client, group: {"type": LEAVE, "id": client, "group": group}),
    "publish": _Form(("CHANNEL", "TEXT"), 2, _publish),
    "publish-binary": _Form(("CHANNEL", "BASE64"), 2, _publish_binary),
    "accept": _Form(("ID",), 1, lambda client: {"type": ACCEPT, "id": client}),
    "reject": _Form(("ID", "STATUS", "REASON"), 1, _reject),
}
