"""The server's certificates: loaded at start, loaded again on SIGHUP."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from fws_pipe.errors import UsageError


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the certificate with its chain, its key (None: in the same file), the clients' authorities."""

    certificate: str
    key: str | None = None
    client_authorities: str | None = None


def load_context(files: TlsFiles) -> ssl.SSLContext:
    """A server's TLS settings: TLS 1.2 or better. Raises UsageError that names the file and the mend."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for flag, path in (("cert", files.certificate), ("key", files.key), ("client-ca", files.client_authorities)):
        _check_readable(flag, path)
    try:
        # A password that is asked for on the terminal would stop the server, at a reload even for good.
        context.load_cert_chain(files.certificate, files.key, password=_refuse_password)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(_why(error, files)) from None
    if files.client_authorities:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_authorities)
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"--client-ca {files.client_authorities}: holds no PEM certificate ({error})") from None
    return context


def _check_readable(flag: str, path: str | None) -> None:
    if path is None:
        return
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        raise UsageError(f"--{flag} {path}: {error.strerror}") from None
    if os.path.isdir(path):
        raise UsageError(f"--{flag} {path}: is a directory, not a PEM file")


def _refuse_password() -> str:
    raise ssl.SSLError("the key is encrypted")


def _why(error: ssl.SSLError | OSError, files: TlsFiles) -> str:
    key = files.key or files.certificate
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"--cert {files.certificate} and --key {key} don't belong together: the key is another certificate's"
    if "encrypted" in str(error):
        return f"--key {key}: the key is encrypted; take the password off: openssl pkey -in {key} -out plain.pem"
    if not _holds(files.certificate, "CERTIFICATE"):
        return f"--cert {files.certificate}: holds no PEM certificate (-----BEGIN CERTIFICATE-----)"
    if not _holds(key, "PRIVATE KEY"):
        hint = "" if files.key else "; name the key's file with --key"
        return f"--key {key}: holds no PEM private key (-----BEGIN PRIVATE KEY-----){hint}"
    return f"--cert {files.certificate}, --key {key}: can't be used ({error})"


def _holds(path: str, what: str) -> bool:
    with open(path, "rb") as file:
        return f"{what}-----".encode() in file.read()
