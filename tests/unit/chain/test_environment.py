"""What the stages see of the server's environment."""

from __future__ import annotations

import pytest

from fws_pipe.chain.environment import stage_environment

SECRETS = [
    "PASSWORD", "DB_PASSWORD", "pgpassword_PASSWORD", "MYSQL_PWD", "API_KEY", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN",
    "TOKENS", "CLIENT_SECRET", "GOOGLE_CREDENTIALS", "KEY_PASSPHRASE", "FWS_REDIS", "FWS_REDIS_URL", "FWS_AUTH_JWT",
    "FWS_AUTH_TOKENS", "FWS_KEY", "some_token", "PGPASSWORD", "DB_PASS", "SMTP_PASS", "SECRET_KEY_BASE", "GH_PAT",
    "REDISCLI_AUTH", "KEYSTORE_PASS", "JWT_PRIVATE_KEY_PEM", "MYAPIKEY", "OPENAI_API_KEY_FILE", "PASSWORD_DB",
    "pgPassword", "FWS_AUTH_JWT_SECRET",
]  # fmt: skip
OTHERS = [
    "PATH", "PWD", "OLDPWD", "SSH_AUTH_SOCK", "KEYBOARD", "MONKEY", "TOKENIZER", "FWS_REDIS_KEY", "FWS_TOKEN",
    "FWS_PORT", "BYPASS", "PATTERN", "GIT_AUTHOR_NAME", "XAUTHORITY", "AWS_ACCESS_KEY_ID",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_stay_unless_they_are_passed_by_name(name: str) -> None:
    assert stage_environment({name: "x"}, [], is_clean=False) == {}
    assert stage_environment({name: "x"}, [name], is_clean=False) == {name: "x"}
    assert stage_environment({name: "x"}, [name], is_clean=True) == {name: "x"}


@pytest.mark.parametrize("name", OTHERS)
def test_others_pass(name: str) -> None:
    assert stage_environment({name: "x"}, [], is_clean=False) == {name: "x"}


def test_a_clean_environment() -> None:
    environment = dict.fromkeys([*SECRETS, *OTHERS, "HOME", "LC_ALL", "TZ"], "x")
    assert set(stage_environment(environment, ["FWS_PORT"], is_clean=True)) == {
        "PATH", "PWD", "HOME", "LC_ALL", "TZ", "FWS_PORT",
    }  # fmt: skip
