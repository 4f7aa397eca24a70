"""One connection: from bytes to messages and back (RFC 6455).

    readers -> conversation -> frames (the fast path) or library (trio-websocket's) -> events
    wire <- outbox <- messages; transport below both, plain or TLS

Rule: a connection knows neither the other clients nor the chain; what takes its events is handed in.
"""
