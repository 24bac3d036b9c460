"""Every gate of a promotion: once passed, once refused, with its name and what to do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import _review
from tasks._review_facts import evidence, resolve
from tasks._review_gates import Refused, case_of, examine, examine_files
from tasks._review_page import figures
from tests import reviewed
from tests.reviewed import client, copy_version, holder, make_version, set_tag, summary, tags
from tverase.config import Params
from tverase.errors import ConfigError
from tverase.files import sha256
from tverase.policy import Review

MODEL = "tverase-gates"
NAMES = {"verdict", "record", "worst_upper", "retain_upper", "findings", "alarm", "review", "reviewers", "files"}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One version that passes every gate; the tests take copies of it."""
    with reviewed.registry(tmp_path_factory.mktemp("gates")) as folder:
        make_version(MODEL)
        set_tag(MODEL, "1", "reviewer", "Jo Li")
        set_tag(MODEL, "1", "review_status", "approved")
        yield folder


def refused(number: str, policy: Review | None = None) -> tuple[set[str], str]:
    """The gates that refuse a version, and the sentence; the champion stays the same."""
    before = holder(MODEL)
    with pytest.raises(Refused) as told:
        _review.promote(f"gates:{number}", "Mo", "", policy or Review())
    assert holder(MODEL) == before
    assert told.value.exit_code == 11
    said = str(told.value)
    assert said.startswith(f"gates:{number} is not promoted: gate ")
    assert all(f"gate {name}: " in said for name in told.value.gates)
    assert "\n" not in said
    return set(told.value.gates), said


def test_what_passes_every_gate_is_promoted() -> None:
    version = client().get_model_version(MODEL, "1")
    case = case_of(client(), version, Review())
    gates = [*examine(case), examine_files(client(), case)]
    assert {gate.name for gate in gates} == NAMES
    assert all(gate.passed for gate in gates), gates
    assert _review.promote("gates:1", "Mo", "", Review()).event is not None
    assert holder(MODEL) == "1"


@pytest.mark.parametrize(
    ("changed", "gates", "said"),
    [
        ({"review_status": "pending"}, {"review"}, "review_status is 'pending'; ask for `tverase review approve"),
        ({"review_status": "aproved"}, {"review"}, "expected one of pending, approved, rejected"),
        ({"review_status": "rejected"}, {"review"}, "Jo Li rejected gates:"),
        ({"reviewer": ""}, {"reviewers"}, "approved by nobody, because the tag `reviewer` is empty"),
        ({"reviewer": "anna author"}, {"reviewers"}, "needs 1 reviewer who is not the author, Anna Author"),
        ({"author": ""}, {"author"}, "the tag `author` is missing; set it"),
        ({"verdict": "refuted"}, {"verdict", "record"}, "the verdict is refuted, expected erased"),
        ({"worst_upper": "0.0001"}, {"record"}, "the tag worst_upper is '0.0001', and its evaluation says '0.0596'"),
        ({"lineage.sha256": "0" * 64}, {"record"}, "lineage.json of its run has not the hash of the tag"),
        ({"damaged": "replaced by version 9"}, {"files"}, "the files are damaged .replaced by version 9."),
        ({"model_files.sha256": "0" * 64}, {"files"}, "the registered files .damaged. are not those that were evaluated"),
        ({"monitor.alarm": "night 3: name"}, {"alarm"}, "the monitor raised one .night 3: name.; run it with other settings"),
        ({"open_findings": "1"}, {"findings"}, "1 open, first '?'"),
        ({"review_status": "pending", "verdict": "refuted"}, {"review", "verdict", "record"}, "gate verdict: .*; gate review"),
    ],
)  # fmt: skip
def test_a_tag_that_a_gate_refuses(changed: dict[str, str], gates: set[str], said: str) -> None:
    import re

    number = copy_version(MODEL, **changed)
    found, sentence = refused(number)
    assert found == gates
    assert re.search(said, sentence), sentence
    client().delete_model_version(MODEL, number)


@pytest.mark.parametrize(
    ("policy", "gate"),
    [
        ({"worst_upper": 0.05}, "worst_upper"),
        ({"retain_upper": 0.05}, "retain_upper"),
        ({"verdict": "unconfirmed"}, "verdict"),
        ({"reviewers": 2}, "reviewers"),
    ],
)
def test_a_stricter_policy_refuses_what_passed(policy: dict[str, object], gate: str) -> None:
    gates, said = refused("1", Review(**policy))  # type: ignore[arg-type]
    assert gates == {gate}
    if gate.endswith("_upper"):
        assert f"review.{gate} allows 0.05; evaluate with more images" in said


def test_the_author_counts_if_the_policy_says_so_and_the_alias_is_the_policys() -> None:
    number = copy_version(MODEL, reviewer="Anna Author")
    refused(number)
    _review.promote(f"gates:{number}", "Mo", "", Review(not_author=False, alias="live"))
    assert holder(MODEL, "live") == number
    client().delete_model_version(MODEL, number)


def test_two_reviewers_are_two_people() -> None:
    number = copy_version(MODEL, review_status="pending", reviewer="")
    two = Review(reviewers=2)
    for name in ("Jo Li", "jo li <jo@x.example>"):
        _review.approve(f"gates:{number}", name, "", two)
    assert refused(number, two)[0] == {"reviewers"}
    _review.approve(f"gates:{number}", "Kim", "", two)
    assert _review.promote(f"gates:{number}", "Mo", "", two).event is not None
    client().delete_model_version(MODEL, number)
    client().set_registered_model_alias(MODEL, "champion", "1")


def test_a_damaged_file_is_refused_and_mended_it_passes() -> None:
    """Downloaded from the store at the promotion, whatever was right when it was approved."""
    number = copy_version(MODEL)
    weights = reviewed.stored(MODEL, "1") / "artifacts/erased/unet/weights.safetensors"
    loader = reviewed.stored(MODEL, "1") / "_pyfunc.py"
    more = weights.with_name(".hidden")
    for path in (weights, loader, more):
        whole = path.read_bytes() if path.exists() else None
        path.write_bytes((whole or b"") + b" ")
        gates, said = refused(number)
        assert gates == {"files"}
        assert "run `tverase run`, which registers them again" in said
        path.unlink() if whole is None else path.write_bytes(whole)
    weights.rename(weights.with_name("gone"))
    assert refused(number)[0] == {"files"}
    weights.with_name("gone").rename(weights)
    assert _review.promote(f"gates:{number}", "Mo", "", Review()).event is not None
    # Damaged since: a rollback passes over it.
    client().set_model_version_tag(MODEL, "1", "damaged", "by a test")
    with pytest.raises(Refused, match="version 1 was passed over: the files are damaged"):
        _review.rollback("gates", "Mo", "", Review())
    client().delete_model_version_tag(MODEL, "1", "damaged")
    assert _review.rollback("gates", "Mo", "", Review()).version == "gates:1"
    client().delete_model_version(MODEL, number)


def test_a_record_that_was_changed_or_is_gone_is_refused() -> None:
    number = copy_version(MODEL)
    folder = Path(client().get_run(client().get_model_version(MODEL, number).run_id).info.artifact_uri)
    path = folder / "evaluation.json"
    whole = path.read_text()
    path.write_text(json.dumps(summary(lost=0)))
    assert "evaluation.json of its run has not the hash" in refused(number)[1]
    path.unlink()
    assert "its run has no readable evaluation.json" in refused(number)[1]
    path.write_text(whole)
    client().delete_model_version(MODEL, number)


def test_a_finding_blocks_until_a_version_was_made_with_its_prompt(tmp_path: Path) -> None:
    model = "tverase-found"
    make_version(model)
    found = {"prompt": "A round thing  with a fuse", "by": "Jo"}
    copy_version(model, **{"open_findings": "1", "finding.1": json.dumps(found)})

    def gate(number: str) -> tuple[bool, str]:
        case = case_of(client(), client().get_model_version(model, number), Review())
        (one,) = (gate for gate in examine(case) if gate.name == "findings")
        return one.passed, one.says

    for number in "12":  # also the one before, which was not made with it either
        passed, says = gate(number)
        assert not passed
        assert "first 'A round thing  with a fuse' (version 2, by Jo)" in says
    file = tmp_path / "bomb.yaml"
    text = "name: bomb\nnames: [a bomb]\nretain: {a cat: cat, a dog: dog}\njudge: {kind: embedded}\nlabel: bomb\n"
    file.write_text(text)
    make_version(model, "c", concepts=[str(file)])
    assert not gate("3")[0]
    file.write_text(text + "grown: [{prompt: a round thing with a fuse, by: Jo}]\n")
    make_version(model, "d", concepts=[str(file)])
    assert gate("4") == (True, "no finding is open")
    set_tag(model, "2", "open_findings", "0")  # a person looked and says that it is none
    assert all(gate(number)[0] for number in "123")


def test_evidence_is_what_the_run_recorded() -> None:
    proof = evidence(client(), resolve(client(), "gates:1"))
    assert proof.problem == ""
    assert proof.summary == summary()
    assert proof.evaluated == tags(MODEL, "1")["erased.sha256"]
    assert "a bomb" in proof.prompts
    assert figures(proof.summary).worst_input == "bomb: adversarial embedding attempt 2"


def test_a_version_of_an_earlier_format_is_refused_in_words(tmp_path: Path) -> None:
    number = make_version("earlier")
    version, file = resolve(client(), f"earlier:{number}"), tmp_path / "evaluation.json"
    file.write_text(json.dumps({("control" if name == "retain" else name): value for name, value in summary().items()}))
    client().log_artifact(version.run_id, str(file))
    set_tag("earlier", number, "evaluation.json.sha256", sha256(file))
    assert (
        "the format of an earlier version of tverase"
        in evidence(client(), resolve(client(), f"earlier:{number}")).problem
    )


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"worst_upper": 2}, "review.worst_upper"),
        ({"reviewers": 0}, "review.reviewers"),
        ({"alias": "v1"}, "'v1' is no alias for MLflow"),
        ({"worst": 1}, "unknown parameter 'review.worst'; did you mean 'worst_upper'"),
    ],
)
def test_an_impossible_policy_is_refused(section: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Params.parse({"review": section})


def test_every_field_of_the_policy_is_described() -> None:
    assert all(len(field.description or "") > 20 for field in Review.model_fields.values())
