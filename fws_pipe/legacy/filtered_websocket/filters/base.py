"""The base classes of all filters: defining a subclass adds it to its chain."""

from fws_pipe.sdk.classes import (
    FilterBase,
    FilterMeta,
    WebSocketConsumerFilter,
    WebSocketDataFilter,
    WebSocketDisconnectFilter,
    WebSocketMessageFilter,
)

__all__ = [
    "ConsumerFilterMeta",
    "DataFilterMeta",
    "DisconnectFilterMeta",
    "FilterBase",
    "FilterMeta",
    "MessageFilterMeta",
    "WebSocketConsumerFilter",
    "WebSocketDataFilter",
    "WebSocketDisconnectFilter",
    "WebSocketMessageFilter",
]

DataFilterMeta = MessageFilterMeta = DisconnectFilterMeta = ConsumerFilterMeta = FilterMeta
