"""Selects the environment variables that the stages see. No I/O.

Filters are programs of all sorts, and many programs log or report their environment when they fail. So a variable that
looks like a secret is not passed on, unless --pass-env names it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_SECRET = re.compile(
    r".*(?:PASSW|PASSPHRASE|SECRET|CREDENTIAL|API_?KEY|PRIVATE_KEY).*|(?:.*_)?(?:PASS|PAT|AUTH|TOKENS?|KEYS?)|.*_PWD",
    re.IGNORECASE,
)
"""Names of secrets, by a word anywhere in them or by their last word. PWD and OLDPWD don't match."""

_OWN_SECRETS = frozenset({"FWS_REDIS", "FWS_REDIS_URL", "FWS_AUTH_JWT"})
"""Our own secrets that the pattern does not match: two hold the password of Redis, the third the path of a key."""

_NO_SECRETS = frozenset({"FWS_REDIS_KEY", "FWS_TOKEN", "SSH_AUTH_SOCK"})
"""Not secret although the pattern matches: the prefix of our keys in Redis, the default group (--token), and the socket
of an agent that doesn't give its keys away.
"""

_BASE = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "VIRTUAL_ENV",
     "LD_LIBRARY_PATH", "PYTHONPATH"}
)  # fmt: skip
"""What most programs need to run, to find their parts, and to speak the user's language. LC_… belongs to it too."""


def stage_environment(environment: Mapping[str, str], passed: Collection[str], *, is_clean: bool) -> dict[str, str]:
    """The environment without secrets; with `is_clean` only its base. Variables in `passed` stay in any case."""
    is_let_through = _is_base if is_clean else _is_no_secret
    return {name: value for name, value in environment.items() if name in passed or is_let_through(name)}


def _is_base(name: str) -> bool:
    return name in _BASE or name.startswith("LC_")


def _is_no_secret(name: str) -> bool:
    return name in _NO_SECRETS or (name not in _OWN_SECRETS and not _SECRET.fullmatch(name))
