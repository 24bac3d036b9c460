"""What a reviewer does with a version: approve, reject, promote, and go back to the champion before.

One process at a time decides, under the lock that registering takes. Tags that a person set in MLflow's pages count like those
that are set here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from tverase.errors import ConfigError
from tverase.policy import Review

from . import _review_log as log
from ._database import locked
from ._people import checked, me, names, same_person
from ._review_facts import PREFIX, Evidence, aliases_of, registry, resolve, short, versions
from ._review_gates import (
    APPROVED,
    AUTHOR,
    REJECTED,
    REVIEWER,
    Gate,
    Refused,
    audited,
    case_of,
    examine,
    examine_files,
    require,
)
from ._versions import PENDING, REVIEW

NOTE, WHEN = "review_note", "reviewed_at"


@dataclass(frozen=True)
class Done:
    """What a command did: the event that it wrote, if any, and lines for the console."""

    version: str  # bomb:3
    event: Mapping[str, Any] | None
    lines: tuple[str, ...]


@contextmanager
def _deciding(what: str, text: str) -> Iterator[tuple[Any, Any]]:
    """A client and the version, locked against other decisions and registrations."""
    with registry(what) as (client, where), locked(where):
        yield client, resolve(client, text)


def approve(text: str, by: str, note: str, policy: Review) -> Done:
    """Say that a person has looked at a version and finds it good."""
    person = checked(by or me())
    with _deciding(f"approve {text or 'the newest version'}", text) as (client, version):
        author, earlier = version.tags.get(AUTHOR, ""), names(version.tags.get(REVIEWER, ""))
        state = str(version.tags.get(REVIEW, PENDING)).strip().casefold()
        if policy.not_author and author and same_person(person, author):
            says = f"{person} made it, and review.not_author is true; ask another person, who says --by NAME"
            raise Refused(f"{short(version)} is not approved", [Gate("author", False, says)])
        if state == REJECTED and not any(same_person(person, other) for other in earlier):
            says = f"{', '.join(earlier) or 'a reviewer'} rejected it; only the same person can approve it now"
            raise Refused(f"{short(version)} is not approved", [Gate("review", False, says)])
        who = names(", ".join([*(earlier if state == APPROVED else []), person]))
        _mark(client, version, {REVIEWER: ", ".join(who), NOTE: note, WHEN: log.now(), REVIEW: APPROVED})
        event = log.write(client, version, "approve", person, note)
        return Done(short(version), event, (f"{short(version)} is approved by {', '.join(who)}",))


def reject(text: str, by: str, note: str, policy: Review, candidate: str) -> Done:
    """Say that a version must not be used, and why. It loses the alias of candidates; a champion stays until rolled back."""
    person = checked(by or me())
    with _deciding(f"reject {text or 'the newest version'}", text) as (client, version):
        _mark(client, version, {REVIEWER: person, NOTE: note, WHEN: log.now(), REVIEW: REJECTED})
        lines = [f"{short(version)} is rejected by {person}"]
        aliases = aliases_of(client, version.name)
        if aliases.get(candidate) == str(version.version):
            client.delete_registered_model_alias(version.name, candidate)
            lines.append(f"it lost the alias {candidate}")
        if aliases.get(policy.alias) == str(version.version):
            lines.append(
                f"it is still the {policy.alias}: `tverase review rollback {short(version).rpartition(':')[0]}`"
            )
        return Done(short(version), log.write(client, version, "reject", person, note), tuple(lines))


def _mark(client: Any, version: Any, marks: Mapping[str, str]) -> None:
    """Set tags in this order, so that the state comes last."""
    for name, value in marks.items():
        client.set_model_version_tag(version.name, str(version.version), name, value)


def promote(text: str, by: str, note: str, policy: Review) -> Done:
    """Move the alias of the policy to a version that passes every gate. The files are downloaded and compared first."""
    person = checked(by or me())
    with registry(f"promote {text or 'the newest version'}") as (client, where):
        version = resolve(client, text)
        what = f"{short(version)} is not promoted"
        case = case_of(client, version, policy)
        require(what, examine(case))
        files = examine_files(client, case)  # may take minutes, during which others may register
        require(what, [files])
        with locked(where):
            version = client.get_model_version(version.name, str(version.version))
            gates = examine(case_of(client, version, policy))
            require(what, gates)
            return _promoted(client, version, policy, person, note, [*gates, files])


def _promoted(client: Any, version: Any, policy: Review, by: str, note: str, gates: list[Gate]) -> Done:
    model, number, alias = version.name, str(version.version), policy.alias
    earlier = _true_stack(client, version, alias)
    if earlier and earlier[-1] == number:
        return Done(short(version), None, (f"{short(version)} is the {alias} already",))
    event = _move(client, version, policy, [*earlier, number], "promote", by, note, gates=audited(gates))
    before = f", before it {earlier[-1]}" if earlier else ""
    return Done(short(version), event, (f"{model} version {number} is the {alias}{before}",))


def rollback(text: str, by: str, note: str, policy: Review) -> Done:
    """Move the alias back to the champion before. One that is rejected, damaged, or has a finding or an alarm is passed over."""
    person = checked(by or me())
    with _deciding("roll back", text) as (client, version):
        several = sorted({one.name.removeprefix(PREFIX) for one in versions(client)})
        if not text and len(several) > 1:
            raise ConfigError(f"several models are registered; name the one to roll back: {', '.join(several)}.")
        alias = policy.alias
        earlier = _true_stack(client, version, alias)
        short_name = short(version).rpartition(":")[0]
        if not aliases_of(client, version.name).get(alias):
            says = f"{short_name} has no {alias}; promote a version first"
            raise Refused(f"{short_name} is not rolled back", [Gate("history", False, says)])
        skipped: list[str] = []
        for place in range(len(earlier) - 2, -1, -1):
            target, why = _fit(client, version.name, earlier[place], policy)
            if not why:
                event = _move(client, target, policy, earlier[: place + 1], "rollback", person, note, skipped=skipped)
                return Done(short(target), event, (*skipped, f"{short(target)} is the {alias} again"))
            skipped.append(f"version {earlier[place]} was passed over: {why}")
        says = f"no earlier {alias} can be used ({'; '.join(skipped) or 'there was none'}); promote another version"
        raise Refused(f"{short_name} is not rolled back", [Gate("history", False, says)])


def _fit(client: Any, model: str, number: str, policy: Review) -> tuple[Any, str]:
    """A champion of the past, and why it cannot be the champion again; the policy of today's bounds is not asked."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version(model, number)
    except MlflowException:
        return None, "it was deleted"
    case = case_of(client, version, policy)
    gates = [gate for gate in examine(case) if gate.name in ("findings", "alarm")]
    if case.state == REJECTED:
        return version, "it was rejected"
    if alarm := version.tags.get("monitor.alarm"):
        return version, f"the monitor raised an alarm, {alarm}"
    failed = [gate for gate in (*gates, examine_files(client, case)) if not gate.passed]
    return version, failed[0].says if failed else ""


def _true_stack(client: Any, version: Any, alias: str) -> list[str]:
    """The champions so far. An alias that was moved in MLflow's pages counts: on to another version, or back to an earlier one."""
    known, now = log.stack(client, version.name, alias), aliases_of(client, version.name).get(alias, "")
    if not now or (known and known[-1] == now):
        return known
    log.write(client, version, "seen", "unknown", f"{alias} was moved outside of `tverase review`", to=now)
    return known[: len(known) - known[::-1].index(now)] if now in known else [*known, now]


def _move(
    client: Any, version: Any, policy: Review, stack: list[str], action: str, by: str, note: str, **more: Any
) -> dict[str, Any]:
    """The alias first: an interrupted move is completed by the next command, which sees where the alias is."""
    before = aliases_of(client, version.name).get(policy.alias, "")
    client.set_registered_model_alias(version.name, policy.alias, str(version.version))
    said = policy.model_dump_json()
    moved = {"from": before, "to": str(version.version), "by": by, "when": log.now()}
    log.keep(client, version.name, policy.alias, stack, moved, said)
    return log.write(
        client, version, action, by, note, **{"from": before, "to": moved["to"]}, policy=policy.model_dump(), **more
    )


def listed(name: str = "") -> list[dict[str, Any]]:
    """Every version, newest first, in a few words."""
    from ._review_facts import model_of

    with registry("list the versions") as (client, _):
        found = versions(client, model_of(client, name) if name else "")
        aliases = {model: aliases_of(client, model) for model in {one.name for one in found}}
        return [
            _row(one, [a for a, number in aliases[one.name].items() if number == str(one.version)]) for one in found
        ]


def _row(version: Any, aliases: list[str]) -> dict[str, Any]:
    tags = version.tags
    return {
        "version": short(version),
        "concept": tags.get("concept", ""),
        "verdict": tags.get("verdict", ""),
        "worst_upper": tags.get("worst_upper"),
        "retain_loss": tags.get("retain_loss"),
        "status": tags.get(REVIEW, PENDING),
        "reviewer": tags.get(REVIEWER, ""),
        "open_findings": tags.get("open_findings", "0"),
        "aliases": sorted(aliases),
        "created": version.creation_timestamp / 1000,
    }


def shown(text: str, policy: Review, *, files: bool = False) -> dict[str, Any]:
    """Everything that a reviewer needs: tags, evidence, the gates, the champion's tags, and what was decided so far."""
    with registry(f"show {text or 'the newest version'}") as (client, where):
        version = resolve(client, text)
        case = case_of(client, version, policy)
        gates = [*examine(case), *([examine_files(client, case)] if files else [])]
        number = aliases_of(client, version.name).get(policy.alias, "")
        champion = client.get_model_version(version.name, number) if number else None
        return {
            **_row(version, list(client.get_model_version(version.name, str(version.version)).aliases)),
            "tags": dict(version.tags),
            "evidence": asdict(replace(case.proof, params={})),
            "gates": [asdict(gate) for gate in gates],
            "champion": {**champion.tags, "version": number} if champion else {},
            "links": _links(client, version, where),
            "events": [one for one in log.read(client, version) if one["version"] == str(version.version)],
        }


def _links(client: Any, version: Any, where: str) -> dict[str, str]:
    """Pages of the MLflow server, or paths that only this machine has."""
    if where.startswith(("http://", "https://")):
        base = f"{where.rstrip('/')}/#"
        run = client.get_run(version.run_id).info
        return {
            "version": f"{base}/models/{version.name}/versions/{version.version}",
            "report": f"{base}/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/report.html",
        }
    root = str(client.get_run(version.run_id).info.artifact_uri)
    return {"version": "`make ui` shows it", "report": f"{root}/report.html"}


def proofs(one: str, other: str) -> list[tuple[Any, Evidence]]:
    """Two versions with what their runs recorded, to be compared."""
    from ._review_facts import evidence

    with registry(f"compare {one} with {other}") as (client, _):
        return [(version, evidence(client, version)) for version in (resolve(client, one), resolve(client, other))]
