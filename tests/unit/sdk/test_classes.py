"""Filters as classes, as filtered_websocket's readers know them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.sdk.classes import ClassHost, FilterBase, FilterMeta, PublishingStorage
from fws_pipe.storage import MemoryStorage
from tests.harness import run, shell


def test_subclasses_join_their_chain_by_being_defined_and_run_in_order() -> None:
    ran: list[str] = []

    class A(FilterBase):
        pass

    class B(A):
        @classmethod
        def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
            ran.append(f"foo {web_socket_instance}")

    class C(A):
        @classmethod
        def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
            ran.append("bar")

    class D(B):
        @classmethod
        def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
            ran.append("below B, in the same chain")

    class Other(FilterBase):
        pass

    A.run("x")
    Other.run("x")
    assert ran == ["foo x", "bar", "below B, in the same chain"]


def test_chains_with_a_metaclass_of_their_own() -> None:
    ran: list[str] = []

    class AFilter(FilterMeta):
        pass

    class A(FilterBase, metaclass=AFilter):
        pass

    class B(A):
        @classmethod
        def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
            ran.append("foo")

    A.run(None)
    assert ran == ["foo"]


OPENS: list[Frame] = [{"type": "open", "id": "a", "seq": 1}, {"type": "open", "id": "b", "seq": 2}]


def hosted(folder: Path, *modules: str, events: list[Frame]) -> tuple[list[Frame], str]:
    """Run modules' texts under fws-filter; returns the frames behind the opens, and the text for people."""
    names = []
    for number, text in enumerate(modules):
        (folder / f"module_{number}.py").write_text(text)
        names.append(f"./module_{number}.py")
    stream = b"".join(map(encode, [*OPENS, *events]))
    done = shell(f"fws-filter {' '.join(names)} | fws-cat", stdin=stream, cwd=folder)
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    return [frame for frame in frames if frame["type"] != "open"], done.stderr.decode()


CHAT = """
from fws_pipe.sdk.classes import WebSocketMessageFilter

class ChatServer(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        for client_id, client in web_socket_instance.users.items():
            client.sendMessage(bytes(data))
"""

SHOW = """
import sys
from fws_pipe.sdk.classes import WebSocketMessageFilter

class Show(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, msg):
        sys.stdout.write("%s => %s\\n" % (web_socket_instance.id, msg.decode()))
"""

POPCHAR = """
from fws_pipe.sdk.classes import WebSocketMessageFilter

class PopChar(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, msg):
        msg.pop()
"""


def message(data: str | bytes, client: str = "a") -> Frame:
    return {"type": "message", "id": client, "seq": 3, "data": data}


def test_the_chat_server_of_the_old_readme(tmp_path: Path) -> None:
    frames, _ = hosted(tmp_path, CHAT, events=[message("héllo")])
    assert frames[0] == message("héllo")
    assert frames[1:] == [
        {"type": "send", "to": "a", "data": "héllo", "seq": 3},
        {"type": "send", "to": "b", "data": "héllo", "seq": 3},
    ]


def test_bytes_go_out_as_the_message_came_in(tmp_path: Path) -> None:
    frames, _ = hosted(tmp_path, CHAT, events=[message(b"abc")])
    assert {frame["data"] for frame in frames} == {"\x10base64:YWJj"}


def test_data_is_changed_in_place_for_the_filters_and_stages_behind(tmp_path: Path) -> None:
    frames, text = hosted(tmp_path, POPCHAR, SHOW, events=[message("hello")])
    assert text == "a => hell\n"
    assert frames == [message("hell")]
    frames, text = hosted(tmp_path, SHOW, POPCHAR, events=[message("hello")])
    assert text == "a => hello\n"
    assert frames == [message("hell")]


TOKENS = """
from fws_pipe.sdk.classes import WebSocketDisconnectFilter, WebSocketMessageFilter

class Token(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, msg):
        if web_socket_instance.token is None:
            web_socket_instance.token = msg.decode()
            web_socket_instance.storage_object.add(web_socket_instance.token, web_socket_instance.id)
        members = sorted(web_socket_instance.storage_object[web_socket_instance.token])
        web_socket_instance.sendMessage("%s: %s" % (web_socket_instance.token, members))

class Leave(WebSocketDisconnectFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        web_socket_instance.storage_object.remove(web_socket_instance.token, web_socket_instance.id)
        web_socket_instance.users["b"].sendMessage("gone, %d left" % len(web_socket_instance.users))
"""


def test_token_and_storage_last_as_long_as_the_client(tmp_path: Path) -> None:
    gone = {"type": "disconnect", "id": "a", "code": 1000, "reason": "", "clean": True}
    frames, _ = hosted(
        tmp_path, TOKENS, events=[message("tea"), message("tea", "b"), message("x"), gone, message("y", "b")]
    )
    sent = [(frame["to"], frame["data"]) for frame in frames if frame["type"] == "send"]
    assert sent == [
        ("a", "tea: ['a']"),
        ("b", "tea: ['a', 'b']"),
        ("a", "tea: ['a', 'b']"),
        ("b", "gone, 1 left"),
        ("b", "tea: ['b']"),
    ]


QUEUE = """
from fws_pipe.sdk.classes import WebSocketConsumerFilter, WebSocketDataFilter, WebSocketMessageFilter

class Produce(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, msg):
        web_socket_instance.queue.put(msg)

class Consume(WebSocketConsumerFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        for user in web_socket_instance.users.values():
            user.sendMessage(data.get("data") if isinstance(data, dict) else data)

class Raw(WebSocketDataFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        data[0:1] = b"X"
"""


def test_queue_consumers_and_raw_data(tmp_path: Path) -> None:
    published = {"type": "consumer", "channel": "global", "data": "news", "origin": "s"}
    queued = {"type": "consumer", "channel": None, "data": b"work", "origin": "s"}
    raw = {"type": "data", "id": "a", "data": b"abc"}
    want, *frames = hosted(tmp_path, QUEUE, events=[message("work"), published, queued, raw])[0]
    assert want == {"type": "want", "events": ["data"]}
    assert [frame for frame in frames if frame["type"] == "enqueue"] == [
        {"type": "enqueue", "data": "\x10base64:d29yaw==", "seq": 3}
    ]
    assert [(frame["to"], frame["data"]) for frame in frames if frame["type"] == "send"] == [
        ("a", "news"),
        ("b", "news"),
        ("a", "work"),
        ("b", "work"),
    ]
    assert frames[-1]["data"] == "\x10base64:WGJj"


def test_a_dotted_module_and_functions_are_hosted_too(tmp_path: Path) -> None:
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "__init__.py").write_text("")
    (tmp_path / "chat" / "room.py").write_text(
        "from fws_pipe.sdk import on, send\n@on('message')\ndef reply(event):\n    send(event['id'], 'ok')\n"
    )
    done = shell("fws-filter chat.room | fws-cat", stdin=encode(message("x")), cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[1])["data"] == "ok"


def test_a_module_whose_own_import_fails_shows_that(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_thing\n")
    done = shell("fws-filter broken", cwd=tmp_path)
    assert done.returncode == 1
    assert b"No module named 'no_such_thing'" in done.stderr


HANDSHAKE = """
from fws_pipe.sdk.classes import WebSocketDataFilter

class Raw(WebSocketDataFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        web_socket_instance.users["a"].sendMessage("%s %d" % (web_socket_instance.id, len(web_socket_instance.users)))
"""


def test_bytes_of_a_handshake_make_no_user(tmp_path: Path) -> None:
    early = {"type": "data", "id": "new", "data": b"GET / HTTP/1.1"}
    frames, _ = hosted(tmp_path, HANDSHAKE, events=[early, early])
    assert [frame["data"] for frame in frames if frame["type"] == "send"] == ["new 2", "new 2"]


def test_storage_is_opened_on_first_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FWS_STORAGE", f"sqlite:{tmp_path}/sets.db")
    host = ClassHost()
    assert not list(tmp_path.iterdir())
    host.storage.add("k", "v")
    assert host.storage["k"] == {"v"}
    assert list(tmp_path.iterdir())


def test_a_filter_loads_no_storage_before_it_uses_it() -> None:
    code = (
        "import fws_pipe.sdk.host, sys; print({'argparse', 'redis', 'sqlite3', 'trio', 'inspect'} & set(sys.modules))"
    )
    assert run(sys.executable, "-c", code).stdout == b"set()\n"


def test_redis_storage_publishes_as_of_old() -> None:
    sets = MemoryStorage()
    storage = PublishingStorage(sets)
    storage.add("k", "v")
    assert storage["k"] == storage.get("k") == {"v"}
    assert storage["nothing"] == set()
    storage.remove("k", "v")
    assert sets.get("k") is None


PUBLISH = """
from fws_pipe.sdk.classes import PublishingStorage, WebSocketMessageFilter
from fws_pipe.storage import MemoryStorage

class Publish(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        storage = PublishingStorage(MemoryStorage())
        storage.publish("global", data)
        storage.publish("global", "text")
"""


def test_publish_of_a_storage_is_an_action(tmp_path: Path) -> None:
    frames, _ = hosted(tmp_path, PUBLISH, events=[message("x")])
    assert [(frame["channel"], frame["data"]) for frame in frames[1:]] == [
        ("global", "\x10base64:eA=="),
        ("global", "text"),
    ]
