"""The bases of all filters: a subclass joins its chain by being defined."""

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
