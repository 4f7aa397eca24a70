"""The forms in which keys, certificates and tokens are written down are recognised, and secrets are not."""

from __future__ import annotations

import base64
import json
import random

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admission.key_forms import form_of

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DER = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
PRIVATE_DER = KEY.private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
JWK = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(DER[-32:]).decode().rstrip("=")}
MODULUS = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n.to_bytes(256, "big")
TOKEN = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def named(content: bytes) -> str:
    form = form_of(content)
    return "" if form is None else form.name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PEM, "a key or certificate in PEM"),
        (PEM.decode().encode("utf-16"), "a key or certificate in PEM"),
        (json.dumps(JWK).encode(), "a JWK or a set of JWKs"),
        (json.dumps({"keys": [JWK]}).encode(), "a JWK or a set of JWKs"),
        (json.dumps([JWK]).encode(), "a list of JWKs"),
        (json.dumps(json.dumps(JWK)).encode(), "a JSON string that holds a JWK or a set of JWKs"),
        (b'{"jwks_uri": "https://example.com/keys"}', "an OpenID configuration"),
        (b'{"a": 1}', "JSON without a JWK"),
        (b"https://example.com/keys", "a URL"),
        (b"keys/public.pem\n", "the name of a file"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me", "a key in OpenSSH's form"),
        (b"<RSAKeyValue><Modulus>x</Modulus></RSAKeyValue>", "XML"),
        (b"<!DOCTYPE html><h1>404</h1>", "an HTML page"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "an HTTP response with its headers"),
        (b"JWT_SECRET=abc\n", "lines of NAME=value, as in an environment file"),
        (TOKEN, "a token, which clients hold"),
        (DER, "a public key in DER"),
        (PRIVATE_DER, "a private key in DER"),
        (base64.b64encode(DER), "the bare base64 of a public key"),
        (DER.hex(":").encode(), "the bare hex of a public key"),
        (base64.b64encode(PEM), "the base64 of a key or certificate in PEM"),
        (base64.urlsafe_b64encode(MODULUS).rstrip(b"="), "the bare base64 of an RSA modulus, the n of a JWK"),
        (b"\0" + MODULUS, ""),
    ],
)
def test_a_form_has_a_name(content: bytes, name: str) -> None:
    assert named(content) == name


def test_a_form_tells_its_mend_and_whether_it_may_stand_in_for_a_secret() -> None:
    token, variables = form_of(TOKEN), form_of(b"export TOKEN=abc")
    assert token is not None
    assert token.is_token
    assert variables is not None
    assert variables.may_hold_secret
    assert "value alone" in variables.mend


# From a seed: hypothesis puts constants of the modules that it tests, such as -----BEGIN, into what it draws.
@given(st.integers(0, 2**32), st.integers(16, 43))
def test_random_secrets_have_no_form_however_they_are_written(seed: int, size: int) -> None:
    secret = random.Random(seed).randbytes(size)
    for written in (secret.hex().encode(), base64.b64encode(secret), base64.b32encode(secret)):
        assert form_of(written) is None


@given(st.binary(max_size=300))
def test_any_bytes_may_be_asked_about(content: bytes) -> None:
    form_of(content)
