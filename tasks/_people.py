"""Who makes a version and who reviews it, by name. MLflow has no accounts, so a name is what a person says."""

import getpass
import os
import re
from pathlib import Path

from tverase.errors import ConfigError

from ._records import git

USER = "TVERASE_USER"
LONGEST = 100


def me() -> str:
    """`Name <mail>`: from TVERASE_USER, or from git's settings, or the name of the account."""
    if given := os.environ.get(USER, "").strip():
        return checked(given)
    name, mail = (git(Path.cwd(), "config", f"user.{key}") or "" for key in ("name", "email"))
    said = f"{name} <{mail}>" if name and mail else name or mail or _account()
    return " ".join(said.replace(",", " ").split())[:LONGEST]


def checked(name: str) -> str:
    """The name itself; a `ConfigError` if it cannot stand in a list of names."""
    name = name.strip()
    if not name or "," in name or not name.isprintable() or len(name) > LONGEST:
        raise ConfigError(
            f"{name!r} is no name of a person: expected 1 to {LONGEST} characters without a comma (--by NAME)."
        )
    return name


def names(listed: str) -> list[str]:
    """The people of a tag, each once: `jo, kim`."""
    found: list[str] = []
    for name in (part.strip() for part in listed.split(",")):
        if name and not any(same_person(name, other) for other in found):
            found.append(name)
    return found


def same_person(one: str, other: str) -> bool:
    """Whether two names share a name or an address, whatever their case."""
    return bool(_parts(one) & _parts(other))


def _parts(name: str) -> set[str]:
    match = re.fullmatch(r"\s*(.*?)\s*<(.*)>\s*", name)
    return {" ".join(part.casefold().split()) for part in (match.groups() if match else (name,)) if part.strip()}


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return f"user {os.getuid()}"
