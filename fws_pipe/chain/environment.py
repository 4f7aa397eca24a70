"""Which of the server's own environment the stages see. No I/O.

Filters are programs of all sorts, and many a program logs or sends away its environment when it fails. So what looks
like a secret stays here, unless it is passed on by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_SECRET = re.compile(
    r".*(?:PASSW|PASSPHRASE|SECRET|CREDENTIAL|API_?KEY|PRIVATE_KEY).*|(?:.*_)?(?:PASS|PAT|AUTH|TOKENS?|KEYS?)|.*_PWD",
    re.IGNORECASE,
)
"""Names of secrets, by what is anywhere in them or by their last word. PWD and OLDPWD are none."""

_OWN_SECRETS = frozenset({"FWS_REDIS", "FWS_REDIS_URL", "FWS_AUTH_JWT"})
"""Our own that the pattern leaves out: Redis's password stands in two of them, and a key's place in the third."""

_NO_SECRETS = frozenset({"FWS_REDIS_KEY", "FWS_TOKEN", "SSH_AUTH_SOCK"})
"""None, whatever the pattern says: what our keys in Redis begin with, what the stages' storage goes by, and where an
agent is that keeps its keys to itself."""

_BASE = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "VIRTUAL_ENV",
     "LD_LIBRARY_PATH", "PYTHONPATH"}
)  # fmt: skip
"""What most programs need to run at all, to find their parts, and to speak the user's language; and LC_…"""


def stage_environment(environment: Mapping[str, str], passed: Collection[str], *, is_clean: bool) -> dict[str, str]:
    """The environment without secrets, or with `is_clean` only the base of it; `passed` stay whatever they are."""
    is_let_through = _is_base if is_clean else _is_no_secret
    return {name: value for name, value in environment.items() if name in passed or is_let_through(name)}


def _is_base(name: str) -> bool:
    return name in _BASE or name.startswith("LC_")


def _is_no_secret(name: str) -> bool:
    return name in _NO_SECRETS or (name not in _OWN_SECRETS and not _SECRET.fullmatch(name))
