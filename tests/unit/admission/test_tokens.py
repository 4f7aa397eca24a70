"""Who is let in, what the others are told, and that no token gets past the door."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admission.tokens import TOKEN_LIMIT_BYTES, Admission, Authenticator, AuthSettings
from fws_pipe.errors import UsageError
from fws_pipe.http.handshake import Upgrade
from fws_pipe.http.responses import Refusal
from fws_pipe.protocol import codec

NOW = 1_800_000_000.0
SECRET = b"0123456789abcdef" * 4
OTHER_SECRET = b"fedcba9876543210" * 4
STATIC = "s3cret-of-alice"
TOKENS = f"{STATIC} alice\n# nobody\n\nnameless\n".encode()


def authenticator(
    tokens: bytes | None = None,
    key: bytes | None = None,
    *,
    secret: bytes | None = None,
    audience: str | None = None,
    issuer: str | None = None,
) -> Authenticator:
    given = (("tokens", tokens), ("key", key), ("secret", secret))
    files = {name: content for name, content in given if content is not None}
    settings = AuthSettings(
        tokens_file="tokens" if tokens is not None else None,
        jwt_key_file="key" if key is not None else None,
        jwt_secret_file="secret" if secret is not None else None,
        audience=audience,
        issuer=issuer,
    )
    return Authenticator(settings, files.__getitem__)


def request(*headers: tuple[str, str], query: str = "") -> Upgrade:
    return Upgrade("/chat", query, [("host", "x"), *headers])


def bearing(token: str) -> Upgrade:
    return request(("authorization", f"Bearer {token}"))


def admitted(verdict: Admission | Refusal) -> Admission:
    assert isinstance(verdict, Admission), verdict
    return verdict


def refused(verdict: Admission | Refusal, code: str | None = "invalid_token") -> str:
    """The text of a refusal, after a look at all that each must have."""
    assert isinstance(verdict, Refusal)
    assert verdict.status == 401
    assert "\n" not in verdict.text
    challenge = "Bearer" if code is None else f'Bearer error="{code}", error_description="{verdict.text}"'
    assert verdict.headers == (("WWW-Authenticate", challenge),)
    # The characters that an error_description may have (RFC 6750, section 3).
    assert code is None or all(" " <= character <= "~" and character not in '"\\' for character in verdict.text)
    verdict.encode()
    return verdict.text


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(curve: str = "secp256r1") -> ec.EllipticCurvePrivateKey:
    named: dict[str, ec.EllipticCurve] = {
        found.name: found for found in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1(), ec.SECP224R1())
    }
    return ec.generate_private_key(named[curve])


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    return pem


def certificate(key: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    start = datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=1))
    signing = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return built.sign(key, signing).public_bytes(Encoding.PEM)


def jwk(key: Any, **more: str) -> dict[str, Any]:
    """The JWK of a key, private where the key is, made by PyJWT."""
    kind = "RS256" if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)) else "ES256"
    made: dict[str, Any] = jwt.get_algorithm_by_name(kind).to_jwk(key, as_dict=True)
    return {**made, **more}


def oct_jwk(secret: bytes, **more: str) -> dict[str, Any]:
    return {"kty": "oct", "k": base64.urlsafe_b64encode(secret).decode().rstrip("="), **more}


def signed(claims: dict[str, Any] | None = None, key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(claims or {}, key, algorithm, headers or None)


def raw_token(header: bytes, payload: bytes = b"{}", signature: bytes = b"x") -> str:
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (header, payload, signature))


def signed_text(payload: bytes) -> str:
    """A good token around any payload, JSON or not."""
    return jwt.PyJWS().encode(payload, SECRET, "HS256")


class TestCarriers:
    @pytest.mark.parametrize(
        ("headers", "query"),
        [
            ([("authorization", f"Bearer {STATIC}")], ""),
            ([("authorization", f"bEARER   {STATIC}")], ""),
            ([], f"token={STATIC}"),
            ([], f"a=1&token={STATIC}&token=wrong"),
            ([], f"%74oke%6e={quote(STATIC)}"),
            ([], "token=" + "".join(f"%{byte:02x}" for byte in STATIC.encode())),
            ([("cookie", f"token={STATIC}")], ""),
            ([("cookie", f'a=b; token="{STATIC}";c')], ""),
            ([("cookie", "a=b"), ("cookie", f"token={STATIC}")], ""),
            # The first that is present decides.
            ([("authorization", f"Bearer {STATIC}"), ("cookie", "token=wrong")], "token=wrong"),
            ([("cookie", "token=wrong")], f"token={STATIC}"),
            ([("authorization", "Basic YTpi")], f"token={STATIC}"),
        ],
    )
    def test_a_token_is_found(self, headers: list[tuple[str, str]], query: str) -> None:
        admission = admitted(authenticator(TOKENS).admit(request(*headers, query=query), NOW))
        assert admission.claims == {"sub": "alice"}
        assert admission.expires is None

    @pytest.mark.parametrize(
        ("headers", "query", "code", "text"),
        [
            ([], "", None, "This server wants a token"),
            ([("authorization", "Basic YTpi")], "tokens=x&Token=x", None, "This server wants a token"),
            ([("cookie", "Token=x; tokens=x")], "", None, "in the cookie token"),
            ([("authorization", "Bearer wrong")], f"token={STATIC}", "invalid_token", "Unknown token."),
            ([("cookie", f"token={STATIC}")], "token=wrong", "invalid_token", "Unknown token."),
            ([("authorization", "Bearer")], "", "invalid_request", "The token is empty."),
            ([], "token", "invalid_request", "The token is empty."),
            ([], f"token=&token={STATIC}", "invalid_request", "The token is empty."),
            ([("cookie", "token=")], "", "invalid_request", "The token is empty."),
            (
                [("authorization", f"Bearer {STATIC}"), ("authorization", f"Bearer {STATIC}")],
                "",
                "invalid_request",
                "several Authorization headers",
            ),
            (
                [("authorization", f"Bearer {STATIC}"), ("authorization", "Basic YTpi")],
                "",
                "invalid_request",
                "several Authorization headers",
            ),
        ],
    )
    def test_a_request_is_refused(
        self, headers: list[tuple[str, str]], query: str, code: str | None, text: str
    ) -> None:
        assert text in refused(authenticator(TOKENS).admit(request(*headers, query=query), NOW), code)

    def test_the_cookie_may_have_another_name(self) -> None:
        with_cookie = Authenticator(AuthSettings("tokens", cookie="session"), lambda path: TOKENS)
        admission = admitted(with_cookie.admit(request(("cookie", f"token=kept; session={STATIC}")), NOW))
        assert ("cookie", "token=kept") in admission.request.headers
        assert "the cookie session" in refused(with_cookie.admit(request(), NOW), None)

    def test_what_is_no_token_is_kept_to_the_letter(self) -> None:
        before = request(
            ("cookie", "a=b;c ;  "),
            ("authorization", "Bearer nameless"),
            ("cookie", "x=1;token=t; y=2"),
            ("cookie", "token=t"),
            ("cookie", "token=t; "),
            ("cookie", ""),
            ("x-token", "kept"),
            query="&a=%41+b&token=t&&%54oken=kept&a=;token=kept&=%74oken&%74%6Fken",
        )
        after = admitted(authenticator(TOKENS).admit(before, NOW)).request
        assert after == Upgrade(
            "/chat",
            "&a=%41+b&&%54oken=kept&a=;token=kept&=%74oken",
            [("host", "x"), ("cookie", "a=b;c ;  "), ("cookie", "x=1; y=2"), ("cookie", ""), ("x-token", "kept")],
        )

    @given(st.data())
    def test_the_admitted_request_never_contains_the_token(self, data: st.DataObject) -> None:
        token = "Zk9-secret"
        words = st.text(st.sampled_from("ab%=+ ;token"), max_size=8)
        encoded = st.sampled_from([token, *("".join(f"%{byte:02{x}}" for byte in token.encode()) for x in "xX")])
        names = st.sampled_from(["token", "%74oken", "t%6Fk%65n", "%74%6f%6b%65%6E"])
        parameters = data.draw(st.lists(words | st.builds("{}={}".format, names, encoded), max_size=4))
        crumbs = st.lists(words | st.sampled_from([f"token={token}", f' token ="{token}"']), max_size=4)
        headers = st.one_of(st.tuples(st.just("cookie"), crumbs.map(";".join)), st.tuples(st.just("origin"), words))
        authorization = data.draw(st.sampled_from([[], [f"Bearer {token}"], [f"Basic {token}"], [token]]))
        others = data.draw(st.lists(headers, max_size=4))
        before = request(*(("authorization", value) for value in authorization), *others, query="&".join(parameters))
        verdict = authenticator(token.encode()).admit(before, NOW)
        if isinstance(verdict, Admission):
            for text in (verdict.request.query, *(value for _, value in verdict.request.headers)):
                assert token not in unquote(text)
            kept = [header for header in verdict.request.headers if header[0] not in ("cookie", "authorization")]
            assert kept == [header for header in before.headers if header[0] not in ("cookie", "authorization")]
        else:
            assert token not in verdict.encode().decode()


class TestStaticTokens:
    def test_names(self) -> None:
        tokens = authenticator(b"\xef\xbb\xbfa\nb\tBob the builder \r\n c   caf\xc3\xa9\n#d\n\xc3\xa9 e")
        verdicts = {token: tokens.admit(bearing(token), NOW) for token in ("a", "b", "c", "\xc3\xa9")}
        assert {token: admitted(verdict).claims for token, verdict in verdicts.items()} == {
            "a": {},
            "b": {"sub": "Bob the builder"},
            "c": {"sub": "café"},
            "\xc3\xa9": {"sub": "e"},
        }
        assert refused(tokens.admit(bearing("#d"), NOW)) == "Unknown token."

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "there is no token in it"),
            (b"\n # x\n\n", "there is no token in it"),
            (b"a x\n#\nbb\na y\n", "lines 1 and 4 have the same token"),
            (b"a\n\nb \xff\n", "line 3: the name behind the token isn't UTF-8"),
            ("a\n".encode("utf-16"), "NUL bytes"),
            (b"x" * (TOKEN_LIMIT_BYTES + 1), "line 1: the token is longer than 8192 bytes"),
            (b"-----BEGIN PUBLIC KEY-----\nx\n", "is it meant for --auth-jwt?"),
        ],
    )
    def test_a_wrong_file(self, content: bytes, problem: str) -> None:
        with pytest.raises(UsageError) as caught:
            authenticator(content)
        assert problem in str(caught.value)
        assert str(caught.value).startswith("--auth-tokens tokens")
        assert "\n" not in str(caught.value)

    @given(
        st.dictionaries(
            st.text(st.characters(codec="latin-1", exclude_categories=("C", "Z")), min_size=1, max_size=9).filter(
                lambda token: not token.startswith("#")
            ),
            st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=9),
            min_size=1,
            max_size=5,
        ),
        st.sampled_from([b" ", b"\t", b" \t "]),
        st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n# x y\n"]),
    )
    def test_each_token_of_a_file_is_known_by_its_name(self, names: dict[str, str], blank: bytes, end: bytes) -> None:
        lines = [token.encode("latin-1") + blank + name.encode() for token, name in names.items()]
        tokens = authenticator(end.join(lines))
        for token, name in names.items():
            expected = {"sub": name} if name else {}
            assert admitted(tokens.admit(bearing(token), NOW)).claims == expected
        refused(tokens.admit(bearing("".join(names) + "!"), NOW))

    @given(st.binary(max_size=60))
    def test_any_file_is_taken_or_refused_in_one_line(self, content: bytes) -> None:
        try:
            authenticator(content)
        except UsageError as error:
            assert len(str(error).splitlines()) == 1


CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


class TestKeyFiles:
    @pytest.mark.parametrize("form", [public_pem, certificate])
    @pytest.mark.parametrize(
        ("key", "algorithm"),
        [
            *((rsa_key, algorithm) for algorithm in RSA_ALGORITHMS),
            *((lambda curve=curve: ec_key(curve), algorithm) for curve, algorithm in CURVES.items()),
            (ed25519_key, "EdDSA"),
        ],
    )
    def test_pem(self, key: Callable[[], Any], algorithm: str, form: Callable[[Any], bytes]) -> None:
        keys = authenticator(key=b"text before it\n" + form(key()))
        token = signed({"sub": "alice"}, key(), algorithm)
        assert admitted(keys.admit(bearing(token), NOW)).claims == {"sub": "alice"}

    def test_pkcs1(self) -> None:
        pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        admitted(authenticator(key=pem).admit(bearing(signed({}, rsa_key(), "RS256")), NOW))

    @pytest.mark.parametrize(
        ("size", "taken"), [(32, ["HS256"]), (48, ["HS256", "HS384"]), (64, ["HS256", "HS384", "HS512"])]
    )
    def test_a_secret_is_good_for_hashes_up_to_its_size(self, size: int, taken: list[str]) -> None:
        keys = authenticator(secret=SECRET[:size] + b"\r\n")
        for algorithm in ("HS256", "HS384", "HS512"):
            signature = jwt.get_algorithm_by_name(algorithm)
            head, _ = raw_token(json.dumps({"alg": algorithm}).encode()).rsplit(".", 1)
            mark = base64.urlsafe_b64encode(signature.sign(head.encode(), SECRET[:size])).decode().rstrip("=")
            assert isinstance(keys.admit(bearing(f"{head}.{mark}"), NOW), Admission) == (algorithm in taken)

    def test_a_set_of_keys_is_asked_by_name(self) -> None:
        members: list[Any] = [
            jwk(rsa_key().public_key(), kid="r", alg="PS256", use="sig"),
            jwk(ec_key().public_key(), kid="e"),
            oct_jwk(SECRET, kid="s"),
            oct_jwk(OTHER_SECRET, kid="s2"),
            jwk(rsa_key(), kid="x", use="enc"),
            {"kty": "future"},
            jwk(ec_key("secp384r1").public_key(), alg="ES256"),
            {"kty": "EC", "crv": "P-256", "x": 5, "y": None},
            "nonsense",
        ]
        keys = authenticator(key=json.dumps({"keys": members}).encode())
        for token in (
            signed({}, rsa_key(), "PS256", kid="r"),
            signed({}, ec_key(), "ES256", kid="e"),
            signed({}, SECRET, kid="s"),
            signed({}, SECRET),
            signed({}, OTHER_SECRET),
        ):
            admitted(keys.admit(bearing(token), NOW))
        for token, text in (
            (signed({}, SECRET, kid="s2"), "signature is wrong"),
            (signed({}, SECRET * 2), "signature is wrong"),
            (signed({}, SECRET, kid="r"), "this server takes: PS256."),
            (signed({}, rsa_key(), "RS256", kid="r"), "this server takes: PS256."),
            (signed({}, rsa_key(), "RS256", kid="x"), "a key that this server does not have (kid)"),
        ):
            assert text in refused(keys.admit(bearing(token), NOW))

    def test_a_single_jwk(self) -> None:
        keys = authenticator(key=json.dumps(jwk(ec_key().public_key()), indent=1).encode())
        admitted(keys.admit(bearing(signed({}, ec_key(), "ES256", kid="any")), NOW))

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (lambda: b"", "the file is empty"),
            (lambda: b" \n\n", "the file is empty"),
            (
                lambda: SECRET,
                "if tokens are signed with it as a secret (HS256, HS384, HS512), give it as --auth-jwt-secret",
            ),
            (lambda: private_pem(rsa_key()), "this is a private key; give its public part: openssl pkey -in key -pub"),
            (lambda: private_pem(rsa_key(), PrivateFormat.TraditionalOpenSSL), "this is a private key"),
            (lambda: private_pem(ec_key(), PrivateFormat.TraditionalOpenSSL), "this is a private key"),
            (lambda: certificate(ec_key()) + private_pem(ec_key()), "this is a private key"),
            (lambda: b"-----BEGIN PUBLIC KEY-----\nrubbish\n-----END PUBLIC KEY-----\n", "that can be read"),
            (lambda: b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n", "that can be read"),
            (lambda: public_pem(rsa_key())[:200], "that can be read"),
            (lambda: public_pem(rsa_key()).decode().encode("utf-16"), "that can be read"),
            (lambda: public_pem(rsa_key(1024)), "the RSA key has 1024 bits, 2048 is the least"),
            (lambda: public_pem(ec_key("secp224r1")), "of a kind that no token is signed with"),
            (lambda: public_pem(dsa.generate_private_key(2048)), "of a kind that no token is signed with"),
            (lambda: openssh(rsa_key()), "a key in OpenSSH's form; turn it into PEM: ssh-keygen"),
            (lambda: der(rsa_key()), "a public key in DER; turn it into PEM: openssl pkey -pubin"),
            (lambda: json.dumps([jwk(ec_key().public_key())]).encode(), "a list of JWKs; write"),
            (lambda: json.dumps(jwk(ec_key().public_key())).encode()[:-1], "it is not JSON"),
            (lambda: b'{"a":' + b"[" * 100_000, "it is not JSON"),
            (lambda: json.dumps(jwk(rsa_key())).encode(), "there is a private key in it"),
            (lambda: json.dumps({"keys": [jwk(ec_key())]}).encode(), "there is a private key in it"),
            (lambda: json.dumps({"keys": [oct_jwk(b"short")]}).encode(), "the secret has 5 bytes"),
            (lambda: b'{"keys": {}}', '"keys" must be a list'),
            (lambda: b'{"keys": []}', "no JWK in it that can check a signature"),
            (lambda: b"{}", "no JWK in it that can check a signature"),
            (lambda: json.dumps(jwk(rsa_key().public_key(), alg="none")).encode(), "no JWK in it"),
        ],
    )
    def test_a_wrong_file(self, content: Callable[[], bytes], problem: str) -> None:
        with pytest.raises(UsageError) as caught:
            authenticator(key=content())
        assert problem in str(caught.value)
        assert str(caught.value).startswith("--auth-jwt key: ")
        assert "\n" not in str(caught.value)

    @given(st.binary(max_size=60) | st.binary(max_size=60).map(b"-----BEGIN PUBLIC KEY-----\n".__add__), st.booleans())
    def test_any_file_is_taken_or_refused_in_one_line(self, content: bytes, is_secret: bool) -> None:
        try:
            authenticator(secret=content) if is_secret else authenticator(key=content)
        except UsageError as error:
            assert len(str(error).splitlines()) == 1

    @pytest.mark.parametrize(
        ("module", "content", "package"),
        [
            ("jwt", b"-----BEGIN PUBLIC KEY-----", "PyJWT"),
            ("cryptography.exceptions", b"-----BEGIN PUBLIC KEY-----", "cryptography"),
            ("cryptography", b'{"kty": "EC"}', "cryptography"),
        ],
    )
    def test_a_package_is_missing(
        self, module: str, content: bytes, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError) as caught:
            authenticator(key=content)
        assert str(caught.value) == f"--auth-jwt needs {package}: {sys.executable} -m pip install 'PyJWT[crypto]>=2.14'"

    def test_another_package_is_in_the_place_of_pyjwt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jwt", types.ModuleType("jwt"))
        with pytest.raises(
            UsageError, match=r"^--auth-jwt-secret needs PyJWT, and jwt is something else: .*PyJWT\[crypto\]"
        ):
            authenticator(secret=SECRET)

    def test_nothing_is_loaded_before_there_is_a_key_file(self) -> None:
        check = "import sys, fws_pipe.admission.tokens; sys.exit('jwt' in sys.modules or 'cryptography' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def x5c() -> bytes:
    """A certificate's DER in base64, as it stands in an x5c."""
    return b"".join(certificate(ec_key()).splitlines()[1:-1])


def bare(key: Any) -> bytes:
    """A public key's DER in base64, without PEM's lines around it."""
    return base64.b64encode(der(key))


def modulus(key: Any) -> bytes:
    """The modulus of an RSA key."""
    number: int = key.public_key().public_numbers().n
    return number.to_bytes(256, "big")


def public_jwks() -> bytes:
    return json.dumps({"keys": [jwk(ec_key().public_key())]}).encode()


KEYS_IN_DISGUISE: list[tuple[Callable[[], bytes], str]] = [
    (lambda: bare(rsa_key()), "the bare base64 of a public key"),
    (lambda: bare(ec_key()) + b"\n", "the bare base64 of a public key"),
    (lambda: bare(ed25519_key()), "the bare base64 of a public key"),
    (lambda: base64.urlsafe_b64encode(der(rsa_key())).rstrip(b"="), "the bare base64 of a public key"),
    (lambda: base64.encodebytes(der(rsa_key())), "the bare base64 of a public key"),
    (lambda: bare(rsa_key()).decode().encode("utf-16"), "the bare base64 of a public key"),
    (lambda: b"key=" + bare(ec_key()), "the bare base64 of a public key"),
    (lambda: der(rsa_key()).hex().encode(), "the bare hex of a public key"),
    (lambda: base64.b64encode(public_pem(ec_key())), "the base64 of a key or certificate in PEM"),
    (lambda: base64.b64encode(public_jwks()), "the base64 of a JWK or a set of JWKs"),
    (lambda: b"".join(private_pem(ec_key()).splitlines()[1:-1]), "the bare base64 of a private key"),
    (x5c, "the bare base64 of a certificate"),
    (lambda: json.dumps([x5c().decode()]).encode(), "an x5c list of certificates"),
    (lambda: b'"%b","%b"' % (x5c(), x5c()), "the bare base64 of a certificate"),
    (lambda: json.dumps(public_jwks().decode()).encode(), "a JSON string that holds a JWK or a set of JWKs"),
    (lambda: json.dumps([jwk(ec_key().public_key())]).encode(), "a list of JWKs"),
    (lambda: b"https://issuer.example/.well-known/jwks.json\n", "a URL"),
    (lambda: b"/etc/keys/issuer-public-key-of-2026.pem\n", "the name of a file"),
    (lambda: openssh(ec_key()), "a key in OpenSSH's form"),
    (lambda: der(ec_key()), "a public key in DER"),
    (lambda: der(rsa_key()) + b"\n", "a public key in DER"),
    (lambda: bytes.fromhex("302a300506032b6570032100") + b"k" * 31 + b"\n", "a public key in DER"),
    (lambda: signed({"sub": "alice"}).encode(), "a token, which clients hold"),
    (lambda: b"<RSAKeyValue><Modulus>x</Modulus></RSAKeyValue>", "XML"),
    (lambda: jwk(rsa_key().public_key())["n"].encode() + b"\n", "the bare base64 of an RSA modulus, the n of a JWK"),
    (lambda: b'"n": "%b",' % jwk(rsa_key().public_key())["n"].encode(), "the bare base64 of an RSA modulus"),
    (lambda: b"Modulus=" + modulus(rsa_key()).hex().upper().encode(), "the bare hex of an RSA modulus"),
    (lambda: b"00:" + modulus(rsa_key()).hex(":", 1).encode(), "the bare hex of an RSA modulus"),
    (lambda: base64.encodebytes(modulus(rsa_key())), "the bare base64 of an RSA modulus"),
    (lambda: b"\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n", "an HTML page"),
    (lambda: b"<html>\r\n<head><title>404 Not Found</title></head>\r\n", "an HTML page"),
    (lambda: b"<Error><Code>NoSuchKey</Code><Key>key.pem</Key></Error>", "XML"),
    (lambda: b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno such key\n", "an HTTP response"),
]
ENVIRONMENTS = [
    b"JWT_SECRET=%b\n",
    b"export SIGNING=%b\n",
    b"# the server's\nPORT=9000\n\nAPP_KEY='%b'\n",
    b"secret = %b\n",
    b"jwt-secret: %b\n",
]

KEYS_FOR_AUTH_JWT: list[tuple[Callable[[], bytes], str]] = [
    (lambda: public_pem(rsa_key()), "a key or certificate in PEM"),
    (lambda: private_pem(rsa_key()), "a key or certificate in PEM"),
    (lambda: public_pem(rsa_key()).decode().encode("utf-16"), "a key or certificate in PEM"),
    (lambda: certificate(ec_key()), "a key or certificate in PEM"),
    (public_jwks, "a JWK or a set of JWKs"),
    (lambda: public_jwks()[:-1], "a JWK or a set of JWKs"),
    (lambda: b'{"issuer": "x", "jwks_uri": "https://issuer.example/keys"}', "an OpenID configuration"),
]


class TestSecretFiles:
    @pytest.mark.parametrize(("content", "form"), KEYS_IN_DISGUISE + KEYS_FOR_AUTH_JWT)
    def test_regression_what_others_may_know_becomes_no_secret(self, content: Callable[[], bytes], form: str) -> None:
        """A file that was no PEM and no JWKS became an HMAC secret: anybody could sign with a public key."""
        with pytest.raises(UsageError) as caught:
            authenticator(secret=content())
        assert str(caught.value).startswith(f"--auth-jwt-secret secret: this looks like {form}")
        assert "--auth-jwt" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("line", ENVIRONMENTS)
    def test_lines_of_an_environment_are_no_secret(self, line: bytes) -> None:
        with pytest.raises(UsageError) as caught:
            authenticator(secret=line % SECRET)
        assert "this looks like lines of NAME=value" in str(caught.value)
        assert str(caught.value).endswith("; give a file with the value alone")

    @pytest.mark.parametrize(
        "secret",
        [
            b"correct horse battery staple = 4 words",
            b"A1=x%b" % SECRET,
            b"<%b>" % SECRET,
            b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXPJBSWY3DPEHPK3P==",
            b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXPJBSWY3DPEHPK3PA=",
            b"my secret is better than your secret",
            b"0b0" + b"Z" * 97,  # as bytes of DER it is a sequence in a sequence
        ],
    )
    def test_passphrases_with_odd_characters_are_taken(self, secret: bytes) -> None:
        admitted(authenticator(secret=secret + b"\n").admit(bearing(signed({}, secret)), NOW))

    @pytest.mark.parametrize(("content", "form"), KEYS_IN_DISGUISE)
    def test_auth_jwt_says_what_a_file_looks_like_that_it_does_not_take(
        self, content: Callable[[], bytes], form: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            authenticator(key=content())
        assert str(caught.value).startswith(f"--auth-jwt key: this looks like {form}")
        assert ";" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("content", "form"), KEYS_IN_DISGUISE + KEYS_FOR_AUTH_JWT)
    def test_none_is_a_list_of_tokens(self, content: Callable[[], bytes], form: str) -> None:
        """The first word of a public key would let everybody in who knows it."""
        if form.startswith("a token"):
            assert admitted(authenticator(content()).admit(bearing(content().decode()), NOW)).claims == {}
            return
        with pytest.raises(UsageError, match=r"--auth-tokens tokens: this looks like .*, not like a list of tokens"):
            authenticator(content())

    @pytest.mark.parametrize("content", [b"", b"\n", SECRET[:31], SECRET[:31] + b"\r\n"])
    def test_one_that_is_too_short(self, content: bytes) -> None:
        problem = "the secret has 31 bytes, 32 is the least" if content.strip() else "the file is empty"
        with pytest.raises(UsageError, match=f"^--auth-jwt-secret secret: {problem}"):
            authenticator(secret=content)

    @given(st.integers(min_value=0), st.integers(min_value=32, max_value=64))
    def test_random_bytes_in_any_encoding_are_taken(self, seed: int, size: int) -> None:
        """Of a seed: hypothesis's own bytes may hold the texts that the source looks for, such as -----BEGIN."""
        secret = random.Random(seed).randbytes(size)
        for content in (secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
            admitted(authenticator(secret=content + b"\n").admit(bearing(signed({}, content)), NOW))

    def test_a_key_and_a_secret_may_stand_side_by_side(self) -> None:
        both = authenticator(key=public_pem(rsa_key()), secret=SECRET)
        admitted(both.admit(bearing(signed({}, rsa_key(), "RS256", kid="any")), NOW))
        admitted(both.admit(bearing(signed({})), NOW))
        refused(both.admit(bearing(signed({}, OTHER_SECRET)), NOW))


def openssh(key: Any) -> bytes:
    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line


def der(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


class TestJsonWebTokens:
    @pytest.mark.parametrize(
        ("claims", "expires"),
        [
            ({}, None),
            ({"exp": NOW + 1, "nbf": NOW, "iat": NOW}, NOW + 1),
            (json.loads('{"a":' + "[" * 31 + "1" + "]" * 31 + "}"), None),
            ({"exp": int(NOW) + 1, "aud": "anybody", "iss": "anybody", "roles": [{"a": None}]}, NOW + 1),
        ],
    )
    def test_good(self, claims: dict[str, Any], expires: float | None) -> None:
        admission = admitted(authenticator(secret=SECRET).admit(bearing(signed(claims)), NOW))
        assert admission.claims == claims
        assert admission.expires == expires
        assert expires is None or isinstance(admission.expires, float)

    @pytest.mark.parametrize("audience", ["us", ["them", "us"]])
    def test_meant_for_us(self, audience: str | list[str]) -> None:
        keys = authenticator(secret=SECRET, audience="us", issuer="me")
        admitted(keys.admit(bearing(signed({"aud": audience, "iss": "me"})), NOW))

    @pytest.mark.parametrize(
        ("claims", "text"),
        [
            ({"exp": NOW}, "The token has expired."),
            ({"exp": 0}, "The token has expired."),
            ({"nbf": NOW + 0.5}, "The token is not valid yet (nbf)."),
            ({"iat": NOW + 1}, "The token was issued in the future (iat)."),
            ({"exp": True}, "The token's exp is not a date"),
            ({"exp": str(NOW + 9)}, "The token's exp is not a date"),
            ({"exp": None}, "The token's exp is not a date"),
            ({"nbf": [1]}, "The token's nbf is not a date"),
            ({"exp": float("inf")}, "The token's exp is not a date"),
            ({"nbf": float("nan")}, "The token's nbf is not a date"),
            ({"exp": 10**400}, "a claim that msgpack can't carry"),
            ({"n": 2**64}, "a claim that msgpack can't carry"),
            ({"n": "\ud800"}, "a claim that msgpack can't carry"),
            ({"sub": 5}, "The token is malformed"),
        ],
    )
    def test_bad_claims(self, claims: dict[str, Any], text: str) -> None:
        # Not through jwt.encode: it would refuse some of these itself.
        token = signed_text(json.dumps(claims).encode())
        assert text in refused(authenticator(secret=SECRET).admit(bearing(token), NOW))

    @pytest.mark.parametrize(
        ("claims", "text"),
        [
            ({"iss": "me"}, "not meant for this server (aud)"),
            ({"iss": "me", "aud": "them"}, "not meant for this server (aud)"),
            ({"iss": "me", "aud": ["them", 5]}, "not meant for this server (aud)"),
            ({"iss": "me", "aud": {"us": 1}}, "not meant for this server (aud)"),
            ({"aud": "us"}, "not from the issuer that this server trusts (iss)"),
            ({"aud": "us", "iss": "you"}, "not from the issuer that this server trusts (iss)"),
            ({"aud": "us", "iss": ["me"]}, "not from the issuer that this server trusts (iss)"),
        ],
    )
    def test_meant_for_others(self, claims: dict[str, Any], text: str) -> None:
        keys = authenticator(secret=SECRET, audience="us", issuer="me")
        assert text in refused(keys.admit(bearing(signed_text(json.dumps(claims).encode())), NOW))

    @pytest.mark.parametrize(
        ("token", "text"),
        [
            ("x", "malformed"),
            ("..", "malformed"),
            ("a.b.c.d.e", "malformed"),
            (signed() + "\xe9", "bytes that are not ASCII"),
            (signed()[:-2], "malformed"),
            (signed({}, OTHER_SECRET), "The token's signature is wrong."),
            (raw_token(b"[]"), "malformed"),
            (raw_token(b"{"), "malformed"),
            (raw_token(b"{}"), "algorithm (alg)"),
            (raw_token(b'{"alg": ["HS256"]}'), "algorithm (alg)"),
            (raw_token(b'{"alg": "HS256", "kid": {}}'), "malformed"),
            (raw_token(b'{"alg": "HS256", "crit": ["x"], "x": 1}'), "malformed"),
            (raw_token(b'{"alg": "HS256", "b64": false}'), "malformed"),
            (raw_token(b'{"a":' + b"[" * 4000), "malformed"),
            (raw_token(b'{"a":' + b"1" * 4400), "malformed"),
            (signed_text(b"\xff"), "malformed"),
            (signed_text(b"[]"), "malformed"),
            (signed_text(b'{"a":' + b"[" * 4000), "malformed"),
            (signed_text(b'{"a":' + b"[" * 32 + b"1" + b"]" * 32 + b"}"), "nested more than 32 levels deep"),
            (signed_text(b'{"a":' + b"[" * 800 + b"]" * 800 + b"}"), "nested more than 32 levels deep"),
            ("x" * (TOKEN_LIMIT_BYTES + 1), "The token is longer than 8192 bytes."),
            (signed({"a": "x" * 8000}), "The token is longer than 8192 bytes."),
        ],
    )
    def test_bad_tokens(self, token: str, text: str) -> None:
        told = refused(authenticator(secret=SECRET).admit(bearing(token), NOW))
        assert text in told
        assert len(token) < 5 or token not in told

    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE"])
    @pytest.mark.parametrize(
        "keys", [lambda: authenticator(secret=SECRET), lambda: authenticator(key=public_pem(rsa_key()))]
    )
    def test_regression_alg_none(self, alg: str, keys: Callable[[], Authenticator]) -> None:
        """A token may say that it isn't signed, and old libraries believed it (RFC 8725, section 2.1)."""
        header = json.dumps({"alg": alg}).encode()
        for token in (raw_token(header), raw_token(header, signature=b"")):
            assert "algorithm (alg)" in refused(keys().admit(bearing(token), NOW))

    @pytest.mark.parametrize("form", [public_pem, certificate, openssh, der])
    @pytest.mark.parametrize("key", [rsa_key, ec_key])
    @pytest.mark.parametrize("in_jwks", [False, True])
    def test_regression_algorithm_confusion(
        self, key: Callable[[], Any], form: Callable[[Any], bytes], in_jwks: bool
    ) -> None:
        """A public key used as a secret: whoever knows it could sign (RFC 8725, section 2.1)."""
        known = json.dumps({"keys": [jwk(key().public_key())]}).encode() if in_jwks else public_pem(key())
        keys = authenticator(key=known)
        for secret in (form(key()), form(key()).rstrip(b"\n"), known):
            head, _ = raw_token(b'{"alg": "HS256"}', b'{"sub": "root"}').rsplit(".", 1)
            mark = jwt.get_algorithm_by_name("HS256").sign(head.encode(), secret)
            token = f"{head}.{base64.urlsafe_b64encode(mark).decode().rstrip('=')}"
            assert "algorithm (alg)" in refused(keys.admit(bearing(token), NOW))

    @given(st.text(st.characters(codec="latin-1"), max_size=80) | st.binary(max_size=60).map(raw_token))
    def test_any_token_gets_a_verdict(self, token: str) -> None:
        """Nothing is raised, and no bytes that nobody has signed are let in."""
        verdict = authenticator(TOKENS, secret=SECRET).admit(request(query=f"token={quote(token)}"), NOW)
        refused(verdict, "invalid_token" if token else "invalid_request")

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )

    @given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "a"]), json_values))
    def test_the_claims_of_an_admitted_token_fit_into_an_event(self, claims: dict[str, Any]) -> None:
        """Whatever an issuer signs is refused, or has a msgpack form and a time that is to come."""
        verdict = authenticator(secret=SECRET).admit(bearing(signed_text(json.dumps(claims).encode())), NOW)
        if isinstance(verdict, Admission):
            codec.encode({"type": "open", "auth": verdict.claims})
            assert verdict.expires is None or verdict.expires > NOW
        else:
            refused(verdict)


class TestAuthenticator:
    def test_either_kind_will_do(self) -> None:
        both = authenticator(TOKENS, secret=SECRET)
        assert admitted(both.admit(bearing(STATIC), NOW)).claims == {"sub": "alice"}
        assert admitted(both.admit(bearing(signed({"sub": "bob"})), NOW)).claims == {"sub": "bob"}
        assert refused(both.admit(bearing("s3cret"), NOW)) == "Unknown token."
        assert refused(both.admit(bearing(signed({"exp": 1})), NOW)) == "The token has expired."

    def test_without_files_nobody_is_admitted(self) -> None:
        refused(authenticator().admit(bearing(""), NOW), "invalid_request")
        assert refused(authenticator().admit(bearing(STATIC), NOW)) == "Unknown token."

    def test_files_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "tokens").write_bytes(TOKENS)
        admitted(Authenticator(AuthSettings(str(tmp_path / "tokens"))).admit(bearing(STATIC), NOW))

    @pytest.mark.parametrize(
        ("settings", "option"),
        [
            (lambda path: AuthSettings(tokens_file=path), "--auth-tokens"),
            (lambda path: AuthSettings(jwt_key_file=path), "--auth-jwt"),
        ],
    )
    def test_files_that_cannot_be_read(
        self, settings: Callable[[str], AuthSettings], option: str, tmp_path: Path
    ) -> None:
        for path, problem in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
            with pytest.raises(UsageError) as caught:
                Authenticator(settings(str(path)))
            assert str(caught.value) == f"{option} {path}: the file can't be read: {problem}"

        def refuse(path: str) -> bytes:
            raise PermissionError(13, "Permission denied", path)

        with pytest.raises(UsageError, match="x: the file can't be read: Permission denied"):
            Authenticator(settings("x"), refuse)

    def test_reload(self) -> None:
        files = {"tokens": b"old", "key": SECRET}
        both = Authenticator(AuthSettings("tokens", None, "key"), files.__getitem__)
        files.update(tokens=b"new", key=OTHER_SECRET)
        refused(both.admit(bearing("new"), NOW))
        both.reload()
        refused(both.admit(bearing("old"), NOW))
        refused(both.admit(bearing(signed()), NOW))
        admitted(both.admit(bearing("new"), NOW))
        admitted(both.admit(bearing(signed({}, OTHER_SECRET)), NOW))

    @pytest.mark.parametrize(("tokens", "key"), [(b"new", b"short"), (b"", OTHER_SECRET)])
    def test_a_reload_takes_all_or_nothing(self, tokens: bytes, key: bytes) -> None:
        files = {"tokens": b"old", "key": SECRET}
        both = Authenticator(AuthSettings("tokens", None, "key"), files.__getitem__)
        files.update(tokens=tokens, key=key)
        with pytest.raises(UsageError):
            both.reload()
        admitted(both.admit(bearing("old"), NOW))
        admitted(both.admit(bearing(signed()), NOW))
        refused(both.admit(bearing("new"), NOW))

    def test_claims_belong_to_one_connection(self) -> None:
        tokens = authenticator(TOKENS)
        claims = admitted(tokens.admit(bearing(STATIC), NOW)).claims
        assert claims is not None
        claims["sub"] = "mallory"
        assert admitted(tokens.admit(bearing(STATIC), NOW)).claims == {"sub": "alice"}

    def test_no_secret_is_shown(self) -> None:
        both = authenticator(TOKENS, secret=SECRET)
        token = signed({"exp": NOW + 1})
        parts = [both, vars(both), vars(both._keys), admitted(both.admit(bearing(token), NOW))]
        shown = " ".join(map(repr, parts))
        assert not any(secret in shown for secret in (STATIC, "nameless", SECRET.decode()[:16], token))
