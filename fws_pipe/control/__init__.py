"""The control socket: what fws-ctl asks of a running server.

    accept -> connection (frames in, frames out) -> requests: send, close, clients, stages, status, reload, drain, tap

Requests and answers are frames, as on the pipes. A `send` or a `close` is carried out as an action of the chain is, in
one turn.

Rule: a peer must be the server's own user or root; one that stalls, floods or vanishes costs only itself.
"""
