"""The control socket, through which fws-ctl sends requests to a running server.

    accept -> connection (frames in, frames out) -> requests: send, close, clients, stages, status, reload, drain, tap

Requests and answers are frames, as on the pipes. A `send` or a `close` is executed like an action of the chain, in one
turn.

Rule: a peer must run as the server's own user or as root. A peer that stalls, floods or vanishes harms only itself.
"""
