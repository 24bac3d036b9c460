"""A model under trial: counts that add up, images that a seed decides, weights that stay as they were."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tverase import rng
from tverase.attacks.concept_inversion import ConceptInversion
from tverase.concepts import Prompt, halves
from tverase.context import Context
from tverase.inversion.diverse import Invert
from tverase.inversion.sets import Found, InversionSet
from tverase.judges.base import shows
from tverase.judges.by_label import ByLabel
from tverase.judges.cnn import CnnJudge
from tverase.models.base import Meter, in_turn
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.retention import kept
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.strength.choose import StrengthChoice, choose
from tverase.strength.curve import ToldTrial, frontier
from tverase.strength.settings import ChooseStrength
from tverase.trial import NAMES, Inputs, ModelTrial, tuning_prompts
from tverase.vector import TaskVector
from tverase.world.concepts import concept
from tverase.world.vocabulary import Vocabulary, vocabulary

SAMPLING = Sampling(steps=2, guidance=3.0, batch=16)
BOMB = "bomb: a bomb"
COMPOSED = "bomb: compositions"


@pytest.fixture(scope="module")
def judge(judges_folder: Path) -> ByLabel:
    return ByLabel({kind: CnnJudge.load(judges_folder / f"{kind}.safetensors") for kind in ("object", "style")})


@pytest.fixture
def model(pico: TextToImage) -> TextToImage:
    """Pico with a meter of its own."""
    return replace(pico, meter=Meter())


@pytest.fixture(scope="module")
def vector(pico: TextToImage) -> TaskVector:
    rng, base = generator(0, "tests/trial/vector"), pico.weights()
    return TaskVector.between(base, {k: w + 0.1 * torch.randn(w.shape, generator=rng) for k, w in base.items()})


def found(name: str, *, accepted: bool = True) -> Found:
    return Found(name, "bomb", 0.0, 1.0, 0.5, 9 if accepted else 1, 10, accepted)


@pytest.fixture
def inputs(model: TextToImage, words: Vocabulary) -> Inputs:
    """Two names, an embedding to tune on and another that was rejected, one to validate on."""
    bomb, space = concept("bomb", words), model.space("a {}")
    points = torch.stack([space.anchor("owl"), space.anchor("fire")])
    sets = {
        "tune": InversionSet(points, (found("t0"), found("t1", accepted=False)), "a {}"),
        "validate": InversionSet(points[1:], (found("v0"),), "a {}"),
    }
    return Inputs.of(model, [bomb], sets, Invert())


@pytest.fixture
def trial(model: TextToImage, vector: TaskVector, inputs: Inputs, judge: ByLabel, words: Vocabulary) -> ModelTrial:
    context = Context(model, (concept("bomb", words),), judge, SAMPLING, Invert(), 0)
    return ModelTrial(context, vector, inputs, tuning_prompts(context, "tests/trial"))


def again(trial: ModelTrial, seed: int = 0) -> ModelTrial:
    """The same trial before its first call."""
    return replace(trial, context=replace(trial.context, seed=seed), calls={}, _edited={})


def test_inputs_are_names_and_accepted_embeddings(model: TextToImage, inputs: Inputs) -> None:
    names = inputs.names["tune"][:NAMES]
    assert names[0] == BOMB
    assert inputs.names == {"tune": [*names, COMPOSED, "t0"], "validate": ["v0"]}
    assert set(inputs.cond) == set(inputs.concept) == {*names, COMPOSED, "t0", "v0"}
    assert torch.equal(inputs.cond[COMPOSED], model.encode(concept("bomb", vocabulary()).tuning))
    assert torch.equal(inputs.cond[BOMB], model.encode(["a bomb"]))
    assert torch.allclose(inputs.cond["t0"], model.encode(["a owl"]), atol=1e-6)
    assert torch.allclose(inputs.cond["v0"], model.encode(["a fire"]), atol=1e-6)
    assert {c.name for c in inputs.concept.values()} == {"bomb"}


def test_retain_prompts_have_nothing_to_do_with_the_concept(trial: ModelTrial, words: Vocabulary) -> None:
    tuning, scoring = halves([concept("bomb", words)])
    assert set(trial.retain_prompts) == set(tuning)
    assert set(trial.retain_prompts).isdisjoint(scoring)
    assert "bomb" not in {label for p in trial.retain_prompts for label in p.labels}
    assert list(trial.retain_prompts) != sorted(trial.retain_prompts, key=lambda p: p.text)


@pytest.mark.parametrize("count", [1, 3, 4, 8, 9, 10, 100])
def test_an_input_of_several_rows_is_drawn_by_all_in_turn(count: int) -> None:
    rows = in_turn(torch.arange(9), count)
    often = Counter(rows.tolist())
    assert len(rows) == count
    assert len(often) == min(9, count)
    assert max(often.values()) - min(often.values()) <= 1
    assert max(often) >= min(8, 9 * (count - 1) // count)


def test_alpha_zero_is_the_base_model(trial: ModelTrial, model: TextToImage) -> None:
    assert trial.at(0) is model
    edited = trial.at(0.5)
    assert all(torch.equal(w, trial.vector.apply(model.weights(), 0.5)[k]) for k, w in edited.weights().items())
    assert any(not torch.equal(w, model.weights()[k]) for k, w in edited.weights().items())


def test_a_strength_for_each_parameter(trial: ModelTrial, model: TextToImage) -> None:
    key, *others = sorted(model.weights())
    edited = replace(trial, scale={key: 2.0}).at(0.5).weights()
    assert torch.equal(edited[key], trial.vector.apply(model.weights(), 1.0)[key])
    assert all(torch.equal(edited[k], model.weights()[k]) for k in others)


def test_recovery_counts_what_the_judge_sees(
    trial: ModelTrial, model: TextToImage, judge: ByLabel, words: Vocabulary
) -> None:
    """Asked about every object in turn, the judge's counts add up to the images that it calls an object at all."""
    count = 6
    noise = generator(0, "choose_strength/0/1")
    images = draw(model, model.encode(["a bomb"]).expand(count, -1, -1), noise, SAMPLING)
    total = 0
    for name in words.names:
        asked = replace(trial.inputs, concept={BOMB: concept(name, words)})
        (hits,) = replace(again(trial), inputs=asked).recovery(0.0, [BOMB], count)
        assert hits == int(shows(judge.judges["object"], images, name).sum())
        total += hits
    assert total + int(shows(judge.judges["object"], images, "none").sum()) == count


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The images themselves, as the judges get them: counts alone could agree by chance."""
    seen: list[torch.Tensor] = []
    look = CnnJudge.probabilities

    def watch(judge: CnnJudge, images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return look(judge, images)

    monkeypatch.setattr(CnnJudge, "probabilities", watch)
    return seen


def test_each_input_draws_its_own_images(trial: ModelTrial, drawn: list[torch.Tensor]) -> None:
    trial.recovery(0.5, [BOMB, "t0"], 4)
    cond = torch.cat([trial.inputs.cond[name].expand(4, -1, -1) for name in (BOMB, "t0")])
    images = draw(trial.at(0.5), cond, generator(0, "choose_strength/0.5/1"), SAMPLING)
    assert [len(part) for part in drawn] == [4, 4]
    assert torch.equal(torch.cat(drawn), images)


def test_the_seed_decides_and_every_round_is_fresh(trial: ModelTrial, drawn: list[torch.Tensor]) -> None:
    def rounds(seed: int) -> list[list[int]]:
        tried = again(trial, seed)
        return [tried.recovery(0.5, [BOMB, "t0"], 4) for _ in range(2)]

    assert rounds(0) == rounds(0)
    rounds(1)
    first, second, third = (torch.cat(drawn[4 * i : 4 * i + 4]) for i in range(3))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not torch.equal(first[:8], first[8:])  # the second round


def test_no_two_strengths_of_a_choice_share_noise(
    trial: ModelTrial, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was explored must not confirm: of a whole choice, only the retain set draws the same noise again."""
    used: list[str] = []
    derive = rng.derive
    monkeypatch.setattr(rng, "derive", lambda seed, purpose: used.append(purpose) or derive(seed, purpose))
    settings = ChooseStrength(
        epsilon=0.99,
        confirm_at=1,
        delta=1,
        alpha_max=1,
        resolution=0.5,
        explore=2,
        round=2,
        rounds=2,
        retain_images=4,
        attacks=(),
    )
    *_, choice = choose(trial, inputs.names["tune"], inputs.names["validate"], settings)
    assert choice.explored
    assert len(choice.tested) == len(settings.shares)
    counted = [purpose for purpose in used if purpose != "choose_strength/control"]
    assert len(counted) == sum(trial.calls.values()) >= len(choice.explored) + len(choice.tested)
    assert set(trial.calls) == {one.alpha for one in (*choice.explored, *choice.tested)}
    assert len({derive(0, purpose) for purpose in used}) == len(counted) + 1


def test_the_images_of_a_strength_depend_on_no_other(trial: ModelTrial, drawn: list[torch.Tensor]) -> None:
    """So that a choice that goes on after a stop draws what it would have drawn."""
    trial.recovery(0.5, [BOMB], 4)
    other = again(trial)
    other.recovery(1.0, [BOMB], 4)
    other.recovery(0.5, [BOMB], 4)
    assert torch.equal(drawn[0], drawn[2])


def test_findings_become_inputs_of_their_own(trial: ModelTrial, model: TextToImage) -> None:
    latents = {"bomb": model.start(2, generator(0, "tests/trial/latents"))}
    attack = ConceptInversion(words=2, steps=1, batch=1)
    attacked = replace(trial, inputs=trial.inputs.copy(), latents=latents, attacks=[attack], attacked=(0.5, 1.0))
    names = attacked.attack(1.0)
    assert names == [f"bomb/attack/1/{share}/{i}" for share in ("0.5", "1") for i in range(2)]
    assert attacked.inputs.names["attack"] == names
    assert all(torch.isfinite(attacked.inputs.cond[name]).all() for name in names)
    assert len(torch.unique(torch.cat([attacked.inputs.cond[name] for name in names]), dim=0)) == 4
    assert len(attacked.recovery(1.0, names, 2)) == 4
    assert "attack" not in trial.inputs.names


def test_an_attack_is_told_before_it_runs(trial: ModelTrial) -> None:
    told = list[Progress]()
    context, latents = replace(trial.context, tell=told.append), {"bomb": torch.zeros(1)}
    assert ToldTrial(context, trial.vector, trial.inputs, (), latents=latents).attack(1.5) == []
    assert [progress.note for progress in told] == ["alpha 1.5: attacks, then images of every input"]


def test_a_selection_has_images_of_its_own(trial: ModelTrial, model: TextToImage, drawn: list[torch.Tensor]) -> None:
    trial.recovery(0.5, [BOMB], 2)
    chosen = trial.selecting(dict.fromkeys(model.weights(), 1.0), "select")
    chosen.recovery(0.5, [BOMB], 2)
    assert (trial.calls, chosen.calls) == ({0.5: 1}, {0.5: 1})
    assert not torch.equal(*drawn)
    assert all(torch.equal(w, trial.at(0.5).weights()[k]) for k, w in chosen.at(0.5).weights().items())


def test_retain_accuracy_has_the_same_noise_at_every_time(trial: ModelTrial, drawn: list[torch.Tensor]) -> None:
    before = trial.retain_accuracy(0.0, 12)
    first = drawn[0]
    trial.recovery(0.5, [BOMB], 2)
    drawn.clear()
    assert trial.retain_accuracy(0.0, 12) == before
    assert drawn == [], "the same images are not drawn twice"
    trial._retain.clear()
    assert trial.retain_accuracy(0.0, 12) == before
    assert torch.equal(drawn[0], first)
    assert before.trials == len(first) == 12
    assert 0 <= before.successes <= 12


def test_the_meter_counts(trial: ModelTrial, model: TextToImage) -> None:
    trial.recovery(0.5, [BOMB, "t0", "v0"], 5)
    assert (model.meter.evaluations, model.meter.images) == (15 * 2 * 2, 15)  # steps, with and without caption
    trial.retain_accuracy(0.5, 7)
    assert (model.meter.evaluations, model.meter.images) == (22 * 2 * 2, 22)


def test_a_trial_changes_no_weight(trial: ModelTrial, model: TextToImage) -> None:
    before = {key: weight.clone() for key, weight in model.unet.state_dict().items()}
    delta = {key: change.clone() for key, change in trial.vector.delta.items()}
    for alpha in (0.5, 1.0, 0.5):
        trial.recovery(alpha, [BOMB], 2)
        trial.retain_accuracy(alpha, 2)
    assert all(torch.equal(weight, before[key]) for key, weight in model.unet.state_dict().items())
    assert all(torch.equal(change, delta[key]) for key, change in trial.vector.delta.items())


def test_right_asks_for_all_that_the_prompt_asks_for(judges_folder: Path, judge: ByLabel) -> None:
    images = torch.rand(5, 3, 32, 32, generator=generator(0, "tests/trial/right")) * 2 - 1
    both = [CnnJudge.load(judges_folder / f"{kind}.safetensors") for kind in ("object", "style")]
    thing, style = ([one.classes[i] for i in one.probabilities(images).argmax(1)] for one in both)
    wrong = next(name for name in both[0].classes if name not in thing)
    off = next(name for name in both[1].classes if name not in style)
    prompts = [
        Prompt("both", (thing[0], style[0])),
        Prompt("no object", (style[1],)),
        Prompt("nothing"),
        Prompt("other object", (wrong, style[3])),
        Prompt("other style", (thing[4], off)),
    ]
    assert kept(images, prompts, judge, None).tolist() == [True, True, True, False, False]


def test_the_frontier_is_drawn_around_the_answer(trial: ModelTrial) -> None:
    images = {"frontier_images": 3, "retain_images": 4, "frontier_retain_images": 2}
    settings = ChooseStrength(frontier=(0.0, 0.5, 1.0), alpha_max=2.0, **images)
    curve = frontier(trial, StrengthChoice(1.0, "found"), settings)
    assert [point["alpha"] for point in curve.frontier] == [0.0, 0.5, 1.0]
    for point in curve.frontier:
        assert point["worst_input"] == "t0"  # the only embedding to tune on
        weighed = 2 if point["alpha"] == 0.5 else 4  # the ends have been weighed by the choice already
        assert [point[key]["trials"] for key in ("name", "worst", "retain")] == [3 * (NAMES + 1), 3, weighed]
    unsolved = frontier(trial, StrengthChoice(None, "no strength"), settings)
    assert [point["alpha"] for point in unsolved.frontier] == [0.0, 1.0, 2.0]
