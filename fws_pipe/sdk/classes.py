"""Filters as classes, as in filtered_websocket: defining a subclass adds it to its chain.

    class ChatServer(WebSocketMessageFilter):
        @classmethod
        def filter(cls, web_socket_instance, data):
            for client_id, client in web_socket_instance.users.items():
                client.sendMessage(data)

`fws-filter MODULE…` imports such modules and runs their chains as one stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fws_pipe.sdk import functions
from fws_pipe.sdk.functions import Event
from fws_pipe.sdk.token_groups import default_group, group_of
from fws_pipe.storage import Storage, StorageKind, open_storage


class FilterMeta(type):
    """Collects the filters of each chain, in the order of their definition.

    A direct subclass of FilterBase is a chain; all subclasses of that class are its filters.
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        chain = next((base for base in cls.__mro__[1:] if "_filters" in vars(base)), None)
        if chain is not None:
            chain._filters.append(cls)  # type: ignore[attr-defined]
        elif any(base.__name__ == "FilterBase" for base in bases):
            cls._filters: list[Any] = []


class FilterBase(metaclass=FilterMeta):
    """The base of all chains: `class A(FilterBase)` makes one, `A.run(x)` runs its filters."""

    _filters: ClassVar[list[Any]]

    @classmethod
    def run(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Run the chain's filters in order, each on the same `data`, which they may change in place."""
        for joined in cls._filters:
            joined.filter(web_socket_instance, data)

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """The work of one filter; a subclass defines it. Raises NotImplementedError where it doesn't."""
        raise NotImplementedError(f"{cls.__name__} has no filter method")


class WebSocketDataFilter(FilterBase):
    """Its filters run for each block of bytes that arrives, before it is parsed; `data` is a bytearray."""


class WebSocketMessageFilter(FilterBase):
    """Its filters run for each message; `data` is a bytearray."""


class WebSocketDisconnectFilter(FilterBase):
    """Its filters run when a client has disconnected; `data` is None."""


class WebSocketConsumerFilter(FilterBase):
    """Its filters run for each message on a channel (a dict, as redis-py has it) and each value from the queue."""


class PublishingStorage:
    """The storage that servers share through Redis, with filtered_websocket's `publish` beside it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def __getitem__(self, key: Any) -> set[Any]:
        return self._storage[key]

    def publish(self, channel: str, data: Any) -> None:
        """Publish str or bytes to a channel."""
        functions.publish(channel, data if isinstance(data, str) else bytes(data))


def open_storage_object() -> Any:
    """The storage that FWS_STORAGE names: a shipped one, or a user's StorageObject. Raises FwsError."""
    choice = os.environ.get("FWS_STORAGE", "")
    if choice.startswith("module:"):
        from fws_pipe.sdk.user_storage import open_user_storage

        return open_user_storage()
    storage = open_storage(os.environ)
    return PublishingStorage(storage) if choice == StorageKind.REDIS else storage


class Queue:
    """The producer's end of the server's queue: the consumer filters get each value that is put."""

    def put(self, data: Any) -> None:
        """Put a value that msgpack can carry on the queue."""
        functions.enqueue(bytes(data) if isinstance(data, bytearray) else data)


class WebSocketInstance:
    """A client, as class-based filters get it; consumer filters get the server itself, whose id is None."""

    token_listeners: ClassVar[list[Callable[[str, Any], None]]] = []
    """Called with a client's id and its new token whenever a filter sets it, so that group filters can follow."""

    def __init__(self, client_id: str | None, host: ClassHost, token: Any = None) -> None:
        self.id = client_id
        self._token = token
        self._host = host

    @property
    def token(self) -> Any:
        """The token that a filter has set; before that the client's group, see --token and broadcast_by_token."""
        return self._token

    @token.setter
    def token(self, token: Any) -> None:
        self._token = token
        if self.id in self._host.users:
            for listener in self.token_listeners:
                listener(self.id, token)

    @property
    def users(self) -> Mapping[str, WebSocketInstance]:
        """All clients by id, this one included."""
        return self._host.users

    @property
    def storage_object(self) -> Any:
        """The storage of what filters keep beyond an event, or a restart: see --storage."""
        return self._host.storage

    @property
    def queue(self) -> Queue:
        """The queue whose values the consumer filters get."""
        return self._host.queue

    def sendMessage(self, msg: Any) -> None:  # noqa: N802 - filtered_websocket's name
        """Send a message to this client. Raises ValueError for the server itself, TypeError for other than str or
        bytes.

        A str goes out as text. Bytes go out as binary while a binary message is being filtered, otherwise as text if
        they are UTF-8.
        """
        if self.id is None:
            raise ValueError("sendMessage: this is the server itself, not a client; see its users")
        functions.send(self.id, self.as_payload(msg))

    def as_payload(self, msg: Any) -> str | bytes:
        """The message as str (text) or bytes (binary), by the rule of `sendMessage`."""
        return self._host.as_payload(msg)


class ClassHost:
    """Runs the four chains of classes on the events of this stage."""

    def __init__(self) -> None:
        self.users: dict[str, WebSocketInstance] = {}
        self._storage: Any = None
        self.queue = Queue()
        self._default_token = default_group()
        self._server = WebSocketInstance(None, self, self._default_token)
        self._sends_text = True

    @property
    def storage(self) -> Any:
        """The storage. It is opened on first use: most filters don't use it, and so start faster."""
        if self._storage is None:
            self._storage = open_storage_object()
        return self._storage

    def register(self) -> None:
        """Register handlers for the events of all chains that have filters."""
        functions.on("open")(self._open)
        functions.on("disconnect")(self._disconnect)
        if WebSocketDataFilter._filters:
            functions.on("data")(self._data)
        if WebSocketMessageFilter._filters:
            functions.on("message")(self._message)
        if WebSocketConsumerFilter._filters:
            functions.on("consumer")(self._consumer)

    def as_payload(self, msg: Any) -> str | bytes:
        """The message as str (text) or bytes (binary), by the rule of `WebSocketInstance.sendMessage`."""
        if isinstance(msg, str):
            return msg
        if not isinstance(msg, (bytes, bytearray, memoryview)):
            raise TypeError(f"sendMessage: expected str or bytes, got {type(msg).__name__}")
        data = bytes(msg)
        return _text_if_possible(data) if self._sends_text else data

    def _user(self, client_id: str) -> WebSocketInstance:
        if client_id not in self.users:
            # Only in a recording that begins in the middle: a server writes each client's `open` first.
            self.users[client_id] = WebSocketInstance(client_id, self, self._default_token)
        return self.users[client_id]

    def _open(self, event: Event) -> None:
        client = WebSocketInstance(event["id"], self, group_of(event, self._default_token))
        self.users.setdefault(event["id"], client)

    def _disconnect(self, event: Event) -> None:
        user = self._user(event["id"])
        del self.users[event["id"]]
        WebSocketDisconnectFilter.run(user)

    def _data(self, event: Event) -> None:
        data = bytearray(event["data"])
        # The bytes of a handshake come before `open`, so their client isn't among the users yet.
        client = self.users.get(event["id"]) or WebSocketInstance(event["id"], self, self._default_token)
        WebSocketDataFilter.run(client, data)
        event["data"] = bytes(data)

    def _message(self, event: Event) -> None:
        is_text = isinstance(event["data"], str)
        data = bytearray(event["data"].encode() if is_text else event["data"])
        self._sends_text = is_text
        try:
            WebSocketMessageFilter.run(self._user(event["id"]), data)
        finally:
            self._sends_text = True
        event["data"] = _text_if_possible(bytes(data)) if is_text else bytes(data)

    def _consumer(self, event: Event) -> None:
        WebSocketConsumerFilter.run(self._server, _as_pubsub_message(event))


def _as_pubsub_message(event: Event) -> Any:
    """A published message as the dict that redis-py gives; a value from the queue as it is."""
    if event["channel"] is None:
        return event["data"]
    return {"type": "message", "pattern": None, "channel": event["channel"], "data": event["data"]}


def _text_if_possible(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
