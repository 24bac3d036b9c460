"""params.yaml: mistakes are found before any work, and said in a way that helps."""

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from tverase.config import Params
from tverase.errors import ConfigError
from tverase.hardening.settings import Harden
from tverase.presets import EFFORTS, RECIPES
from tverase.strength.settings import ChooseStrength


def mistake(content: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        Params.parse(content)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_said_is_the_default() -> None:
    params = Params.parse({})
    assert (params.name, params.concepts, params.seed) == ("bomb", ("bomb",), 0)
    assert params.out == Path("outputs/bomb")
    assert params.section("finetune") == params.finetune
    assert params.section("register").alias == "candidate"
    assert params.section("seed") == 0


def test_a_file_is_read_and_its_sections_reach_their_types(tmp_path: Path) -> None:
    path = written(tmp_path, "concepts: [skull, noto]\nfinetune: {steps: 7, lr: 1.0e-3}\nregister: {alias: live}\n")
    params = Params.load(path)
    assert params.name == "skull+noto"
    assert (params.finetune.steps, params.finetune.lr, params.register_.alias) == (7, 1e-3, "live")
    assert [c.kind for c in params.concept_list] == ["object", "style"]
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 3  # type: ignore[misc]


def test_the_repositorys_own_file_is_valid() -> None:
    path = Path(__file__).parents[1] / "params.yaml"
    if not path.exists():
        pytest.skip("no params.yaml is written yet")
    assert Params.load(path).concepts


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"finetune": {"setps": 3}}, ["unknown parameter 'finetune.setps'", "did you mean 'steps'", "weight_decay"]),
        ({"fintune": {}}, ["unknown parameter 'fintune'", "did you mean 'finetune'", "choose_strength"]),
        ({"register": {"alais": "x"}}, ["unknown parameter 'register.alais'", "did you mean 'alias'"]),
        ({"build_vector": {"layers": "mid"}}, ["unknown parameter 'build_vector.layers'", "retain_weight"]),
        ({"select": {"how": "blocks", "layers": "top"}}, ["select.layers", "'down'", "'mid+up'", "got 'top'"]),
        ({"select": {"how": "serch"}}, ["select.how", "'blocks'", "'search'", "got 'serch'"]),
        ({"select": {"how": "blocks"}}, ["select.how=blocks needs select.layers"]),
        ({"select": {"layers": "mid"}}, ["select.layers=mid is of select.how=blocks", "is all"]),
        ({"select": {"search": {"imges": 3}}}, ["unknown parameter 'select.search.imges'", "did you mean 'images'"]),
        ({"finetune": {"steps": 0}}, ["finetune.steps", "greater than 0", "got 0"]),
        ({"finetune": {"steps": "many"}}, ["finetune.steps", "valid integer", "got 'many'"]),
        ({"finetune": {"steps": True}}, ["finetune.steps: expected a number, not true or false (got True)"]),
        ({"choose_strength": {"attacked": [True]}}, ["choose_strength.attacked: expected a number", "got [True]"]),
        ({"choose_strength": {"epsilon": 1.5}}, ["choose_strength.epsilon", "less than 1"]),
        ({"choose_strength": {"resolution": 9}}, ["resolution 9.0 is larger than alpha_max 8.0"]),
        ({"harden": {"taught": [1, 0.5]}}, ["taught is from 1 to 0.5; the smaller share comes first"]),
        (
            {"harden": {"attacks": [{"kind": "concept-inversions"}]}},
            ["unknown attack", "did you mean 'concept-inversion'"],
        ),
        ({"choose_strength": {"attacks": [{"kind": "prompts", "wrods": 1}]}}, ["attack prompts", "'wrods'"]),
        ({"recipe": "robst"}, ["recipe", "'robust' or 'paper'", "got 'robst'"]),
        ({"effort": "fast"}, ["effort", "'quick', 'standard' or 'thorough'", "got 'fast'"]),
        ({"effort": ["quick"]}, ["effort", "'quick', 'standard' or 'thorough'"]),
        ({"invert": {"bins": [[0.5, 0.2]]}}, ["the bin [0.5, 0.2] is not a range"]),
        ({"finetune": 3}, ["finetune"]),
        ({"seed": 1, "finetune": {"setps": 1}, "sampling": {"steps": -1}}, ["finetune.setps", "sampling.steps"]),
    ],
)
def test_a_mistake_is_named_with_its_path_and_the_choices(content: dict[str, object], said: list[str]) -> None:
    message = mistake(content)
    assert [part for part in said if part not in message] == []


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("bom", "'bomb'"), ("skul", "'skull'"), ("notoo", "'noto'"), ("slotmachine", "'slot machine'")],
)
def test_a_name_that_no_vocabulary_knows_suggests_the_nearest_and_has_no_judge(name: str, suggestion: str) -> None:
    params = Params.parse({"concepts": [name]})
    (notice,) = params.resolved.notices
    assert f"concept {name!r} is in no vocabulary (did you mean" in notice
    assert suggestion in notice.partition("assumed")[0]
    with pytest.raises(ConfigError, match=f"no judge is named for {name}"):
        _ = params.judge_spec


def test_the_presets_that_are_named_by_default_change_nothing() -> None:
    assert Params.parse({}) == Params.parse({"recipe": "robust", "effort": "standard"})
    assert Params.parse({}).harden == Harden()
    assert Params.parse({}).choose_strength == ChooseStrength()


def test_the_papers_recipe_hardens_and_attacks_nothing() -> None:
    params, robust = Params.parse({"recipe": "paper"}), Params.parse({})
    assert params.harden == robust.harden.model_copy(update={"max_rounds": 0})
    assert params.choose_strength == robust.choose_strength.model_copy(update={"attacks": ()})
    assert (params.build_vector.weighting, robust.build_vector.weighting) == ("none", "activations")
    same = set(Params.model_fields) - {"recipe", "build_vector", "harden", "choose_strength"}
    assert all(getattr(params, name) == getattr(robust, name) for name in same)


COST = [  # what grows with the effort
    "make_images.images", "make_images.retain_images", "invert.per_bin", "harden.max_rounds", "harden.inputs",
    "choose_strength.retain_images", "evaluate.images", "evaluate.images_each", "evaluate.retain_images",
]  # fmt: skip


def test_more_effort_is_more_of_everything() -> None:
    def value(params: Params, path: str) -> int:
        section, _, key = path.partition(".")
        return int(getattr(params.section(section), key))

    quick, standard, thorough = (Params.parse({"effort": effort}) for effort in ("quick", "standard", "thorough"))
    for path in COST:
        assert value(quick, path) <= value(standard, path) <= value(thorough, path), path
    assert all(any(value(a, path) < value(b, path) for path in COST) for a, b in pairwise((quick, standard, thorough)))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("effort", EFFORTS)
def test_every_preset_is_valid_and_what_is_given_overrides_it(recipe: str, effort: str) -> None:
    preset = Params.parse({"recipe": recipe, "effort": effort})
    given = {
        "harden": {"max_rounds": 3},
        "choose_strength": {"attacks": [{"kind": "random-inputs"}]},
        "evaluate": {"images": 7},
    }
    params = Params.parse({"recipe": recipe, "effort": effort, **given})
    assert params.harden == preset.harden.model_copy(update={"max_rounds": 3})
    assert params.choose_strength.attacks == ({"kind": "random-inputs"},)
    assert params.choose_strength.retain_images == preset.choose_strength.retain_images
    assert params.evaluate.images == 7
    assert params.evaluate.retain_images == preset.evaluate.retain_images
    assert params.evaluate.attacks == preset.evaluate.attacks


def test_a_preset_is_overridden_on_the_command_line(tmp_path: Path) -> None:
    path = written(tmp_path, "concepts: [bomb]\nharden: {steps: 9}\n")
    params = Params.load(path, ["recipe=paper", "effort=quick", "harden.max_rounds=2"])
    assert (params.harden.max_rounds, params.harden.steps, params.choose_strength.attacks) == (2, 9, ())
    assert params.make_images.retain_images == Params.parse({"effort": "quick"}).make_images.retain_images


def test_parameters_that_are_written_and_read_again_are_the_same() -> None:
    given = Params.parse({"concepts": ["skull"], "effort": "quick", "evaluate": {"attacks": {"weaker": None}}})
    assert "weaker" not in given.evaluate.attacks
    assert Params.parse(given.model_dump(mode="json", by_alias=True)) == given


@pytest.mark.parametrize("section", ["harden", "choose_strength"])
def test_attacks_without_inputs_neither_harden_nor_choose(section: str) -> None:
    with pytest.raises(ConfigError, match=f"{section}.attacks: .*rounding.*input kind below 6"):
        Params.parse({section: {"attacks": [{"kind": "rounding"}]}})


def test_a_value_that_nobody_can_compute_with_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="too large or too small"):
        Params.parse({"choose_strength": {"confirm_at": 1e-320}})


def test_parsing_changes_neither_the_presets_nor_what_is_given() -> None:
    before, given = repr((RECIPES, EFFORTS)), {"recipe": "paper", "effort": "thorough", "harden": {"max_rounds": 1}}
    Params.parse(given)
    assert repr((RECIPES, EFFORTS)) == before
    assert given["harden"] == {"max_rounds": 1}


@pytest.mark.parametrize("concepts", [[], ["bomb", "bomb"], "bomb", None, [3]])
def test_concepts_that_are_no_list_of_concepts(concepts: object) -> None:
    assert "concept" in mistake({"concepts": concepts})


def test_the_name_follows_from_the_concepts() -> None:
    assert Params.parse({"concepts": ["slot machine", "bomb"]}).out.name == "slot-machine+bomb"
    assert "name is not a parameter, because it follows from the concepts" in mistake({"name": "bomb"})


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, "concepts: [bomb]\nfinetune: {steps: 7, batch: 4}\n")
    params = Params.load(
        path, ["finetune.steps=100", "seed=3", "erase.alpha=1.5", "sampling.guidance=2", "register.alias=x"]
    )
    assert (params.finetune.steps, params.finetune.batch) == (100, 4)
    assert (params.seed, params.erase.alpha, params.sampling.guidance, params.register_.alias) == (3, 1.5, 2.0, "x")
    assert Params.load(path).finetune.steps == 7


@pytest.mark.parametrize(("override", "name"), [("concepts=skull", "skull"), ("concepts=[skull, noto]", "skull+noto")])
def test_overriding_the_concepts_renames_the_run(tmp_path: Path, override: str, name: str) -> None:
    path = written(tmp_path, "concepts: [bomb]\n")
    assert Params.load(path, [override]).name == name


def test_an_override_of_an_empty_section(tmp_path: Path) -> None:
    assert Params.load(written(tmp_path, "seed: 1\n"), ["finetune.steps=5"]).finetune.steps == 5
    assert Params.load(written(tmp_path, ""), ["finetune.steps=5"]).finetune.steps == 5


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("finetune.steps", "is not an override; write KEY=VALUE"),
        ("=3", "is not an override"),
        ("finetune.setps=3", "unknown parameter 'finetune.setps'; did you mean 'steps'"),
        ("seed.deep=3", "seed is a value and has nothing inside"),
        ("finetune.steps=[1", "column 3: expected"),
        ("finetune.steps=", "finetune.steps"),
        ("concepts=concepts/bom.yaml", "concepts/bom.yaml does not exist"),
    ],
)
def test_an_override_that_is_none(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Params.load(written(tmp_path, "seed: 1\n"), [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "expected a mapping"),
        ("just words", "expected a mapping"),
        ("a: [1", "line 1, column 6: expected ',' or ']'"),
        ("a: ä", "'a'"),
    ],
)
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml") as caught:
        Params.load(written(tmp_path, text))
    assert said in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml does not exist; check the name and the folder"):
        Params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("damage", ["folder", "bytes"])
def test_an_unreadable_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "params.yaml"
    path.mkdir() if damage == "folder" else path.write_bytes(b"seed: \xff\xfe")
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        Params.load(path)
