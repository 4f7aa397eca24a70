"""The keys that JSON Web Tokens are checked with (RFC 7515, 7517, 7518 and 7519).

The option, never the content, says whether a file holds public keys or a secret. The keys, never the token, decide
which algorithms a token may be signed with: if a public key were taken for a secret, anyone could sign (RFC 8725,
section 2.1). PyJWT and cryptography are loaded only when there is such a file. No I/O, and no clock.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fws_pipe.admission.key_forms import BYTE_ORDER_MARK, Form, form_of
from fws_pipe.errors import UsageError

_SECRET_ALGORITHMS = (("HS256", 32), ("HS384", 48), ("HS512", 64))
"""Each algorithm and the least bytes of its secret: as many as its hash has (RFC 7518, section 3.2)."""

_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_RSA_BITS = 2048
"""The shortest RSA key, in bits (RFC 7518, section 3.3)."""

_CURVE_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}

_SECRET_MEND = "give a key as --auth-jwt, and make a secret with: openssl rand -hex 32"

_PACKAGE = "'PyJWT[crypto]>=2.14'"
_PIP = f"{shlex.quote(sys.executable)} -m pip"
"""The pip of the environment that runs this: a checkout has its own environment, which a pip on PATH doesn't reach."""

_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


class BadTokenError(Exception):
    """A token is refused. The text is for the client, and quotes nothing of the token.

    `code` is RFC 6750's error code (section 3.1).
    """

    def __init__(self, text: str, code: str = "invalid_token") -> None:
        super().__init__(text)
        self.code = code


class _BadKeyError(Exception):
    """A key file is invalid; the text says why, and quotes nothing of the file."""


@dataclass(frozen=True)
class _Key:
    value: Any = field(repr=False)
    algorithms: tuple[str, ...]
    name: str | None = None
    """The `kid` by which tokens name this key; None: it has none, so any token may mean it."""


class JwtKeys:
    """The keys in these files, each given as (path, content).

    `key_file` holds a PEM public key or certificate, a JWK or a JWKS; `secret_file` holds one secret for HMAC. Raises
    UsageError when PyJWT isn't installed, or when a file holds something else; the paths are only used in that text.
    """

    def __init__(self, key_file: tuple[str, bytes] | None, secret_file: tuple[str, bytes] | None = None) -> None:
        self._jwt = _load_pyjwt("--auth-jwt" if key_file else "--auth-jwt-secret")
        self._keys: list[_Key] = []
        for option, file, read in (
            ("--auth-jwt", key_file, self._read_keys),
            ("--auth-jwt-secret", secret_file, self._read_secret),
        ):
            if file is not None:
                path, content = file
                try:
                    self._keys += read(content.removeprefix(BYTE_ORDER_MARK), path)
                except _BadKeyError as error:
                    raise UsageError(f"{option} {path}: {error}") from None

    def claims(self, token: bytes) -> dict[str, Any]:
        """The claims of a token that one of the keys has signed; the claims themselves aren't checked here.

        Raises BadTokenError (RFC 7519, section 7.2).
        """
        if not token.isascii():
            raise BadTokenError("The token has bytes that are not ASCII.")
        try:
            return self._verified(token)
        except self._jwt.InvalidSignatureError:
            raise BadTokenError("The token's signature is wrong.") from None
        # PyJWT before 2.14 lets a RecursionError through.
        except (self._jwt.PyJWTError, RecursionError):
            raise BadTokenError("The token is malformed: it is not a JSON Web Token.") from None

    def _verified(self, token: bytes) -> dict[str, Any]:
        header = self._jwt.get_unverified_header(token)
        wanted = header.get("kid")
        keys = [key for key in self._keys if wanted is None or key.name in (None, wanted)]
        if not keys:
            raise BadTokenError("The token is signed with a key that this server does not have (kid).")
        fit = [key for key in keys if header.get("alg") in key.algorithms]
        if not fit:
            names = ", ".join(dict.fromkeys(name for key in keys for name in key.algorithms))
            raise BadTokenError(f"The token's algorithm (alg) is not one that this server takes: {names}.")
        for key in fit[:-1]:
            try:
                return self._decoded(token, key)
            except self._jwt.InvalidSignatureError:
                continue  # The token doesn't name its key: the next one may fit.
        return self._decoded(token, fit[-1])

    def _decoded(self, token: bytes, key: _Key) -> dict[str, Any]:
        # PyJWT would check the dates with its own clock, and refuse an audience where none is required.
        unchecked = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss")}
        claims: dict[str, Any] = self._jwt.decode(token, key.value, algorithms=list(key.algorithms), options=unchecked)
        return claims

    def _read_keys(self, content: bytes, path: str) -> Sequence[_Key]:
        _check_not_empty(content)
        # A key in UTF-16 has NULs between its letters.
        if b"-----BEGIN" in content.replace(b"\0", b""):
            return [_public_key(_from_pem(content, path))]
        if content.lstrip().startswith(b"{"):
            return self._from_json(content)
        raise _BadKeyError(_no_key(form_of(content)))

    def _read_secret(self, content: bytes, _path: str) -> Sequence[_Key]:
        _check_not_empty(content)
        _check_form_of_secret(content)  # with its line end: a binary key may end with that byte
        return [self._secret_key(content.rstrip(b"\r\n"))]

    def _secret_key(self, secret: bytes) -> _Key:
        """The key made of a secret. Raises _BadKeyError for a secret that is too short, or that others may know."""
        _check_form_of_secret(secret)
        try:
            self._jwt.get_algorithm_by_name("HS256").prepare_key(secret)
        except self._jwt.InvalidKeyError:
            raise _BadKeyError(f"this looks like a key to PyJWT, which is no secret; {_SECRET_MEND}") from None
        return _secret_key(secret)

    def _from_json(self, content: bytes) -> Sequence[_Key]:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            raise _BadKeyError("it begins like a JWK, with {, but it is not JSON") from None
        if "keys" not in data:
            members = [data]
        elif isinstance(data["keys"], list):
            # Keys that aren't understood are ignored (RFC 7517, section 5), and so are keys for encryption.
            members = [member for member in data["keys"] if isinstance(member, dict) and member.get("use") != "enc"]
        else:
            raise _BadKeyError('"keys" must be a list of JWKs')
        keys = [key for member in members if (key := self._from_jwk(member)) is not None]
        if not keys:
            form = form_of(content)
            mend = (
                f": {form.name}; {form.mend}" if form is not None and "keys" not in data and "kty" not in data else ""
            )
            raise _BadKeyError(f"there is no JWK in it that can check a signature{mend}")
        return keys

    def _from_jwk(self, member: dict[str, Any]) -> _Key | None:
        """The key of a JWK; None when it can't check a signature. Raises _BadKeyError for a private or weak key."""
        if member.get("kty") != "oct":
            _load("cryptography")
            if "d" in member:
                raise _BadKeyError('there is a private key in it; give its public part: without "d" and what follows')
        try:
            # The JWK's alg is left out: with it PyJWT would choose how the key is read.
            value = self._jwt.PyJWK({name: value for name, value in member.items() if name != "alg"}).key
        # Some versions of PyJWT let errors of base64 and cryptography through.
        except (self._jwt.PyJWTError, ValueError, TypeError):
            return None
        key = self._secret_key(value) if isinstance(value, bytes) else _public_key(value)
        algorithms = tuple(name for name in key.algorithms if member.get("alg", name) == name)
        return _Key(value, algorithms, member.get("kid")) if algorithms else None


def _check_not_empty(content: bytes) -> None:
    if not content.strip():
        raise _BadKeyError("the file is empty")


def _check_form_of_secret(secret: bytes) -> None:
    form = form_of(secret)
    if form is not None:
        mend = form.mend if form.may_hold_secret else _SECRET_MEND
        raise _BadKeyError(f"this looks like {form.name}, which is no secret; {mend}")


def _no_key(form: Form | None) -> str:
    """Why --auth-jwt refuses a file without PEM or a JWK, with the mend for a file of this form."""
    if form is not None:
        return f"this looks like {form.name}; {form.mend}"
    return (
        "this is no PEM public key or certificate, and no JWKS; if tokens are signed with it as a secret "
        "(HS256, HS384, HS512), give it as --auth-jwt-secret"
    )


def _load_pyjwt(option: str) -> ModuleType:
    """The module of PyJWT. Raises UsageError without it, also where another package, `jwt`, has its import name."""
    module = _load("jwt", "PyJWT", option)
    if not hasattr(module, "PyJWTError"):
        raise UsageError(
            f"{option} needs PyJWT, and {getattr(module, '__file__', 'jwt')} is something else: "
            f"{_PIP} uninstall jwt; {_PIP} install --force-reinstall {_PACKAGE}"
        )
    return module


def _load(module: str, package: str = "cryptography", option: str = "--auth-jwt") -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{option} needs {package}: {_PIP} install {_PACKAGE}") from None


def _from_pem(content: bytes, path: str) -> Any:
    """The public key of a PEM file (RFC 7468)."""
    labels = _PEM_LABEL.findall(content)
    if any(b"PRIVATE KEY" in label for label in labels):
        raise _BadKeyError(f"this is a private key; give its public part: openssl pkey -in {shlex.quote(path)} -pubout")
    unsupported = _load("cryptography.exceptions").UnsupportedAlgorithm
    try:
        if labels[:1] == [b"CERTIFICATE"]:
            return _load("cryptography.x509").load_pem_x509_certificate(content).public_key()
        return _load("cryptography.hazmat.primitives.serialization").load_pem_public_key(content)
    except (ValueError, unsupported):
        mend = "; its line ends are written as \\n: printf '%b' writes them out" if b"\\n" in content else ""
        raise _BadKeyError(f"this is not a PEM public key or certificate that can be read{mend}") from None


def _public_key(value: Any) -> _Key:
    """A key of `cryptography` with its algorithms (RFC 7518, section 3.1, RFC 8037 and RFC 8812)."""
    kinds = "cryptography.hazmat.primitives.asymmetric"
    if isinstance(value, _load(f"{kinds}.rsa").RSAPublicKey):
        if value.key_size < _RSA_BITS:
            raise _BadKeyError(f"the RSA key has {value.key_size} bits, {_RSA_BITS} is the least (RFC 7518)")
        return _Key(value, _RSA_ALGORITHMS)
    if isinstance(value, _load(f"{kinds}.ed25519").Ed25519PublicKey):
        return _Key(value, ("EdDSA",))
    if isinstance(value, _load(f"{kinds}.ec").EllipticCurvePublicKey) and value.curve.name in _CURVE_ALGORITHMS:
        return _Key(value, (_CURVE_ALGORITHMS[value.curve.name],))
    raise _BadKeyError("the key is of a kind that no token is signed with; RSA, EC and Ed25519 keys are taken")


def _secret_key(secret: bytes) -> _Key:
    least = _SECRET_ALGORITHMS[0][1]
    if len(secret) < least:
        raise _BadKeyError(
            f"the secret has {len(secret)} bytes, {least} is the least (RFC 7518, section 3.2): openssl rand -hex 32"
        )
    return _Key(secret, tuple(name for name, size in _SECRET_ALGORITHMS if len(secret) >= size))
