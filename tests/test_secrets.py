"""No secret is told, whatever form it has, and no ordinary word is hidden."""

import base64
import logging
import os
from urllib.parse import quote, quote_plus

import pytest

from tasks._quiet import plainly, tell_warnings
from tasks._secrets import clean, cleaned, guard_logs, is_secret, ordinary
from tverase.errors import ConfigError

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQE\nFAASCBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----"
AZURE = "DefaultEndpointsProtocol=https;AccountName=us;AccountKey=Zm9vYmFyYmF6cXV4Cg==;EndpointSuffix=core.example"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that holds no secret but those of the test."""
    for name in list(os.environ):
        if is_secret(name):
            monkeypatch.delenv(name)


# Numbered, because pytest tells the name of a test in the environment, where `clean` looks for secrets.
SECRETS = dict(
    enumerate(
        [
            ("postgresql://u:p@ss/w0rd@h/db", "postgresql://h/db"),
            ("postgresql://u:1234/5@h/db is down", "postgresql://h/db is down"),
            ("see https://me:s3cret@git.example/r.git, please", "see https://git.example/r.git, please"),
            ("https://ghtoken@git.example/r.git", "https://git.example/r.git"),
            ("http://h/x?password=hunter2&user=me", "http://h/x?password=***&user=me"),
            ("http://h/x?user=me&token=abc#top", "http://h/x?user=me&token=***"),
            ("https://b/k?X-Amz-Signature=fe5f80&X-Amz-Date=1", "https://b/k?X-Amz-Signature=***&X-Amz-Date=1"),
            ("https://b/k?X-Amz-Credential=AK/2/s3&x=1", "https://b/k?X-Amz-Credential=***&x=1"),
            ("http://h/x?pwd=a", "http://h/x?pwd=***"),
            ("https://b/k?sv=1&sig=a%2Fb%3D", "https://b/k?sv=1&sig=***"),
            ("u:secret@host refused", "u:***@host refused"),
            ("login u:p@ss/w0rd@host:22", "login u:***@host:22"),
            ("DB_PASS=abc failed", "DB_PASS=*** failed"),
            ("MYSQL_PWD='a b' mysql", "MYSQL_PWD='***' mysql"),
            ('{"api_key": "abc", "user": "me"}', '{"api_key": "***", "user": "me"}'),
            ("password: hunter2", "password: ***"),
            ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
            ("pushed with ghp_0123456789abcdefABCD", "pushed with ***"),
            (f"key {PEM} here", "key *** here"),
            (AZURE, "DefaultEndpointsProtocol=https;AccountName=us;AccountKey=***;EndpointSuffix=core.example"),
        ]
    )
)


@pytest.mark.parametrize("case", SECRETS)
def test_what_stands_as_a_secret_is_hidden(case: int) -> None:
    text, right = SECRETS[case]
    assert clean(text) == right


PLAIN = dict(
    enumerate(
        [
            "models:/tverase-bomb@candidate",
            "http://127.0.0.1:5000/#/experiments/1/runs/ab",
            "https://host:8080/@bob/post",
            "https://host/a?email=me@example.org",
            "registry:5000/erase@sha256:0123 and erase:1.0@sha256:0123",
            "mailto:me@example.org or git@git.example:us/r.git",
            "a bomb, a slot machine: 24 tokens, seed=0, key=value",
            "max_tokens=24 tokens: 24 tokenizer=clip author=me passes=3 monkey=1 keyboard: a passage: b",
            "the password is wrong and the token has expired",
            "PWD=/srv/us TOKEN_FILE=/run/token GPG_KEY=A0 cache_key=abc",
            "file:///srv/me@host/mlruns",
            "sqlite:////srv/me/mlflow.db",
        ]
    )
)


@pytest.mark.parametrize("case", PLAIN)
def test_what_is_no_secret_is_left_alone(case: int) -> None:
    text = PLAIN[case]
    assert clean(text) == text


NAMES = ["DB_PASS", "MYSQL_PWD", "SSHPASS", "GH_PAT", "PRIVATE_KEY", "AZURE_STORAGE_KEY", "PGPASSWORD", "HF_TOKEN"]
NAMES += ["AWS_SECRET_ACCESS_KEY", "PREFECT_SERVER_API_AUTH_STRING", "AZURE_STORAGE_CONNECTION_STRING", "SENTRY_SECRET"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["s3cr3t", "tr0ub4dor&3/x+y=z", "wJalrXUtnFEMI/K7MDENG", 'pa"ss\\w0rd', "pässwörd-9"])
def test_the_environments_secrets_are_hidden_in_every_form(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    raw = value.encode()
    forms = [value, quote(value, safe=""), quote_plus(value), repr(value)[1:-1]]
    forms += [base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")]
    for form in forms:
        said = clean(f"the server said ({form}) and left")
        assert form not in said
        assert said.startswith("the server said (***")
        assert said.endswith(") and left")


@pytest.mark.parametrize("user", ["u", "me", "bob", "alice"])
def test_base64_of_a_login_is_hidden(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASS", "wJalrXUtnFEMI-K7")
    told = base64.b64encode(f"{user}:wJalrXUtnFEMI-K7 and more".encode()).decode()
    assert "***" in clean(told)
    for part in clean(told).split("***"):
        for offset in range(4):  # wherever one begins to decode
            left = base64.b64decode(part[offset : offset + (len(part) - offset) // 4 * 4])
            assert b"lrXU" not in left
            assert b"nFEM" not in left


@pytest.mark.parametrize("value", ["candidate", "Production", "slot-machine", "ab1", "1234", "yes", "SECRET"])
def test_an_ordinary_word_is_hidden_only_where_it_stands_as_a_secret(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", value)
    assert ordinary(value)
    assert clean(f"models:/x@{value} of {value}s") == f"models:/x@{value} of {value}s"
    assert clean(f"MY_TOKEN={value}, http://u:{value}@h/?token={value}") == "MY_TOKEN=***, http://h/?token=***"


@pytest.mark.parametrize("value", ["hunter22", "s3cr3t", "xkqjzvbnmw", "wJalrXUt", "correct-horse-battery-staple"])
def test_what_is_not_ordinary(value: str) -> None:
    assert not ordinary(value)


def test_passwords_inside_of_other_variables_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:Tr0ub4dor@h/db")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", AZURE)
    monkeypatch.setenv("TLS_PRIVATE_KEY", PEM)
    said = clean("Tr0ub4dor Zm9vYmFyYmF6cXV4Cg== FAASCBKcwggSjAgEAAoIBAQC7 postgresql me core.example")
    assert said == "*** *** *** postgresql me core.example"


def test_nested_content_keeps_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASS", "s3cr3t")
    content = {
        "model": "https://u:p@h/m",
        "alias": "candidate",
        "list": ["s3cr3t", 1, None],
        "token": "x",
        "tokens": 24,
    }
    assert cleaned(content) == {
        "model": "https://h/m", "alias": "candidate", "list": ["***", 1, None], "token": "***", "tokens": 24
    }  # fmt: skip


def test_an_error_tells_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DB_PASS", "s3cr3t")
    with pytest.raises(SystemExit) as left, plainly():
        raise ConfigError("model is https://u:s3cr3t@h/m, and s3cr3t; got s3cr3t.")
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: model is https://h/m, and ***; got ***.\n"


def test_a_warning_of_ours_is_told_once_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`calm` keeps Prefect's log off the terminal, and these on it."""
    monkeypatch.setenv("STORE_PASSWORD", "xyzzy-and-12")
    tell_warnings()
    tell_warnings()
    try:
        logging.getLogger("tverase").warning("%s is left out", "s3://user:xyzzy-and-12@host/b")
        logging.getLogger("tverase").info("nothing")
    finally:
        logging.getLogger("tverase").handlers.clear()
    assert capsys.readouterr().err == "warning: s3://host/b is left out\n"


def test_logs_tell_no_secret(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("DB_PASS", "s3cr3t")
    before, logger = logging.getLogRecordFactory(), logging.getLogger("any.library")
    try:
        guard_logs()
        guard_logs()  # twice is once
        logger.warning("cannot reach %s as %d", "https://u:s3cr3t@h/m", 5)
        try:
            raise ValueError("refused s3cr3t")
        except ValueError:
            logger.exception("failed")
    finally:
        logging.setLogRecordFactory(before)
    assert "s3cr3t" not in caplog.text
    assert "cannot reach https://h/m as 5" in caplog.text
    assert "ValueError: refused ***" in caplog.text


def test_cleaning_a_long_text_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pattern runs wild on a page of base64 pictures or on a long line without spaces."""
    import time

    started = time.monotonic()
    for text in ("A" * 200_000, "a_" * 100_000, "a:" * 50_000, "x://" * 20_000, "key=" * 20_000, "pass_" * 20_000):
        clean(text)
    assert time.monotonic() - started < 20
