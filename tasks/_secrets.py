"""What must never be told: `clean` takes secrets out of a text, and leaves ordinary words alone.

A secret is known by its place, its shape or the environment. Places are the password of a URL and the value of `password=`,
`token:` or `Bearer`. Shapes are `ghp_...` and private keys. The environment has variables with the name of a secret.

A distinctive value is hidden everywhere, plain, URL-quoted or in base64. An ordinary word (`candidate`), a short number or a
value of up to three characters is hidden only in the place of a secret.

Nothing heavy is imported here: every sentence on stderr goes through it.
"""

import base64
import json
import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_LONG = 8  # from here on a distinctive value is hidden inside of other words, too
_KEYS = (
    "ACCESS|ACCOUNT|API|APP|AUTH|CLIENT|ENCRYPTION|FUNCTION|HMAC|JWT|LICENSE|MASTER|PRIVATE|SECRET|SERVICE|SHARED"
    "|SIGNING|SSH|STORAGE|SUBSCRIPTION"
)
# The end of a name that holds a secret: DB_PASS, MYSQL_PWD, SSHPASS, GH_PAT, AZURE_STORAGE_KEY, X-Amz-Signature.
_NAME_ENDS = (
    r"(?:.*PASS(?:W|WD|WORD|PHRASE)?|(?:.*[_\-.])?(?:PWD|PAT|SIG|AUTH|TOKEN|CREDENTIALS?|CREDS?|AUTH_STRING)"
    r"|(?:.*[_\-.])?CONN(?:ECTION)?[_\-.]?(?:STRING|STR)|.*(?:SECRETS?|TOKEN|SIGNATURE|CREDENTIAL)"
    rf"|(?:.*[_\-.])?SECRET.*|.*(?:{_KEYS})[_\-.]?KEY(?:[_\-.]?(?:ID|BASE|DATA))?)"
)
_NAME = re.compile(_NAME_ENDS, re.IGNORECASE)
_IN_ENVIRONMENT = re.compile(rf"(?:{_NAME_ENDS}|\w+_KEY)", re.IGNORECASE)
_NO_SECRET = re.compile(
    r"(?-i:(?:OLD)?PWD)|.*(?:FILE|PATH|DIR|NAME|USER|TTL|TYPE|ENABLED|EXPIRES|EXPIRATION)"
    r"|(?:.*_)?(?:PUBLIC|GPG|CACHE)_KEY",
    re.IGNORECASE,
)
_VALUE = r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'&;,<>)}\]]+)"""
_ASSIGNED = re.compile(
    rf"""(?<![\w\-.])(?P<name>[\w\-.]{{2,64}})(?P<is>["']?\s?=\s?|["']\s?:\s?|:\s|%3D){_VALUE}""", re.IGNORECASE
)
_HEADER = re.compile(r"\b(?P<kind>Bearer|Basic)\s+[\w\-.~+/]{6,}=*", re.IGNORECASE)
_SCHEME = re.compile(r"(\b[a-z][a-z0-9+.\-]{0,24}://)", re.IGNORECASE)
_REST = re.compile(r"""[^\s"'<>]*""")
_LOGIN = re.compile(
    r"""(?<![\w/.:@\-])(?!mailto:)(?P<user>[\w.+\-]{1,64}):(?!/)[^\s"'<>]{1,256}@(?!sha\d+:)(?=[\w\[])""", re.IGNORECASE
)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abprs]-|npm_|pypi-|dop_v1_|pnu_)[\w\-]{10,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w\-]{30,}|\bsk-[\w\-]{20,}|\beyJ[\w\-]{8,}\.eyJ[\w\-]+\.[\w\-]*",
    re.DOTALL,
)
Patterns = tuple[re.Pattern[str], ...]
_WORD = re.compile(r"[A-Z]?[a-z]*|[A-Z]+")


def clean(text: str) -> str:
    """`text` without passwords, tokens and keys."""
    return _clean(text, _known(tuple(_from_environment(os.environ))))


def cleaned(content: Any) -> Any:
    """The same for every text in nested mappings and lists; an entry with a secret's name is hidden as a whole."""
    return _cleaned(content, _known(tuple(_from_environment(os.environ))))


def _clean(text: str, known: Patterns) -> str:
    for pattern in known:
        text = pattern.sub(HIDDEN, text)
    text = _SHAPES.sub(HIDDEN, text)
    text = "".join(scheme + rest for scheme, _, rest in _urls(text))
    text = _HEADER.sub(rf"\g<kind> {HIDDEN}", text)
    text = _ASSIGNED.sub(_assigned, text)
    return _LOGIN.sub(rf"\g<user>:{HIDDEN}@", text)


def _cleaned(content: Any, known: Patterns) -> Any:
    if isinstance(content, str):
        return _clean(content, known)
    if isinstance(content, Mapping):
        return {
            key: HIDDEN if isinstance(value, str) and value and is_secret(str(key)) else _cleaned(value, known)
            for key, value in content.items()
        }
    return [_cleaned(item, known) for item in content] if isinstance(content, list | tuple) else content


def guard_logs() -> None:
    """From now on no log record of this process tells a secret, in its message or in its traceback."""
    made = logging.getLogRecordFactory()
    if getattr(made, "guarded", False):
        return

    def guarded(*given: Any, **named: Any) -> logging.LogRecord:
        record = made(*given, **named)
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # logging itself says what is wrong with it
            return record
        if (told := clean(message)) != message:
            record.msg, record.args = told, ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = clean("".join(traceback.format_exception(*record.exc_info))).rstrip()
        return record

    guarded.guarded = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(guarded)


def is_secret(name: str) -> bool:
    """Whether a variable, parameter or field of this name holds a secret."""
    return bool(_IN_ENVIRONMENT.fullmatch(name)) and not _NO_SECRET.fullmatch(name)


def _urls(text: str) -> Iterator[tuple[str, str, str]]:
    """The text in parts: a scheme (none of the first part), the login that followed it, and what follows without it."""
    first, *parts = _SCHEME.split(text)
    yield "", "", first
    for scheme, after in zip(parts[::2], parts[1::2], strict=True):
        whole = _REST.match(after)
        login = _login(scheme[:-3], whole[0] if whole else "")
        yield scheme, login, after[len(login) + 1 :] if login else after


def _login(scheme: str, rest: str) -> str:
    """User and password of a URL, though the password may hold / and @; a path may hold an @ as well."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    plain = "@" not in authority and re.fullmatch(r"[^:]*(?::\d*)?|\[[\da-f:]*\](?::\d*)?", authority, re.IGNORECASE)
    if "@" not in rest or (plain and (scheme.lower() in ("http", "https") or not authority)):
        return ""
    return rest.rpartition("@")[0]


def _holds_one(name: str) -> bool:
    """Whether what a text assigns to `name` is a secret; knows fewer names than `is_secret`: texts have many words."""
    return bool(_NAME.fullmatch(name)) and not _NO_SECRET.fullmatch(name)


def _assigned(found: re.Match[str]) -> str:
    if not _holds_one(found["name"]) or HIDDEN in found["value"]:
        return found[0]
    mark = found["value"][0] if found["value"][0] in "\"'" else ""
    return f"{found['name']}{found['is']}{mark}{HIDDEN}{mark}"


def _from_environment(environment: Mapping[str, str]) -> Iterator[str]:
    """The values that are secrets."""
    for name, value in environment.items():
        yield from _of_variable(name, value)


@lru_cache(maxsize=4096)
def _of_variable(name: str, value: str) -> tuple[str, ...]:
    """The secrets in one variable: its value if it has such a name, and the passwords inside of any other."""
    found = []
    if is_secret(name):
        found.append(value.strip())
        if len(lines := value.split("\n")) > 1:  # a key in PEM: told line by line, it is as much of a key
            found += [line.strip() for line in lines if not line.startswith("-----")]
    found += [one["value"].strip("\"'") for one in _ASSIGNED.finditer(value) if _holds_one(one["name"])]
    return (*found, *(login.partition(":")[2] or login for _, login, _ in _urls(value) if login))


@lru_cache(maxsize=8)
def _known(values: tuple[str, ...]) -> Patterns:
    """The searched values, the longest first, so that no part of a secret remains."""
    told = sorted({value for value in values if not ordinary(value)}, key=len, reverse=True)
    long = sorted({form for value in told if len(value) >= _LONG for form in _forms(value)}, key=len, reverse=True)
    short = sorted({form for value in told if len(value) < _LONG for form in _quoted(value)}, key=len, reverse=True)
    patterns = ["|".join(map(re.escape, long))] if long else []
    if short:
        patterns.append(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, short))})(?![A-Za-z0-9])")
        patterns.append("|".join(re.escape(form) for value in told if len(value) < _LONG for form in _whole(value)))
    return tuple(re.compile(pattern) for pattern in patterns)


def ordinary(value: str) -> bool:
    """Whether a value is a word of plain language, or too short: hidden everywhere, it would tear holes into texts."""
    if len(value) <= 3 or (value.isdigit() and len(value) < _LONG):
        return True
    words = re.split(r"[\s\-_.]", value)
    return len(words) <= 2 and all(map(_is_word, words))


def _is_word(text: str) -> bool:
    """Letters of one case, with vowels among them: `candidate`, but not `wJalrXUtn` and not `xkqjzvbn`."""
    low = text.lower()
    return bool(
        len(text) <= 16
        and _WORD.fullmatch(text)
        and re.search("[aeiouy]", low)
        and not re.search("[bcdfghjklmnpqrstvwxz]{5}", low)
    )


def _quoted(value: str) -> Iterable[str]:
    """As it is, in a URL, in JSON, in a Python literal."""
    return {value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1]}


def _whole(value: str) -> Iterable[str]:
    raw = value.encode()
    found = {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    return {form for form in found if len(form) >= 6}


def _forms(value: str) -> Iterable[str]:
    """`_quoted`, and in base64, also inside of something longer (`user:password`), at any of three offsets."""
    found, raw = {*_quoted(value), *_whole(value)}, value.encode()
    for offset in range(3):
        # The first and the last characters depend on what stands beside it.
        whole = len(raw) - (len(raw) + offset) % 3
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            inside = encode(b"\0" * offset + raw[:whole]).decode()
            found.add(inside[-(-offset * 4 // 3) :] if offset else inside)
    return {form for form in found if len(form) >= _LONG}
