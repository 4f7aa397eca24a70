"""Recognises the forms of keys, certificates and tokens, so that none is taken for a secret. No I/O.

A public key is known to all, in whichever form it is written down. If the server took it for a secret, anyone could
sign tokens (RFC 8725, section 2.1).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Form(NamedTuple):
    """The form of some bytes: its name for messages, such as "a URL", and how to turn it into what --auth-jwt takes."""

    name: str
    mend: str
    is_token: bool = False
    """Whether it is a JSON Web Token, which is no key, but may stand in a list of tokens."""
    may_hold_secret: bool = False
    """Whether it may hold a secret; then `mend` says how to extract it."""


_PEM = Form("a key or certificate in PEM", "give it to --auth-jwt as it is")
_JWKS = Form("a JWK or a set of JWKs", "give it to --auth-jwt as it is")
_JSON = Form("JSON without a JWK", "write the keys as a JWKS (RFC 7517)")
_OPENID = Form("an OpenID configuration", "fetch what its jwks_uri names, and give that file")
_URL = Form("a URL", "fetch what it names into a file, and give that file: curl -o FILE URL")
_FILE_NAME = Form("the name of a file", "give that file itself")
_OPENSSH = Form("a key in OpenSSH's form", "turn it into PEM: ssh-keygen -e -m PKCS8 -f FILE")
_XML = Form("XML", "turn the key into PEM")
_HTML = Form("an HTML page", "fetch the key again, and see that the server has it: curl -f -o FILE URL")
_HTTP = Form("an HTTP response with its headers", "give its body alone: curl -f -o FILE URL, without -i")
_ENVIRONMENT = Form(
    "lines of NAME=value, as in an environment file", "give a file with the value alone", may_hold_secret=True
)
_TOKEN = Form("a token, which clients hold", "give the key that its signature is checked with", is_token=True)
_JWK_LIST = Form("a list of JWKs", 'write {"keys": LIST}')
_X5C = Form("an x5c list of certificates", "write its first entry as PEM, behind -----BEGIN CERTIFICATE-----")

_URL_TEXT = re.compile(rb"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_FILE_NAME_TEXT = re.compile(rb"\S+\.(?:pem|json|jwks?|crt|cer|der|key|pub|p8|p12|txt)", re.IGNORECASE)
_OPENSSH_TEXT = re.compile(rb"(?:\S+ )?(?:ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)\S+ +AAAA")
_XML_TEXT = re.compile(
    rb"<\?xml |<(?:\w+:)?\w*(?:KeyValue|KeyInfo|Certificate)\b|<([a-z][\w:.-]*)[^>]*>.*</\1>$",
    re.IGNORECASE | re.DOTALL,
)
_HTML_TEXT = re.compile(rb"<!doctype\b|<!--|<(?:html|head|body|title|h1|pre)\b", re.IGNORECASE)
_HTTP_TEXT = re.compile(rb"HTTP/[0-9.]+ [0-9]{3}\b")
_ASSIGNMENT_TEXT = re.compile(
    rb"(?:export\s+)?(?:"
    rb"[A-Z][A-Z0-9_]{3,}="
    rb"|(?i:(?:[\w-]{0,30}[_-])?(?:secret|key|token|password|jwt|hmac|modulus)(?:[_-][\w-]{0,30})?\s*[=:]\s*)"
    rb")[^=\s].*"  # behind base32 or base64 there is nothing, or another =
)
_TOKEN_TEXT = re.compile(rb"eyJ[\w-]*\.[\w-]+\.[\w-]*(?:\.[\w-]*\.[\w-]*)?")
_JWK_TEXT = re.compile(rb'\\?"(?:kty|keys|x5c|jwks_uri)\\?"\s*:')
_BASE64_TEXT = re.compile(rb"[A-Za-z0-9+/_-]{56,}")
_HEX_TEXT = re.compile(rb"(?:\w+=)?(?:0x)?((?:[0-9a-f]{2}[:\s]?){44,})", re.IGNORECASE)


def form_of(content: bytes) -> Form | None:
    """The form of a file that holds a key or something else that is no secret; None: no known form."""
    # A key in UTF-16 has NULs between its letters, and begins with one of two byte order marks.
    text = content.replace(b"\0", b"").removeprefix(BYTE_ORDER_MARK).lstrip(b"\xff\xfe").strip()
    known = _form_of_text(text) or _form_of_json(text) or _form_of_der(content) or _form_of_encoded(text)
    return known or (_ENVIRONMENT if _is_environment(text) else None)


def _form_of_text(text: bytes) -> Form | None:
    if b"---- BEGIN" in text or b"-----BEGIN" in text:
        return _PEM
    begins = ((_HTML_TEXT, _HTML), (_HTTP_TEXT, _HTTP), (_XML_TEXT, _XML), (_OPENSSH_TEXT, _OPENSSH))
    if form := next((form for pattern, form in begins if pattern.match(text)), None):
        return form
    whole = ((_URL_TEXT, _URL), (_FILE_NAME_TEXT, _FILE_NAME), (_TOKEN_TEXT, _TOKEN))
    return next((form for pattern, form in whole if pattern.fullmatch(text)), None)


def _is_environment(text: bytes) -> bool:
    lines = [line.strip() for line in text.splitlines()]
    assignments = [line for line in lines if line and not line.startswith(b"#")]
    return bool(assignments) and all(map(_ASSIGNMENT_TEXT.fullmatch, assignments))


def _form_of_json(text: bytes) -> Form | None:
    if text[:1] not in (b"{", b"[", b'"'):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _JWKS if _JWK_TEXT.search(text) else None
    if isinstance(value, str):
        inner = form_of(value.encode(errors="replace"))
        name = f"a JSON string that holds {inner.name}" if inner else "a JSON string"
        return Form(name, "take off its quotes and backslashes: jq -r . FILE")
    return _form_of_list(value) if isinstance(value, list) else _form_of_object(value)


def _form_of_list(value: list[Any]) -> Form:
    if any(isinstance(item, dict) and "kty" in item for item in value):
        return _JWK_LIST
    return _X5C if any(isinstance(item, str) and form_of(item.encode(errors="replace")) for item in value) else _JSON


def _form_of_object(value: dict[str, Any]) -> Form:
    if "kty" in value or "keys" in value:
        return _JWKS
    return _OPENID if "jwks_uri" in value else _JSON


def _form_of_der(data: bytes) -> Form | None:
    kind = _kind_of_der(data)
    command = "x509" if kind == "certificate" else "pkey -pubin"
    return Form(f"a {kind} in DER", f"turn it into PEM: openssl {command} -inform DER -in FILE") if kind else None


def _form_of_encoded(text: bytes) -> Form | None:
    for encoding, data in _decodings(text):
        kind = _kind_of_der(data)
        if kind:
            label = kind.upper()
            around = f"write it between -----BEGIN {label}----- and -----END {label}-----"
            mend = around if encoding == "base64" else "turn it into PEM"
            return Form(f"the bare {encoding} of a {kind}", mend)
        if _is_modulus(data):
            return Form(f"the bare {encoding} of an RSA modulus, the n of a JWK", "give the whole JWK or JWKS")
        inner = _form_of_text(data.strip()) or _form_of_json(data.strip())
        if inner:
            return Form(
                f"the {encoding} of {inner.name}", "decode it" + (": base64 -d" if encoding == "base64" else "")
            )
    return None


_MODULUS_BYTES = (256, 384, 512)
"""The sizes in bytes of RSA moduli with 2048, 3072 and 4096 bits. Secrets are shorter."""


def _is_modulus(data: bytes) -> bool:
    """Whether this looks like the modulus of an RSA key: its highest bit is set, and no small prime divides it.

    4 in 100 random secrets of just that size look like one, too.
    """
    data = data.removeprefix(b"\0")  # OpenSSL prints a sign byte
    if len(data) not in _MODULUS_BYTES or not data[0] & 0x80:
        return False
    return math.gcd(int.from_bytes(data, "big"), math.factorial(1000)) == 1


def _decodings(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Each (encoding, decoded bytes) of the whole text, or of a long word in it: "hex" or "base64"."""
    if found := _HEX_TEXT.fullmatch(text):
        yield "hex", bytes.fromhex(re.sub(rb"[:\s]", b"", found[1]).decode())
        return
    for word in (b"".join(text.split()), *_BASE64_TEXT.findall(text)):
        bare = word.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            yield "base64", base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
        except binascii.Error:
            continue


_SEQUENCE, _INTEGER, _OBJECT_IDENTIFIER, _VERSION = 0x30, 0x02, 0x06, 0xA0
_SECOND_TAGS = {_OBJECT_IDENTIFIER: "public key", _VERSION: "certificate", _INTEGER: "certificate"}
_SHORTEST_KEY_BYTES = 44
"""The size of an Ed25519 public key with its header; with it, one random secret in a million looks like DER."""


def _kind_of_der(data: bytes) -> str | None:
    """The kind of DER value (X.690): "private key", "public key" (RFC 5280 or 8017), "certificate"; None: none."""
    outer = _tag_and_rest(data)
    inner = _tag_and_rest(outer[1]) if outer else None
    if outer is None or inner is None or outer[0] != _SEQUENCE or len(data) < _SHORTEST_KEY_BYTES:
        return None
    if inner[0] == _INTEGER:
        # This integer is a version number, of one byte, or the modulus of an RSA key.
        return "private key" if len(inner[1]) == 1 else "public key"
    # The second value is an algorithm's name, or a certificate's version or serial number. Text may begin like a
    # sequence, with the digit 0, but holds none of these tags.
    return _SECOND_TAGS.get(inner[1][0]) if inner[0] == _SEQUENCE else None


def _tag_and_rest(data: bytes) -> tuple[int, bytes] | None:
    """The tag and the content of the first value in the data; None when the data is cut off."""
    if len(data) < 2:
        return None
    size, begin = data[1], 2
    if size & 0x80:
        begin += size & 0x7F
        size = int.from_bytes(data[2:begin], "big")
    return (data[0], data[begin : begin + size]) if 0 < size <= len(data) - begin else None
