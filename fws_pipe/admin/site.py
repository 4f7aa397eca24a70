"""What each path of the admin address answers, and to whom."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import trio

from fws_pipe.admin.connection import Asked, Reply, Stream
from fws_pipe.admin.exposition import Format, exposition, format_for
from fws_pipe.admin.health import Health
from fws_pipe.admin.hosts import is_own_host
from fws_pipe.admin.metrics import Observed, collect
from fws_pipe.admin.operations import Operations
from fws_pipe.admin.pipeline import picture
from fws_pipe.admin.taps import MOST_TAPS, TooManyTapsError
from fws_pipe.control.joints import UnknownJointError

_TEXT = "text/plain; charset=utf-8"

FRESH_S = 0.5
"""How long figures stay as they are: those who ask for them without a pause cost the clients nothing more."""

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""The live page's files, and their media types."""

_FOLDER = Path(__file__).parent / "pages"

_POLICY = (
    "content-security-policy",
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
"""The live page loads nothing from elsewhere, and shows in no other page."""


def text_reply(status: int, text: str) -> Reply:
    """A line of text, or several."""
    return Reply(status, _TEXT, f"{text}\n".encode(errors="replace"))


_FORBIDDEN = text_reply(403, "This address may only be read; see --admin-actions.")

_DIGITS = 18
"""The most digits of a line's number."""


class Site:
    """Answers requests. `names`, lower-case, are those of the address beside IP addresses and localhost.

    None as `names`: any will do, since no web page can reach a Unix socket. `operations` is None where a TCP address
    may only be read.
    """

    def __init__(
        self, health: Health, observed: Observed, operations: Operations | None, names: Collection[str] | None
    ) -> None:
        self._health = health
        self._observed = observed
        self._operations = operations
        self._names = names
        self._collecting = trio.Lock()
        self._kept: dict[str, tuple[float, dict[object, bytes]]] = {}
        """By path: when its figures were collected (trio's clock), and these as text, by format."""

    async def answer(self, asked: Asked) -> Reply | Stream:
        """The answer to one request."""
        host = asked.headers.get("host")
        if self._names is not None and host is not None and not is_own_host(host, self._names):
            return text_reply(421, f"This address is not known as {host[:100]!a}; see --admin-name.")
        try:
            target = urlsplit(asked.target)
        except ValueError:
            return text_reply(400, "The request's target is no URL.")
        if target.path in self._commands:
            return await self._command(asked, target.path, target.query)
        page = _send_file if target.path in _FILES else self._pages.get(target.path)
        if page is None:
            return text_reply(404, f"There is no such page; there are {', '.join(self._pages)}.")
        if asked.method not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        return await page(self, asked, target.query)

    async def _live(self, asked: Asked, query: str) -> Reply:
        return text_reply(200, "live")

    async def _ready(self, asked: Asked, query: str) -> Reply:
        """The server as a whole and each route; with `?route=PATTERN` that route alone."""
        problem, problems = self._health.problem(), self._health.route_problems()
        wanted = parse_qs(query).get("route")
        if wanted:
            problems = {pattern: problems[pattern] for pattern in wanted if pattern in problems}
            if not problems:
                return text_reply(404, "There is no such route.")
        is_ready = problem is None and not any(problems.values())
        lines = [problem or "ready"] if problem or is_ready else []
        lines += [f"{pattern}: {why or 'ready'}" for pattern, why in problems.items()]
        return text_reply(200 if is_ready else 503, "\n".join(lines))

    async def _metrics(self, asked: Asked, query: str) -> Reply:
        form = format_for(asked.headers.get("accept"))
        texts = await self._figures("/metrics", self._all_expositions)
        return Reply(200, form.value, texts[form], (("vary", "Accept"),))

    async def _all_expositions(self) -> dict[object, bytes]:
        readings = await collect(self._observed)
        return {form: exposition(readings, form) for form in Format}

    async def _pipeline(self, asked: Asked, query: str) -> Reply:
        texts = await self._figures("/pipeline", self._picture)
        return Reply(200, "application/json", texts[None])

    async def _picture(self) -> dict[object, bytes]:
        joints = self._operations.taps.joints if self._operations is not None else None
        shown = await picture(self._health, self._observed, joints)
        return {None: json.dumps(shown).encode()}

    async def _figures(self, path: str, make: Callable[[], Awaitable[dict[object, bytes]]]) -> dict[object, bytes]:
        """The figures of a page: those of a moment ago, or new ones. One request at a time collects them."""
        async with self._collecting:
            collected_at, texts = self._kept.get(path, (-math.inf, {}))
            if trio.current_time() > collected_at + FRESH_S:
                texts = await make()
                self._kept[path] = trio.current_time(), texts
        return texts

    async def _log(self, asked: Asked, query: str) -> Reply:
        """The log's last lines, after the line number of the query; they may hold clients' data."""
        if self._operations is None:
            return _FORBIDDEN
        if self._is_from_elsewhere(asked, needs_origin=False):
            return text_reply(403, "Only the server's own page may read the log.")
        after = _field(query, "after")
        last, lines = self._operations.tail.after(int(after) if after.isdecimal() and len(after) <= _DIGITS else 0)
        return Reply(200, "application/json", json.dumps({"last": last, "lines": lines}).encode())

    async def _command(self, asked: Asked, path: str, query: str) -> Reply | Stream:
        """Do something to the server, where that is allowed and the server's own page asks for it."""
        if asked.method != "POST":
            return _not_allowed("POST")
        if self._operations is None:
            return _FORBIDDEN
        if self._is_from_elsewhere(asked, needs_origin=True):
            return text_reply(403, f"The Origin header must be {_own_origin(asked)}.")
        return await self._commands[path](self._operations, query)

    def _is_from_elsewhere(self, asked: Asked, *, needs_origin: bool) -> bool:
        """Whether a page of another origin asks, as far as its browser tells; no page can reach a Unix socket."""
        if self._names is None:
            return False
        origin, site = asked.headers.get("origin"), asked.headers.get("sec-fetch-site")
        is_foreign = site not in (None, "same-origin", "none") or origin not in (None, _own_origin(asked))
        return is_foreign or (needs_origin and origin is None)

    _pages: ClassVar[dict[str, Callable[[Site, Asked, str], Awaitable[Reply]]]] = {
        "/live": _live,
        "/ready": _ready,
        "/metrics": _metrics,
        "/pipeline": _pipeline,
        "/log": _log,
    }

    _commands: ClassVar[dict[str, Callable[[Operations, str], Awaitable[Reply | Stream]]]] = {
        "/reload": lambda operations, query: _tell(operations.reload()),
        "/drain": lambda operations, query: _tell(operations.drain()),
        "/close": lambda operations, query: _tell(operations.close(_field(query, "client"))),
        "/tap": lambda operations, query: _tap(operations, query),
    }


async def _tell(outcome: Awaitable[str]) -> Reply:
    return text_reply(200, await outcome)


async def _tap(operations: Operations, query: str) -> Reply | Stream:
    """A stream of the frames that pass a joint."""
    try:
        return operations.taps.stream(*(_field(query, name) for name in ("stage", "type", "client")))
    except UnknownJointError as error:
        return text_reply(404, str(error))
    except TooManyTapsError:
        return text_reply(503, f"{MOST_TAPS} taps are open, as many as there may be; close one of them.")


def _field(query: str, name: str) -> str:
    """The value of a query's field, the last one of this name; empty if there is none."""
    return parse_qs(query).get(name, [""])[-1]


def _own_origin(asked: Asked) -> str:
    return f"http://{asked.headers.get('host', '')}"


async def _send_file(site: Site, asked: Asked, query: str) -> Reply:
    name, media_type = _FILES[urlsplit(asked.target).path]
    return Reply(200, media_type, (_FOLDER / name).read_bytes(), (_POLICY,))


def _not_allowed(methods: str) -> Reply:
    return text_reply(405, f"Only {methods}.")._replace(headers=(("allow", methods),))
