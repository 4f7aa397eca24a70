"""The options of websocketd (0.4 and its main branch) that are called otherwise here, and what takes their place."""

from __future__ import annotations

_CGI = "serve CGI programs with a web server in front, which passes WebSockets on: --help operations"
_PER_CLIENT = "it is an option of the filter"

WEBSOCKETD = {
    "--address": "use --host",
    "--unixsocket": "use --unix PATH",
    "--uds": "use --unix PATH",
    "--ssl": "--cert FILE is enough",
    "--sslcert": "use --cert",
    "--sslkey": "use --key",
    "--sslca": "use --client-ca",
    "--redirport": "let the web server in front redirect http to https: --help operations",
    "--sameorigin": "use --origin same",
    "--maxforks": f'{_PER_CLIENT}: "per_client --max N CMD"',
    "--binary": f'{_PER_CLIENT}: "per_client --binary CMD"',
    "--passstderr": f'{_PER_CLIENT}: "per_client --stderr CMD"',
    "--maxframesize": "use --max-message",
    "--closems": "programs get the end of input, SIGTERM after 1 s and SIGKILL after 3: --help adapters",
    "--pingms": "use --ping-interval SECONDS",
    "--dir": "give each program a path: --route '/count=per_client ./count.sh'",
    "--staticdir": "use --page DIR",
    "--cgidir": _CGI,
    "--devconsole": "without --page the server's / is a page with a console",
    "--passenv": "programs get the server's environment, but for secrets: see --pass-env NAME and --clean-env",
    "--header": "let the web server in front add headers: --help operations",
    "--header-ws": "let the web server in front add headers: --help operations",
    "--header-http": "let the web server in front add headers: --help operations",
    "--reverselookup": "REMOTE_HOST is always the address",
    "--loglevel": "use -v or -q",
    "--license": "the file LICENSE has it",
}
"""By option, without `=VALUE`. `--port`, `--origin` and `--version` are the same here."""
