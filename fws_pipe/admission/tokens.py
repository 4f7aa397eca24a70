"""Admits requests by their token: finds the token in a request, checks it, and takes it out of the request.

A token stands in `Authorization: Bearer`, in `?token=` or in a cookie. The chain, the log and the journal only get
`Admission.request`, which holds no token any more, neither a good nor a bad one. Files are read at the start and by
`reload`; no other I/O.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import filterfalse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgpack

from fws_pipe.admission.jwt_keys import BadTokenError, JwtKeys
from fws_pipe.admission.key_forms import BYTE_ORDER_MARK, form_of
from fws_pipe.errors import UsageError
from fws_pipe.http.handshake import Upgrade
from fws_pipe.http.responses import Refusal

TOKEN_LIMIT_BYTES = 8 * 1024
"""The longest token, in bytes: half of the default --max-header. Longer ones are refused unread."""

CLAIMS_DEPTH = 32
"""How deep claims may nest: msgpack and JSON libraries stop at a few hundred levels, some with a crash."""

_PARAMETER = b"token"


@dataclass(frozen=True)
class AuthSettings:
    """The files of tokens and keys (paths), and the claims that a JSON Web Token must have; None: not checked."""

    tokens_file: str | None = None
    jwt_key_file: str | None = None
    jwt_secret_file: str | None = None
    audience: str | None = None
    issuer: str | None = None
    cookie: str = "token"


@dataclass(frozen=True)
class Admission:
    """A request with a good token."""

    claims: dict[str, Any] | None
    """The value of `open.auth`: the token's claims; None: no token is required."""

    expires: float | None
    """The time when the token expires, in seconds since the epoch; None: never."""

    request: Upgrade
    """The request without its token."""

    is_by_cookie: bool = False
    """Whether the token came in a cookie, which a browser sends along with the request of any page."""


@dataclass(frozen=True)
class _StaticToken:
    digest: bytes = field(repr=False)
    claims: dict[str, Any]
    line: int


class Authenticator:
    """Checks requests with the tokens and keys in the files of `settings`; without any file it admits none.

    Raises UsageError when a file can't be read or is invalid. `read` gives the content of a path.
    """

    def __init__(
        self, settings: AuthSettings, read: Callable[[str], bytes] = lambda path: Path(path).read_bytes()
    ) -> None:
        self._settings = settings
        self._read = read
        self._tokens: Sequence[_StaticToken] = ()
        self._keys: JwtKeys | None = None
        self.reload()

    def reload(self) -> None:
        """Read the files again. Raises UsageError, and then keeps all tokens and keys that it had."""
        tokens_file = self._file("--auth-tokens", self._settings.tokens_file)
        key_file = self._file("--auth-jwt", self._settings.jwt_key_file)
        secret_file = self._file("--auth-jwt-secret", self._settings.jwt_secret_file)
        tokens = _parse_tokens(*tokens_file) if tokens_file else ()
        keys = JwtKeys(key_file, secret_file) if key_file or secret_file else None
        self._tokens, self._keys = tokens, keys

    def _file(self, option: str, path: str | None) -> tuple[str, bytes] | None:
        """A file's path and content; None for no path. Raises UsageError."""
        if path is None:
            return None
        try:
            return path, self._read(path)
        except OSError as error:
            raise UsageError(f"{option} {path}: the file can't be read: {error.strerror or error}") from None

    def admit(self, request: Upgrade, now: float) -> Admission | Refusal:
        """Admit or refuse a request by its token; `now` is in seconds since the epoch (RFC 6750, sections 2 and 3)."""
        try:
            token = _find_token(request, self._settings.cookie)
            if token is None:
                return self._refuse_without_token()
            claims = self._claims_of(token.text, now)
        except BadTokenError as error:
            challenge = f'Bearer error="{error.code}", error_description="{error}"'
            return Refusal(401, str(error), (("WWW-Authenticate", challenge),))
        rest = _without_token(request, self._settings.cookie)
        return Admission(claims, _date(claims, "exp"), rest, is_by_cookie=token.is_cookie)

    def _refuse_without_token(self) -> Refusal:
        text = (
            "This server wants a token: in the header Authorization: Bearer TOKEN, in the query as ?token=TOKEN, or in "
            f"the cookie {self._settings.cookie}."
        )
        return Refusal(401, text, (("WWW-Authenticate", "Bearer"),))

    def _claims_of(self, token: bytes, now: float) -> dict[str, Any]:
        if not token:
            raise BadTokenError("The token is empty.", "invalid_request")
        if len(token) > TOKEN_LIMIT_BYTES:
            raise BadTokenError(f"The token is longer than {TOKEN_LIMIT_BYTES} bytes.")
        claims = _look_up(self._tokens, token)
        if claims is not None:
            return claims
        # Where there are static tokens, one with a typing error isn't answered "not a JSON Web Token".
        if self._keys is None or (self._tokens and token.count(b".") != 2):
            raise BadTokenError("Unknown token.")
        claims = self._keys.claims(token)
        _check_claims(claims, self._settings, now)
        return claims


class _Token(NamedTuple):
    text: bytes
    is_cookie: bool = False


def _find_token(request: Upgrade, cookie: str) -> _Token | None:
    """The first token in a request; None when it has none. Raises BadTokenError (RFC 6750, section 3.1)."""
    authorizations = [value for name, value in request.headers if name == "authorization"]
    if len(authorizations) > 1:
        raise BadTokenError("The request has several Authorization headers, it may have one.", "invalid_request")
    for value in authorizations:
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return _Token(token.strip(" ").encode("latin-1"))
    for parameter in filter(_is_token_parameter, request.query.split("&")):
        # A + isn't decoded to a blank: no token holds one, and many clients forget to encode base64's +.
        return _Token(unquote_to_bytes(parameter.partition("=")[2]))
    for value in (value for name, value in request.headers if name == "cookie"):
        for crumb in filter(_is_named(cookie), value.split(";")):
            # Some libraries quote a cookie's value that holds = or /.
            return _Token(crumb.partition("=")[2].strip(' \t"').encode("latin-1"), is_cookie=True)
    return None


def _without_token(request: Upgrade, cookie: str) -> Upgrade:
    """The request without each header, parameter and cookie that may carry a token; the rest is unchanged."""
    headers = []
    for name, value in request.headers:
        rest = _without_cookie(value, cookie) if name == "cookie" else value
        if name != "authorization" and (rest or not value):
            headers.append((name, rest))
    parameters = [parameter for parameter in request.query.split("&") if not _is_token_parameter(parameter)]
    return replace(request, query="&".join(parameters), headers=headers)


def _without_cookie(value: str, cookie: str) -> str:
    crumbs = value.split(";")
    others = list(filterfalse(_is_named(cookie), crumbs))
    return value if others == crumbs else "; ".join(filter(None, (crumb.strip(" \t") for crumb in others)))


def _is_token_parameter(parameter: str) -> bool:
    return unquote_to_bytes(parameter.partition("=")[0]) == _PARAMETER


def _is_named(cookie: str) -> Callable[[str], bool]:
    return lambda crumb: crumb.partition("=")[0].strip(" \t") == cookie


def _parse_tokens(path: str, content: bytes) -> Sequence[_StaticToken]:
    """Parse a file with a token on each line, optionally followed by white space and a name. Raises UsageError."""
    form = form_of(content)
    if form is not None and not form.is_token and not form.may_hold_secret:
        raise UsageError(
            f"--auth-tokens {path}: this looks like {form.name}, not like a list of tokens; is it meant for --auth-jwt?"
        )
    if b"\0" in content:
        raise UsageError(f"--auth-tokens {path}: it has NUL bytes; a list of tokens is a text file in UTF-8")
    tokens: dict[bytes, _StaticToken] = {}
    for number, line in enumerate(content.removeprefix(BYTE_ORDER_MARK).splitlines(), 1):
        token, name = (*line.split(None, 1), b"", b"")[:2]
        if not token or token.startswith(b"#"):
            continue
        if len(token) > TOKEN_LIMIT_BYTES:
            raise UsageError(f"--auth-tokens {path}, line {number}: the token is longer than {TOKEN_LIMIT_BYTES} bytes")
        parsed = _StaticToken(sha256(token).digest(), _claims_of(name, f"{path}, line {number}"), number)
        first = tokens.setdefault(parsed.digest, parsed)
        if first is not parsed:
            raise UsageError(f"--auth-tokens {path}: lines {first.line} and {number} have the same token; drop one")
    if not tokens:
        raise UsageError(f"--auth-tokens {path}: there is no token in it; write one on each line: openssl rand -hex 32")
    return list(tokens.values())


def _claims_of(name: bytes, place: str) -> dict[str, Any]:
    try:
        return {"sub": name.rstrip().decode()} if name else {}
    except UnicodeDecodeError:
        raise UsageError(f"--auth-tokens {place}: the name behind the token isn't UTF-8") from None


def _look_up(tokens: Sequence[_StaticToken], token: bytes) -> dict[str, Any] | None:
    """The claims of a static token; None: it isn't known. The time that this takes doesn't depend on the token."""
    digest = sha256(token).digest()
    # All are compared, also after a match: the time must not tell where in the list the token is.
    matches = [known.claims for known in tokens if hmac.compare_digest(known.digest, digest)]
    return dict(matches[0]) if matches else None


def _check_claims(claims: dict[str, Any], settings: AuthSettings, now: float) -> None:
    """Raise BadTokenError unless a token is valid at `now`, for this server, from its issuer (RFC 7519, section 4.1).

    PyJWT could check this, with a clock of its own. Here one clock decides when a client is admitted and when it is
    closed because its token has expired.
    """
    _check_form(claims)
    expires, begins, issued = (_date(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is not None and now >= expires:
        raise BadTokenError("The token has expired.")
    if begins is not None and now < begins:
        raise BadTokenError("The token is not valid yet (nbf).")
    if issued is not None and now < issued:
        raise BadTokenError("The token was issued in the future (iat).")
    audiences = claims.get("aud")
    if settings.audience is not None and settings.audience not in (
        audiences if isinstance(audiences, list) else [audiences]
    ):
        raise BadTokenError("The token is not meant for this server (aud).")
    if settings.issuer is not None and claims.get("iss") != settings.issuer:
        raise BadTokenError("The token is not from the issuer that this server trusts (iss).")


def _check_form(claims: dict[str, Any]) -> None:
    """Raise BadTokenError for claims that an event can't carry."""
    if _is_deeper(claims, CLAIMS_DEPTH):
        raise BadTokenError(f"The token's claims are nested more than {CLAIMS_DEPTH} levels deep.")
    try:
        # Strictly UTF-8, unlike the codec: tokens come from outside.
        msgpack.packb(claims)
    except (ValueError, OverflowError):
        raise BadTokenError("The token has a claim that msgpack can't carry.") from None


def _is_deeper(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inner) and (depth == 0 or any(_is_deeper(each, depth - 1) for each in inner))


def _date(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate: a number of seconds, whole or not (RFC 7519, section 2). Raises BadTokenError."""
    if name not in claims:
        return None
    date = claims[name]
    if isinstance(date, bool) or not isinstance(date, (int, float)) or not math.isfinite(date):
        raise BadTokenError(f"The token's {name} is not a date, a number of seconds since 1970.")
    return float(date)
