"""What a table has: its concepts and seeds, its rows, its attacks, and where every part of it is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..concepts import slug
from ..errors import ConfigError
from ..registry import built
from ..settings import Settings
from .case import Case
from .cell import Attempt, Place
from .material import SAID
from .rows import EDIT, Row

Stage = Literal["material", "edit", "cell", "retain", "plain"]


class Plan(Settings):
    """A table before it is filled. All of it is JSON, so that other processes and machines can be given parts of it."""

    title: str
    cases: tuple[Case, ...]
    rows: tuple[Row, ...]
    attempts: tuple[Attempt, ...]
    out: Path

    def stages(self) -> Iterator[list["Work"]]:
        """The parts in three stages; each stage reads what the ones before have written."""
        yield [self._work("material", case) for case in self.cases]
        yield [self._work("edit", case, row) for case in self.cases for row in self.rows_of(case) if row.made]
        yield list(self.cells())

    def cells(self) -> Iterator["Work"]:
        """Every cell, one row after the other, so that a worker opens few models."""
        for case in self.cases:
            for row in self.rows_of(case):
                yield self._work("plain", case, row)
                yield self._work("retain", case, row)
                for attempt in self.attempts:
                    yield self._work("cell", case, row, attempt)

    def rows_of(self, case: Case) -> list[Row]:
        """The rows of one concept. A folder that names the concept and is not there is no row."""
        mine = [row for row in self.rows if not row.concepts or case.named.name in row.concepts]
        found = [(row, row.at(case.named)) for row in mine]
        return [mine for row, mine in found if row.folder == mine.folder or Path(mine.folder).exists()]

    def _work(self, stage: Stage, case: Case, row: Row | None = None, attempt: Attempt | None = None) -> "Work":
        home = self.out / case.named.slug / f"seed-{case.seed}"
        mine = home / slug(row.name) if row else home
        name = slug(attempt.name) if attempt else f"_{stage}"  # no attack's name begins so
        return Work(stage, case, row, attempt, Place(home / "material", mine, mine / name))


@dataclass(frozen=True)
class Work:
    """One part of a table."""

    stage: Stage
    case: Case
    row: Row | None
    attempt: Attempt | None
    place: Place

    @property
    def path(self) -> Path:
        """Its JSON, which is written last."""
        if self.stage == "material":
            return self.place.material / SAID
        return (
            self.place.edit / EDIT
            if self.stage == "edit"
            else self.place.cell.with_name(f"{self.place.cell.name}.json")
        )

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.attempt.name if self.attempt else self.stage, self.row.name if self.row else ""]
        return f"{self.case.named.name}, seed {self.case.seed}: {' on '.join(part for part in parts if part)}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON, for a worker elsewhere."""
        parts = {"case": self.case, "row": self.row, "attempt": self.attempt}
        values = {name: part.model_dump(mode="json") if part else None for name, part in parts.items()}
        return {"stage": self.stage, **values, "place": {name: str(path) for name, path in vars(self.place).items()}}

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Work":
        """What `as_dict` wrote."""
        row, attempt = given["row"], given["attempt"]
        return cls(
            given["stage"],
            Case.model_validate(given["case"]),
            Row.model_validate(row) if row else None,
            Attempt.model_validate(attempt) if attempt else None,
            Place(**{name: Path(path) for name, path in given["place"].items()}),
        )


Spec = str | dict[str, Any]


def attempts(specs: Sequence[Spec]) -> tuple[Attempt, ...]:
    """Attacks by name or by settings, each once."""
    return tuple({name: Attempt(name=name, spec=spec) for name, spec in named("attack", specs)}.values())


def erasers(specs: Sequence[Spec]) -> tuple[Row, ...]:
    """Erasers by name or by settings, as rows, each once. `hardened` is a setting of the row, for every eraser of a vector."""
    rows: dict[str, Row] = {}
    for given in specs:
        hardened = isinstance(given, dict) and given.get("hardened", False)
        if not isinstance(hardened, bool):
            raise ConfigError(f"hardened is {hardened!r} in {given}; write true or false.")
        plain = {key: value for key, value in given.items() if key != "hardened"} if isinstance(given, dict) else given
        ((name, spec),) = named("eraser", [plain])
        name += ", hardened" if hardened else ""
        rows[name] = Row(name=name, kind="eraser", eraser=spec, hardened=hardened)
    return tuple(rows.values())


def named(kind: str, specs: Sequence[Spec]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings of plug-ins under a name each: their kind, and whatever was set by hand."""
    for spec in specs:
        plugin = built(kind, spec)
        name = spec.partition(":")[0] if isinstance(spec, str) else str(spec["kind"])
        settings = plugin.model_dump(mode="json", exclude_unset=True)
        yield " ".join([name, *(f"{key}={value}" for key, value in settings.items())]), {"kind": name, **settings}
