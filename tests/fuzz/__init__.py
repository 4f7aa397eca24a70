"""Random and mutated WebSocket frames against a running server: `python -m tests.fuzz`.

The invariant, of a server with the chain `mirror`, whatever bytes its clients send:

- No crash: server, stages and sink are the processes that they were, and none has told of an error of its own.
- No hang: a connection is answered while its client sends, and has ended within `drive.PATIENCE_S` of its client's end.
- No nonsense: what comes back is whole, unmasked frames of known kinds, a Close frame at most once and nothing behind
  it; a client that sent nothing wrong gets each of its messages back, in order and by content.
- No leak: descriptors, processes and memory are back at their base level once all connections are closed.
- Nobody else pays: a client beside them has its messages answered all the time, in order and by content.
"""
