"""What a reviewer does: find a version, decide about it, promote it, go back; by commands and by hand in MLflow."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import cli
from tasks import _review, _review_log
from tasks._people import names, same_person
from tasks._records import linked
from tasks._review_gates import Refused
from tasks._review_page import LONGEST, figures, page
from tests import reviewed
from tests.reviewed import REVIEWER, client, copy_version, events, holder, make_version, set_tag, tags
from tverase.errors import ConfigError, NotProved, TrackingError
from tverase.policy import Review
from tverase.report.verdict import Verdict

POLICY, BASE = Review(), "tverase-base"


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with reviewed.registry(tmp_path_factory.mktemp("review")) as folder:
        make_version(BASE)
        yield folder


def tell(*words: str) -> str:
    """What `tverase review ...` says; its errors are raised."""
    result = CliRunner().invoke(cli.app, ["review", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_version_is_reviewed_promoted_and_rolled_back_by_commands() -> None:
    model = "tverase-whole"
    reviewed.copy_model(model, BASE)
    copy_version(model)
    copy_version(model)
    rows = json.loads(tell("list", "whole", "--json"))
    assert [row["version"] for row in rows] == ["whole:3", "whole:2", "whole:1"]
    assert rows[2]["aliases"] == ["candidate"]
    said = tell("list")
    assert said.splitlines()[0].split() == ["version", "concept", "verdict", "worst", "bound", "retain", "loss", "status", "aliases", "age"]  # fmt: skip
    assert "whole:1  bomb     erased   6.0%         3.1%         pending  candidate" in said

    for number in "123":
        tell("approve", f"whole:{number}", "--by", REVIEWER, "--note", "looked at")
        tell("promote", f"models:/{model}/{number}", "--by", "Mo")
        assert holder(model) == number
    shown = tell("show", "whole@champion")
    for text in ("whole:3  ", "approved, Jo Li, looked at", "passed", "attempt 2", "cat", "decisions", "Anna Author"):
        assert text in shown, text
    assert "refused" not in shown

    assert "whole:2 is the champion again" in tell("rollback", "whole", "--note", "complaints")
    assert holder(model) == "2"
    tell("rollback", "whole")
    assert holder(model) == "1"
    with pytest.raises(Refused, match="no earlier champion can be used") as refused:
        tell("rollback", "whole")
    assert refused.value.gates == ("history",)
    assert (holder(model), refused.value.exit_code) == ("1", 11)

    trail = events(model)
    assert [event["action"] for event in trail] == [*["approve", "promote"] * 3, "rollback", "rollback"]
    assert [(e["from"], e["to"]) for e in trail[-2:]] == [("3", "2"), ("2", "1")]
    assert (trail[-2]["by"], trail[-2]["note"]) == (reviewed.AUTHOR, "complaints")
    assert trail[1]["policy"] == POLICY.model_dump()
    assert set(trail[1]["gates"]) >= {
        "verdict",
        "worst_upper",
        "retain_upper",
        "review",
        "reviewers",
        "files",
        "findings",
    }
    marks = client().get_registered_model(model).tags
    assert (marks["champion.from"], marks["champion.to"], marks["champion.by"]) == ("2", "1", reviewed.AUTHOR)
    assert json.loads(marks["champion.policy"]) == POLICY.model_dump()


def test_an_event_that_was_changed_is_noticed() -> None:
    model = "tverase-trail"
    reviewed.copy_model(model, BASE)
    for person in ("Jo", "Kim", "Mo"):
        _review.approve("trail", person, "", POLICY)
    assert [event["by"] for event in events(model)] == ["Jo", "Kim", "Mo"]
    version = client().get_model_version(model, "1")
    run = client().search_runs([client().get_run(version.run_id).info.experiment_id], f"tags.review_of = '{model}'")[0]
    (path,) = Path(run.info.artifact_uri).joinpath(_review_log.FOLDER).glob("0002*")
    whole = path.read_text()
    path.write_text(whole.replace("Kim", "Sam"))
    with pytest.raises(TrackingError, match="event 3 of the review of tverase-trail was changed"):
        events(model)
    path.unlink()
    with pytest.raises(TrackingError, match="event 2"):
        events(model)
    path.write_text(whole)
    assert len(events(model)) == 3


def test_the_page_and_the_tags_let_a_reviewer_decide() -> None:
    model = "tverase-page"
    make_version(model, "a")
    _review.approve("page:1", REVIEWER, "", POLICY)
    _review.promote("page:1", REVIEWER, "", POLICY)
    make_version(model, "b", reviewed.summary(hits=1))
    version = client().get_model_version(model, "2")
    found = figures(reviewed.summary(hits=1))
    assert {
        **found.tags(),
        "verdict": "erased",
        "alpha": "1.5",
        "author": reviewed.AUTHOR,
    }.items() <= version.tags.items()
    text = version.description
    for part in (
        "## bomb erased",
        "Beside the champion, version 1",
        "|cat",
        "adversarial embedding attempt 2",
        "8.9%",
    ):
        assert part in text, part
    run = client().get_run(version.run_id).info
    assert f"(#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/report.html)" in text
    assert f"(get-artifact?run_uuid={run.run_id}&path=pictures/bomb-attack-attempt-2.png)" in text
    assert {a.path for a in client().list_artifacts(run.run_id)} >= {"pictures", "evaluation.json", "verdict.json"}
    asked = f"name = '{model}' and tags.verdict = 'erased' and tags.worst_upper = '{found.worst_upper:.4f}'"
    assert [one.version for one in client().search_model_versions(asked)] == [2]


def test_a_page_is_cut_at_whole_lines_and_carries_no_html() -> None:
    many = reviewed.summary()
    rows = [{**many["rows"][1], "input": f"<img src=x onerror=alert(1)> | {n} {'x' * 900}"} for n in range(9)]
    said = page(Verdict("erased", "a <b> c", "w", ()), {**many, "rows": rows}, [], {"erased": "e" * 64}, {})
    assert len(said) <= LONGEST
    assert said.splitlines()[-1].startswith("(cut")
    assert "<" not in said
    assert "\\| 0" in said
    assert linked("[a](run:/b) [c](image:/d/e.png)", "1", "r") == (
        "[a](#/experiments/1/runs/r/artifacts/b) [c](get-artifact?run_uuid=r&path=d/e.png)"
    )


def test_two_versions_are_compared() -> None:
    model = "tverase-diff"
    make_version(model, "a")
    make_version(model, "b", reviewed.summary(hits=2), concepts=["bomb", "skull"])
    found = json.loads(tell("diff", "diff:1", f"models:/{model}/2", "--json"))
    assert found["parameters"]["concepts"] == ["bomb", "bomb, skull"]
    assert found["figures"]["bomb: adversarial embedding attempt 2"] == [
        "0 of 60 (0.0% to 6.0%)",
        "2 of 60 (0.4% to 11.5%)",
    ]
    assert found["figures"]["retain loss"][0] == "3.1 points (1.7 to 5.7)"
    assert "erased.sha256" in found["hashes"]
    assert "base_weights" not in found["hashes"], "both have the same"
    said = tell("diff", "diff:1", "diff:2")
    assert "diff:1" in said
    assert "2 of 60" in said
    assert "parameters: the same" in tell("diff", "diff:1", "diff:1")


@pytest.fixture(scope="module")
def names_model(place: Path) -> str:
    reviewed.copy_model("tverase-names", BASE)
    copy_version("tverase-names")
    client().set_registered_model_alias("tverase-names", "old", "1")
    return "tverase-names"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("names:1", "1"), ("tverase-names:1", "1"), ("models:/tverase-names/1", "1"), ("names@old", "1"),
        ("models:/tverase-names@old", "1"), ("names", "2"), ("names@candidate", "1"), ("names/2", "2"),
    ],
)  # fmt: skip
def test_short_names(text: str, number: str, names_model: str) -> None:
    from tasks._review_facts import resolve

    assert str(resolve(client(), text).version) == number


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nams"], "unknown registered model 'nams'; did you mean 'names'"),
        (["show", "names:7"], "unknown version of tverase-names '7'.* There are: 1, 2"),
        (["show", "names:"], "unknown registered model 'names:'"),
        (["approve", "names@champ"], "unknown alias of tverase-names 'champ'.* There are: candidate, old"),
        (["approve", "names:1", "--by", "a, b"], "'a, b' is no name of a person"),
        (["approve", "names:1", "--by", "x" * 101], "no name of a person"),
        (["show", "names", "--params", "other.yaml"], "other.yaml does not exist"),
        (["promote", "names", "--set", "review.worst=1"], "params.yaml does not exist"),
        (["rollback"], "several models are registered; name the one to roll back: .*names"),
    ],
)
def test_a_bad_name_is_one_sentence_with_the_choices(words: list[str], said: str, names_model: str) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        tell(*words)
    assert (told.value.exit_code, str(told.value).count("\n")) == (2, 0)


def test_the_author_cannot_approve_and_a_rejection_is_the_rejecters() -> None:
    model = "tverase-who"
    reviewed.copy_model(model, BASE)
    for name in ("", "anna author", "ANNA@lab.example", "Anna Author <a@home.example>"):
        with pytest.raises(Refused, match=r"gate author: .* made it") as refused:
            _review.approve("who", name, "", POLICY)
        assert isinstance(refused.value, NotProved)
    done = _review.reject("who", "Kim", "draws a grenade", POLICY, "candidate")
    assert (holder(model, "candidate"), tags(model, "1")["review_status"]) == ("", "rejected")
    assert done.lines == ("who:1 is rejected by Kim", "it lost the alias candidate")
    with pytest.raises(Refused, match="Kim rejected it; only the same person"):
        _review.approve("who", REVIEWER, "", POLICY)
    _review.approve("who", "kim", "my mistake", POLICY)
    assert (tags(model, "1")["review_status"], tags(model, "1")["reviewer"]) == ("approved", "kim")
    _review.approve("who", REVIEWER, "", POLICY)
    assert tags(model, "1")["reviewer"] == "kim, Jo Li"


def test_a_person_in_mlflows_pages_decides_like_a_command() -> None:
    model = "tverase-hand"
    reviewed.copy_model(model, BASE)
    copy_version(model)
    copy_version(model)
    set_tag(model, "1", "reviewer", "Jo")
    set_tag(model, "1", "review_status", "Approved ")
    _review.promote("hand:1", "Mo", "", POLICY)
    # An alias that was moved by hand is a champion like any other, and moving it back is a rollback.
    client().set_registered_model_alias(model, "champion", "3")
    _review.rollback("hand", "Mo", "", POLICY)
    assert holder(model) == "1"
    assert [event["action"] for event in events(model)] == ["promote", "seen", "rollback"]
    _review.approve("hand:2", "Jo", "", POLICY)
    _review.promote("hand:2", "Mo", "", POLICY)
    client().set_registered_model_alias(model, "champion", "1")
    with pytest.raises(Refused, match="no earlier champion"):
        _review.rollback("hand", "Mo", "", POLICY)
    # A champion that was rejected meanwhile is passed over, and so is one that was deleted.
    _review.promote("hand:2", "Mo", "", POLICY)
    set_tag(model, "1", "review_status", "rejected")
    with pytest.raises(Refused, match="version 1 was passed over: it was rejected"):
        _review.rollback("hand", "Mo", "", POLICY)
    client().delete_registered_model_alias(model, "champion")
    with pytest.raises(Refused, match="hand has no champion; promote a version first"):
        _review.rollback("hand", "Mo", "", POLICY)


def _promote(number: str, start: threading.Barrier, moved: dict[str, str | None]) -> None:
    start.wait()
    done = _review.promote(f"race:{number}", "Mo", "", POLICY)
    moved[number] = done.event["from"] if done.event else None


def test_two_promotions_at_once_follow_each_other() -> None:
    model = "tverase-race"
    reviewed.copy_model(model, BASE)
    for number in "123":
        if number != "1":
            copy_version(model)
        _review.approve(f"race:{number}", REVIEWER, "", POLICY)
    _review.promote("race:1", "Mo", "", POLICY)
    start, moved = threading.Barrier(2), dict[str, str | None]()
    both = [threading.Thread(target=_promote, args=(number, start, moved)) for number in "23"]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
    second = holder(model)
    first = "2" if second == "3" else "3"
    assert moved == {first: "1", second: first}
    assert _review_log.stack(client(), model, "champion") == ["1", first, second]
    assert [event["number"] for event in events(model)] == list(range(1, 7))
    assert _review.promote(f"race:{second}", "Mo", "", POLICY).event is None, "it is the champion already"


def test_people() -> None:
    assert names("jo, Jo , kim <k@x>, K@X,") == ["jo", "kim <k@x>"]
    assert same_person("Jo  Li <jo@x>", "jo li")
    assert not same_person("Jo Li <jo@x>", "Jo Lin <jo@y>")
    assert not same_person("", "")
