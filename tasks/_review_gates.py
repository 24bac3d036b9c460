"""The gates of a promotion. Each says what it found and what to do; none of them changes anything."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tverase.concepts.prompts import normalised
from tverase.errors import NotProved, one_line
from tverase.policy import Review

from ._people import names, same_person
from ._review_facts import OPEN, Evidence, evidence, findings, short, versions
from ._review_page import figures
from ._versions import DAMAGED, PENDING, REVIEW, VERDICT, pipeline_digest

REVIEWER, AUTHOR, ALARM = "reviewer", "author", "monitor.alarm"
APPROVED, REJECTED = "approved", "rejected"
STATES = (PENDING, APPROVED, REJECTED)


class Refused(NotProved):
    """A promotion that a gate refuses; `gates` are their names."""

    def __init__(self, what: str, failed: "Sequence[Gate]") -> None:
        self.gates = tuple(gate.name for gate in failed)
        super().__init__(f"{what}: " + "; ".join(f"gate {gate.name}: {gate.says}" for gate in failed) + ".")


@dataclass(frozen=True)
class Gate:
    """One condition of the policy: whether it is met, and what was found or what to do."""

    name: str
    passed: bool
    says: str


@dataclass(frozen=True)
class Case:
    """A version as the gates see it."""

    version: Any
    policy: Review
    proof: Evidence
    others: Sequence[Any]  # every version of the same model

    @property
    def state(self) -> str:
        """The tag `review_status`, however a person wrote it."""
        return str(self.version.tags.get(REVIEW, PENDING)).strip().casefold()


def case_of(client: Any, version: Any, policy: Review) -> Case:
    """The version with what its run recorded, and its neighbours."""
    return Case(version, policy, evidence(client, version), versions(client, version.name))


def examine(case: Case) -> list[Gate]:
    """Every gate but that of the files, which have to be downloaded."""
    return [gate for check in GATES for gate in check(case)]


def examine_files(client: Any, case: Case) -> Gate:
    """Whether the registered files are the ones that were evaluated."""
    replaced = case.version.tags.get(DAMAGED)
    if replaced:
        return Gate("files", False, f"the files are damaged ({replaced}); choose another version")
    found, expected = pipeline_digest(client, case.version), case.proof.evaluated
    if not expected or found != expected:
        return Gate(
            "files",
            False,
            f"the registered files ({found[:12] or 'damaged'}) are not those that were evaluated "
            f"({expected[:12] or 'unknown'}); run `tverase run`, which registers them again",
        )
    return Gate("files", True, f"the files have the sha256 {found[:12]}, which was evaluated")


def require(what: str, gates: Sequence[Gate]) -> None:
    """Raise an error that names every gate that refuses, unless all are passed."""
    if failed := [gate for gate in gates if not gate.passed]:
        raise Refused(what, failed)


def _verdict(case: Case) -> Iterator[Gate]:
    found, wanted = case.version.tags.get(VERDICT, "missing"), case.policy.verdict
    yield Gate(
        "verdict",
        found == wanted,
        f"the verdict is {found}" + ("" if found == wanted else f", expected {wanted}; run it with other settings"),
    )


def _record(case: Case) -> Iterator[Gate]:
    wrong = case.proof.problem
    says = (
        f"{wrong}; correct the tag, or delete the version and run `tverase run`" if wrong else "tags and records agree"
    )
    yield Gate("record", not wrong, says)


def _bounds(case: Case) -> Iterator[Gate]:
    if not case.proof.summary:
        return  # the gate `record` says so
    found = figures(case.proof.summary)
    for name, value, most in (
        ("worst_upper", found.worst_upper, case.policy.worst_upper),
        ("retain_upper", found.retain_upper, case.policy.retain_upper),
    ):
        met = value <= most
        says = f"{value:.4f}, and review.{name} allows {most:g}"
        more = "" if met else "; evaluate with more images, erase with other settings, or change the policy"
        yield Gate(name, met, says + more)


def _review(case: Case) -> Iterator[Gate]:
    state, me = case.state, short(case.version)
    if state == REJECTED:
        by = case.version.tags.get(REVIEWER, "a reviewer")
        yield Gate("review", False, f"{by} rejected {me}; choose another version")
    elif state != APPROVED:
        odd = "" if state in STATES else f", expected one of {', '.join(STATES)}"
        yield Gate("review", False, f"review_status is {state!r}{odd}; ask for `tverase review approve {me}`")
    else:
        yield Gate("review", True, "approved")
        yield _reviewers(case)


def _reviewers(case: Case) -> Gate:
    listed, author = names(case.version.tags.get(REVIEWER, "")), case.version.tags.get(AUTHOR, "")
    needed, counted = case.policy.reviewers, listed
    if case.policy.not_author:
        if not author:
            return Gate("author", False, "the tag `author` is missing; set it in MLflow to the person who made it")
        counted = [name for name in listed if not same_person(name, author)]
    if len(counted) >= needed:
        return Gate("reviewers", True, f"approved by {', '.join(counted)}")
    by = ", ".join(listed) or "nobody, because the tag `reviewer` is empty"
    rule = f" who {'is' if needed == 1 else 'are'} not the author, {author}" if case.policy.not_author else ""
    needs = f"{needed} reviewer{'s' if needed > 1 else ''}{rule}"
    return Gate("reviewers", False, f"approved by {by}, and the policy needs {needs}; ask another person to approve it")


def open_findings(case: Case) -> list[Mapping[str, Any]]:
    """Prompts that drew the concept on a version of this model and that this version was not made and examined with.

    A person closes them by setting the tag `open_findings` of the version that has them to 0.
    """
    known = {normalised(text) for text in case.proof.prompts}
    mine = str(case.version.version)
    return [
        {**one, "version": str(other.version)}
        for other in case.others
        if str(other.tags.get(OPEN, "0")).strip() not in ("", "0")
        for one in (findings(other) or [{"prompt": "?", "by": "?"}])
        if str(other.version) == mine or normalised(str(one["prompt"])) not in known
    ]


def _findings(case: Case) -> Iterator[Gate]:
    found = open_findings(case)
    if not found:
        yield Gate("findings", True, "no finding is open")
        return
    first = found[0]
    yield Gate(
        "findings",
        False,
        f"{len(found)} open, first {str(first['prompt'])[:80]!r} (version {first['version']}, by {first['by']}); add them to "
        "the concept file and run `tverase run`, or set the tag `open_findings` of that version to 0",
    )


def _alarm(case: Case) -> Iterator[Gate]:
    said = case.version.tags.get(ALARM, "")
    remedy = "run it with other settings, or delete the tag `monitor.alarm` if it was false"
    yield Gate("alarm", not said, f"the monitor raised one ({said}); {remedy}" if said else "the monitor raised none")


GATES: tuple[Callable[[Case], Iterator[Gate]], ...] = (_verdict, _record, _bounds, _findings, _alarm, _review)


def audited(gates: Sequence[Gate]) -> dict[str, str]:
    """The gates as the audit trail keeps them."""
    return {gate.name: one_line(gate.says) for gate in gates}
