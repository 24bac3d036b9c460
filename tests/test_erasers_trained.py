"""Erasers that train: which weights move, and what they are taught."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from erasing import material_of, of_digits
from pico_flow import write_pico_flow
from torch import Tensor

from tverase.concepts import Concept
from tverase.erasers.adv_unlearn import AdvUnlearn, Lesson
from tverase.erasers.anchors import anchors
from tverase.erasers.base import Eraser, Material
from tverase.erasers.concept_ablation import ConceptAblation
from tverase.erasers.encoder import EditedEncoder, encoded, encoding_with
from tverase.erasers.esd import Esd
from tverase.erasers.esd_x import EsdX
from tverase.erasers.gradient_ascent import GradientAscent
from tverase.erasers.salun import SalUn, largest
from tverase.erasers.stereo import Round, Stereo
from tverase.erasers.teaching import denoising, held, noised
from tverase.errors import KeyMismatch, ModelError
from tverase.models.base import Model
from tverase.models.digits import Digits
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.rng import generator, pick
from tverase.sampling import Sampling
from tverase.training import Training
from tverase.vector import TaskVector, weights_hash

BRIEF: dict[str, Any] = {"steps": 2, "batch": 4, "lr": 1e-3}
STEREO = Stereo(**BRIEF, rounds=2, round=Round(steps=2, lr=1e-3), inversion_steps=2, inversion_batch=2)
ABLATION = ConceptAblation(**BRIEF, images=6, sampling=Sampling(steps=2))


@pytest.fixture(scope="module")
def material(pico: TextToImage) -> Material:
    return material_of(pico)


def changed(vector: TaskVector) -> set[str]:
    """The parameters that move."""
    return {name for name, delta in vector.delta.items() if delta.any()}


def first_loss(eraser: Any, material: Material) -> float:
    """The loss before anything is learned, as it is told."""
    told: list[Progress] = []
    eraser.run(material_of(material.model, tell=told.append))
    return float(next(p.note for p in told if p.note.startswith("loss")).removeprefix("loss "))


def cross(name: str) -> bool:
    return "attn2" in name


WHERE: list[tuple[Eraser, Callable[[str], bool]]] = [
    (GradientAscent(**BRIEF), lambda _: True),
    (Esd(**BRIEF), lambda _: True),
    (EsdX(**BRIEF), cross),
    (ABLATION, lambda name: name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))),
    (STEREO, lambda name: not cross(name)),
]


@pytest.mark.parametrize(("eraser", "moves"), WHERE, ids=[type(eraser).__name__ for eraser, _ in WHERE])
def test_these_weights_move_and_no_others(eraser: Eraser, moves: Callable[[str], bool], material: Material) -> None:
    vector = eraser.run(material)
    assert isinstance(vector, TaskVector)
    wanted = {name for name in material.model.weights() if moves(name)}
    assert wanted
    assert changed(vector) <= wanted
    assert len(changed(vector)) > 0.9 * len(wanted)  # the bias of a key has no effect
    assert vector.delta.keys() == material.model.weights().keys()


@pytest.mark.parametrize("eraser", [EsdX(**BRIEF), ABLATION], ids=["esd-x", "concept-ablation"])
def test_without_cross_attention_they_refuse(eraser: Any, digits: Digits) -> None:
    with pytest.raises(ModelError, match=r"Digits has no cross-attention.* choose an eraser"):
        eraser.run(of_digits(digits))


def test_gradient_ascent_raises_the_loss(material: Material) -> None:
    """The loss that it reports is minus the denoising loss, which is higher afterwards, also on other noise."""
    model = material.model
    names, latents = model.encode(material.concepts[0].names), material.latents["bomb"]
    vector = GradientAscent(**BRIEF).run(material)

    def loss(of: Model) -> float:
        with torch.no_grad():
            return denoising(of, latents, names[:1].expand(32, -1, -1), generator(0, "tests/ascent")).item()

    edited = model.with_weights(vector.apply(model.weights(), 1.0))
    assert loss(edited) > loss(model) > 0
    assert first_loss(GradientAscent(**BRIEF), material) < 0


def test_esd_x_learns_the_target_of_esd(material: Material) -> None:
    assert first_loss(EsdX(**BRIEF), material) == first_loss(Esd(**BRIEF), material) > 0


def test_anchors_are_the_most_similar_retain_prompts(material: Material) -> None:
    model, concept = material.model, material.concepts[0]
    found = anchors(material, concept)
    assert len(found) == len(concept.names)
    assert all(any(torch.equal(row, kept) for kept in material.retain_cond) for row in found)
    own = Concept(name="kept", names=("an owl", "a flat mango"), retain=concept.retain)
    among = Material(model, [own], {}, material.retain_latents, model.encode(["a key", *reversed(own.names)]), 0)
    assert torch.equal(anchors(among, own), model.encode(own.names))
    assert torch.equal(anchors(material, concept, "an owl"), model.encode(["an owl"] * len(concept.names)))


def test_ablation_to_the_own_prompt_has_nothing_to_teach(pico: TextToImage) -> None:
    """The target is the anchor's answer: the distance is zero if the concept is its own anchor."""
    single = Concept(name="bomb", names=("a bomb",), retain=Concept.named("bomb").retain)
    whole = material_of(pico)
    material = Material(pico, [single], whole.latents, whole.retain_latents, whole.retain_cond, 0)
    losses = {}
    for anchor in ("a bomb", "an owl"):
        loss = ABLATION.model_copy(update={"anchor": anchor}).loss(material, single, "tests")
        losses[anchor] = loss(pico, generator(0, "tests/ablation")).item()
    assert losses["a bomb"] < 1e-10 < losses["an owl"]


def test_the_retain_set_is_held_at_the_base_models_answers(material: Material) -> None:
    model = material.model
    assert held(material, model, 4, generator(0, "tests/held")).item() == 0
    other = model.with_weights({name: 1.01 * weight for name, weight in model.weights().items()})
    assert held(material, other, 4, generator(0, "tests/held")).item() > 0


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_mask_has_the_share_of_weights_with_the_largest_gradients(share: float, material: Material) -> None:
    eraser = SalUn(**BRIEF, share=share, batches=1)
    masks = eraser.masks(material, material.concepts[0])
    flat = torch.cat([mask.flatten() for mask in masks.values()])
    assert set(flat.tolist()) == {0, 1}
    assert flat.sum().item() == round(share * len(flat))
    vector = eraser.run(material)
    assert all(not vector.delta[name][mask == 0].any() for name, mask in masks.items())
    moved = sum((vector.delta[name] != 0).sum().item() for name in masks)
    assert 0.8 * flat.sum().item() < moved <= flat.sum().item()  # a small step can be lost in a large weight


def test_the_largest_are_chosen_over_all_weights() -> None:
    found = largest({"a": torch.tensor([[3.0, 1.0]]), "b": torch.tensor([2.0, 2.0, 0.0])}, 0.4)
    assert found["a"].tolist() == [[1, 0]]
    assert found["b"].tolist() == [1, 0, 0]
    assert largest({"a": torch.zeros(3)}, 1.0)["a"].tolist() == [1, 1, 1]


def test_stereo_finds_a_word_each_round(material: Material) -> None:
    words = STEREO.search(material, material.concepts[0])
    assert words.shape == (2, *material.model.null.shape[1:])
    assert not torch.equal(words[0], words[1])
    assert torch.equal(words, STEREO.search(material, material.concepts[0]))


def test_stereo_subtracts_every_word_and_adds_the_anchor(material: Material) -> None:
    """The distance at theta_0 is the one to the target of the docstring."""
    model, rng = material.model, generator(0, "tests/stereo")
    concept = material.concepts[0].model_copy(update={"names": material.concepts[0].names[:1]})
    words, anchor, own = model.encode(["an owl", "a key"]), model.encode(["a flat mango"]), material.names(concept)
    free = STEREO.model_copy(update={"retain_weight": 0.0, "positive": 2.0})
    found = free.loss(material, concept, words, 0.5, anchor)(model, rng).item()
    rng = generator(0, "tests/stereo")
    x, timesteps, _ = noised(model, material.latents[concept.name], free.batch // 2, rng)
    forget = torch.cat([own, words])[pick(free.batch // 2, 3, rng)]

    def answer(cond: Tensor) -> Tensor:
        return model.denoise(x, timesteps, cond.expand(len(x), -1, -1))

    null = answer(model.null)
    target = null + 2.0 * (answer(anchor) - null) - 0.5 * sum((answer(w[None]) - null for w in words), 0 * null)
    assert found == pytest.approx((answer(forget) - target).square().mean().item(), rel=1e-4)
    nobody = concept.model_copy(update={"names": ("",)})
    assert free.loss(material, nobody, words[:0], 0.5, model.null)(model, rng).item() < 1e-10


ADVERSARIAL = AdvUnlearn(**BRIEF, warm_up=1, attack_steps=2)


@pytest.fixture(scope="module")
def guard(material: Material) -> EditedEncoder:
    return ADVERSARIAL.run(material)


def test_adversarial_training_edits_the_text_encoder_alone(guard: EditedEncoder, pico: TextToImage) -> None:
    before = weights_hash(dict(pico.text_encoder.named_parameters()))
    guarded = guard.guarded(pico)
    assert isinstance(guarded, TextToImage)
    assert guarded.weights() is pico.weights()
    assert weights_hash(dict(guarded.text_encoder.named_parameters())) != before
    assert weights_hash(dict(pico.text_encoder.named_parameters())) == before
    assert not any(weight.requires_grad for weight in guarded.text_encoder.parameters())
    assert set(guard.weights) == {name for name, _ in pico.text_encoder.named_parameters()}


def test_the_guard_is_where_words_are_read(guard: EditedEncoder, pico: TextToImage) -> None:
    guarded = guard.guarded(pico)
    assert isinstance(guarded, TextToImage)
    assert not torch.allclose(guarded.encode(["a bomb"]), pico.encode(["a bomb"]))
    point = pico.space("a {}").anchor("bomb")[None]
    with torch.no_grad():
        before, after = (model.space("a {}").cond(point) for model in (pico, guarded))
    assert not torch.allclose(before, after)
    assert torch.allclose(before, pico.encode(["a bomb"]), atol=1e-5)
    table = guard.weights["embeddings.token_embedding.weight"]
    assert torch.allclose(guarded.token_embedding.weight, table, atol=1e-7)


def test_the_guards_strength_is_the_share_of_the_way(guard: EditedEncoder, pico: TextToImage) -> None:
    own = dict(pico.text_encoder.named_parameters())
    for strength in (0.0, 0.5, 1.0, 1.5):
        guarded = guard.guarded(pico, strength)
        assert isinstance(guarded, TextToImage)
        for name, weight in guarded.text_encoder.named_parameters():
            assert torch.allclose(weight, own[name] + strength * (guard.weights[name] - own[name]), atol=1e-6)
    assert torch.equal(guard.guarded(pico, 0.0).encode(["a bomb"]), pico.encode(["a bomb"]))


@pytest.mark.parametrize(
    ("weights", "why"),
    [({"nowhere": torch.zeros(1)}, "does not have 1"), ({"final_layer_norm.bias": torch.zeros(1)}, "other shapes")],
)
def test_a_guard_of_another_encoder_is_refused(weights: dict[str, Tensor], why: str, pico: TextToImage) -> None:
    with pytest.raises(KeyMismatch, match=why):
        EditedEncoder(weights).guarded(pico)


def test_a_model_without_a_text_encoder_is_refused(digits: Digits, guard: EditedEncoder) -> None:
    with pytest.raises(ModelError, match="Digits has no text encoder"):
        guard.guarded(digits)
    with pytest.raises(ModelError, match="Digits has no text encoder"):
        ADVERSARIAL.run(of_digits(digits))


@pytest.fixture(scope="module")
def flow(pico: TextToImage, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A transformer with flow matching, whose conditionings have the pooled output as well."""
    return open_model(write_pico_flow(pico, tmp_path_factory.mktemp("flow") / "pico-flow"))


@pytest.mark.parametrize("kind", ["pico", "flow"])
def test_encoded_is_encode_with_a_gradient(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    training = Training.of(dict(model.text_encoder.named_parameters()))
    student = encoding_with(model, training.parameters)
    found = encoded(student, ["a bomb", "an owl"])
    assert torch.allclose(found, model.encode(["a bomb", "an owl"]), atol=1e-6)
    torch.autograd.backward(found.square().sum())
    assert all(weight.grad is not None and weight.grad.any() for weight in list(training.parameters.values())[2:4])


def test_the_encoder_of_a_flow_model_is_trained_too(flow: Any) -> None:
    guard = ADVERSARIAL.model_copy(update={"steps": 2}).run(material_of(flow))
    assert not torch.allclose(guard.guarded(flow).encode(["a bomb"]), flow.encode(["a bomb"]))


def lesson_of(material: Material) -> tuple[Lesson, Model]:
    before = dict(material.model.text_encoder.named_parameters())  # type: ignore[attr-defined]
    return Lesson.of(material, ADVERSARIAL), encoding_with(material.model, before)


def test_the_captions_of_the_retain_images_are_found_again(material: Material) -> None:
    lesson, student = lesson_of(material)
    assert torch.allclose(material.model.encode(lesson.prompts), material.retain_cond, atol=1e-6)
    assert lesson.keeping(student, generator(0, "tests/keeping")).item() < 1e-9


def attack_losses(lesson: Lesson, student: Model, steps: int) -> Iterator[float]:
    lesson = Lesson(lesson.material, AdvUnlearn(attack_steps=steps, attack_step=0.1), lesson.prompts)
    model, rng = lesson.material.model, generator(0, "tests/attacked")
    batch = noised(model, lesson.material.latents["bomb"], 4, rng)
    drawn = model.denoise(batch.latents, batch.timesteps, model.encode(["a bomb"] * 4))
    yield from (loss for loss, _ in lesson.attacked(student, "a bomb", batch, drawn, rng))


def test_the_attack_comes_nearer_to_the_base_models_answer(material: Material) -> None:
    losses = list(attack_losses(*lesson_of(material), steps=12))
    assert len(losses) == 12
    assert min(losses[6:]) < losses[0]


def test_the_vector_of_two_concepts_is_the_sum_of_both(pico: TextToImage) -> None:
    """The same retain images; nothing of the one depends on the other."""
    eraser, both = GradientAscent(**BRIEF), material_of(pico, ["bomb", "skull"])
    parts = [
        eraser.run(Material(pico, [c], both.latents, both.retain_latents, both.retain_cond, 0)) for c in both.concepts
    ]
    total = eraser.run(both)
    assert weights_hash(total.delta) == weights_hash((parts[0] + parts[1]).delta)
