"""Secrets are told by the names of their variables and by where they stand; nothing else is hidden."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import __main__
from harness.errors import StepError
from harness.escaping import HIDDEN, is_secret, redacted
from harness.tracking import public_uri
from tests.command import harness

WHO = ["PG", "SSH", "DB", "MYSQL", "OPENAI", "HF", "AWS", "GITHUB", "NPM", "REDIS", "MY", "LDAP", "S3", "SMTP", "WANDB"]
WHAT = ["PASSWORD", "PASSWD", "PASS", "PWD", "PASSPHRASE", "TOKEN", "SECRET", "APIKEY", "API_KEY", "ACCESS_KEY",
        "SECRET_KEY", "SECRETKEY", "PRIVATEKEY", "CREDENTIALS", "AUTH_TOKEN"]  # fmt: skip
NAMED = ["PGPASSWORD", "SSHPASS", "DB_PASS", "MYSQL_PWD", "OPENAI_APIKEY", "HF_TOKEN", "GITHUB_PAT", "dbPassword",
         "RSYNC_PASSWORD", "AWS_SECRET_ACCESS_KEY", "API_KEYS", "DJANGO_SECRETS", "pgpassword", "SESSION_COOKIE",
         "KEY", "BORG_PASSPHRASE", "SSH_KEY_2", "TOKEN2"]  # fmt: skip
OTHERS = ["PATH", "PWD", "OLDPWD", "KEYBOARD", "KEYMAP", "TOKENIZERS_PARALLELISM", "MONKEY", "MONKEYPATCH", "HOTKEYS",
          "COMPASS", "BYPASS_CACHE", "PASSENGER_COUNT", "GIT_AUTHOR_NAME", "AUTHORITY", "SECRETARY", "MAX_TOKENS",
          "XKEYSYMDB", "TURKEY", "PYTHONPATH", "HOME", "LANG", "PATTERN", "PASSIVE", "NUM_TOKENS", "DATA_PATH",
          "HOCKEY_TEAM", "KEYCLOAK_URL", "COOKIECUTTER", "PIPENV_ACTIVE", "TERM", "CUDA_VISIBLE_DEVICES"]  # fmt: skip


@given(
    st.sampled_from(WHO),
    st.sampled_from(["", "_", "_PROD_", "-"]),
    st.sampled_from(WHAT),
    st.sampled_from(["", "_2", "3"]),
)
def test_names_made_of_who_and_what_are_secrets(who: str, between: str, what: str, number: str) -> None:
    name = who + between + what + number
    assert is_secret(name)
    assert is_secret(name.lower())


@pytest.mark.parametrize("name", NAMED)
def test_these_are_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_secret(name)
    monkeypatch.setenv(name, "correct horse battery")
    assert redacted("it says correct horse battery here") == f"it says {HIDDEN} here"


@pytest.mark.parametrize("name", OTHERS)
def test_these_are_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_secret(name)
    monkeypatch.setenv(name, "/some/ordinary/place")
    assert redacted("in /some/ordinary/place") == "in /some/ordinary/place"


PASSWORDS = st.text("abcXYZ019!$%^&*()-_=+[]{};:,.<>/?#|~", min_size=6, max_size=20).filter(
    lambda one: not re.match(r"\d*[/?#]", one)  # like a port and what follows it
)


@given(PASSWORDS, st.sampled_from(["postgresql", "mysql+pymysql", "sqlite+pysqlcipher", "https", "mssql"]))
def test_the_password_of_an_address_is_hidden(password: str, scheme: str) -> None:
    uri = f"{scheme}://me:{password}@db.example.org/runs"
    assert public_uri(uri) == f"{scheme}://db.example.org/runs"
    assert redacted(f"cannot reach {uri} now") == f"cannot reach {scheme}://{HIDDEN}@db.example.org/runs now"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////data/runs.db?password=planted-secret", "sqlite:////data/runs.db"),
        ("sqlite:////data/runs.db?cipher=aes&key=planted-secret", "sqlite:////data/runs.db"),
        ("sqlite+pysqlcipher://:planted-secret@/data/runs.db?kdf_iter=64000", "sqlite+pysqlcipher:///data/runs.db"),
        ("postgresql://db/runs?user=me&password=planted-secret", "postgresql://db/runs"),
        ("file:///data/what?/runs", "file:///data/what?/runs"),
        ("sqlite:////data/a@b/runs.db", "sqlite:////data/a@b/runs.db"),
    ],
)
def test_addresses_are_told_without_passwords(uri: str, shown: str) -> None:
    assert public_uri(uri) == shown


@pytest.mark.parametrize("setting", ["PGPASSWORD=planted-secret", "db_pass: planted-secret", "SSHPASS=planted-secret",
                                     "mysql_pwd='planted-secret'", "OPENAI_APIKEY=planted-secret",
                                     "passphrase=planted-secret"])  # fmt: skip
def test_settings_in_text_are_hidden(setting: str) -> None:
    assert "planted-secret" not in redacted(f"started with {setting} and failed")
    assert redacted("2 checks pass: 12 items; bypass=3") == "2 checks pass: 12 items; bypass=3"


@pytest.mark.parametrize("debug", [True, False])
def test_an_error_is_told_without_secrets(
    debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import harness.cli

    def fail(**_: object) -> None:
        try:
            raise OSError("postgresql://me:planted-secret@db refused planted-password")
        except OSError as error:
            raise StepError("no answer from mysql://me:planted-secret@db with planted-password") from error

    monkeypatch.setenv("PGPASSWORD", "planted-password")
    monkeypatch.setattr(harness.cli, "app", fail)
    monkeypatch.setattr("sys.argv", ["harness", "plan", *(["--debug"] if debug else [])])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "planted" not in said
    assert ("Traceback" in said) == debug
    assert "mysql://***@db" in said


@pytest.mark.slow
def test_debug_tells_no_password_of_a_tracking_uri(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text("import os\nraise ValueError(os.environ['MLFLOW_TRACKING_URI'])\n")
    uri = f"sqlite:////{tmp_path}/runs.db?password=planted-secret"
    for debug in ((), ("--debug",)):
        failed = harness("plan", "study.py", *debug, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
        assert failed.code == 2
        assert "planted-secret" not in failed.err + failed.out
