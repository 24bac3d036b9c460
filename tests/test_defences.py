"""Outer defences leave what is known as it is, and take away what no known prompt says."""

from dataclasses import replace

import pytest
import torch
from examination import BOMB, IMAGES, NOTO, RETAIN, SAMPLING, examined, examiner_of, inversions_of
from torch import Tensor

from tverase.concepts import halves
from tverase.config import Params
from tverase.defences import Defended, Nearest, Rounded, Smoothed, named
from tverase.errors import ConfigError
from tverase.judges.base import shows
from tverase.models.base import repeated
from tverase.models.text2image import TextToImage
from tverase.retention import kept
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.steps.evaluation import _behind
from tverase.summary import metrics, summary
from tverase.vector import TaskVector

PROMPTS = ["a cat", "a dog", "a bomb", "a noto bomb", ""]


@pytest.fixture(scope="module")
def known(pico: TextToImage) -> Tensor:
    return pico.encode(PROMPTS)


def far(known: Tensor) -> Tensor:
    """States that no prompt makes."""
    return 10 * torch.randn(4, *known.shape[1:], generator=generator(0, "tests/defences"))


def test_the_nearest_known_state_of_each_place(known: Tensor) -> None:
    defence = Nearest(known)
    assert torch.equal(defence(known), known)
    near = known + 1e-4 * torch.randn(known.shape, generator=generator(1, "tests/defences"))
    assert torch.equal(defence(near), known)
    for given, found in zip(far(known), defence(far(known)), strict=True):
        for place in range(known.shape[1]):
            distances = (known[:, place] - given[place]).norm(dim=1)
            assert torch.equal(found[place], known[distances.argmin(), place])


@pytest.mark.parametrize("levels", [2, 8, 64])
def test_rounding_has_few_values_and_a_range(known: Tensor, levels: int) -> None:
    defence = Rounded.of(known, levels)
    found = defence(torch.cat([known, far(known)]))
    assert all(len(column.unique()) <= levels for column in found.flatten(0, 1).T)
    assert (found >= defence.low - 1e-5).all()
    assert (found <= defence.high + 1e-5).all()
    assert torch.allclose(defence(found), found, atol=1e-5)
    step = (defence.high - defence.low) / (levels - 1)
    assert ((defence(known) - known).abs() <= step / 2 + 1e-5).all()


def test_rounding_needs_two_levels(known: Tensor) -> None:
    with pytest.raises(ConfigError, match="at least 2 levels"):
        Rounded.of(known, 1)


def test_a_defence_is_called_by_its_name(known: Tensor) -> None:
    given = far(known)
    assert torch.equal(named("nearest")(known)(given), Nearest(known)(given))
    assert torch.equal(named("rounded-4")(known)(given), Rounded.of(known, 4)(given))
    assert torch.equal(named("smoothed-0.4")(known)(given), Smoothed(known, 0.4)(given))


@pytest.mark.parametrize(
    "name",
    [
        "blurred",
        "rounded",
        "rounded-1",
        "rounded-x",
        "nearest-",
        "nearest-3",
        "rounded-04",
        "smoothed-0",
        "smoothed-0.40",
        "smoothed-2",
        "smoothed-nan",
    ],
)
def test_an_unknown_defence_is_refused_before_any_work(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"unknown defence '{name}'.*nearest, rounded-LEVELS, smoothed-SHARE\. LEVELS"
    ):
        Params.parse({"evaluate": {"defences": ["nearest", name]}})
    with pytest.raises(ConfigError, match="a defence is named twice"):
        Params.parse({"evaluate": {"defences": ["nearest", "nearest"]}})


def test_smoothing_goes_from_nothing_to_the_mean(known: Tensor) -> None:
    given = far(known)
    assert torch.equal(Smoothed(known, 0.0)(given), given)
    assert torch.allclose(Smoothed(known, 1.0)(given), known.mean(0).expand_as(given))
    distance = [float((Smoothed(known, share)(given) - known.mean(0)).norm()) for share in (0.0, 0.3, 0.6)]
    assert distance == sorted(distance, reverse=True)


def test_a_defended_model_draws_what_the_model_draws_of_what_is_left(pico: TextToImage, known: Tensor) -> None:
    defended, settings = Defended(pico, Nearest(known)), Sampling(steps=2)
    given = known[:4] + 1e-4
    images = draw(defended, given, generator(0, "tests/defences/draw"), settings)
    plain = draw(pico, Nearest(known)(given), generator(0, "tests/defences/draw"), settings)
    assert torch.allclose(images, plain, atol=1e-5)
    assert not torch.allclose(images, draw(pico, far(known), generator(0, "tests/defences/draw"), settings), atol=1e-3)


def test_the_empty_caption_is_the_services_own(pico: TextToImage) -> None:
    """At guidance every step asks for it as well, and it is none of the known prompts."""
    known = pico.encode(PROMPTS[:4])
    defended = Defended(pico, Nearest(known))
    assert defended.null is defended.null  # it is known by its bytes
    noised, timesteps = pico.start(2, generator(0, "tests/defences/noised")), torch.tensor([500, 500])
    both = torch.cat([pico.null, far(known)[:1]])
    heard = torch.cat([pico.null, Nearest(known)(both)[1:]])
    assert not torch.allclose(Nearest(known)(both)[:1], pico.null)
    answers = [m.denoise(noised, timesteps, c) for m, c in ((defended, both), (pico, heard))]
    assert torch.equal(*answers)


@pytest.mark.parametrize("name", ["nearest", "rounded-2", "smoothed-0.5"])
def test_whoever_learns_through_a_defence_has_slopes(pico: TextToImage, known: Tensor, name: str) -> None:
    """As if the denoiser had been given what the defence leaves; otherwise an attack would only seem to fail."""
    defence = named(name)(known)
    noised, timesteps = pico.start(4, generator(0, "tests/defences/noised")), torch.full((4,), 500)
    given, left = far(known).requires_grad_(), defence(far(known)).requires_grad_()
    for model, cond in ((Defended(pico, defence), given), (pico, left)):
        model.denoise(noised, timesteps, cond).square().sum().backward()
    assert given.grad is not None
    assert left.grad is not None
    assert float(given.grad.abs().max()) > 0
    assert torch.allclose(given.grad, left.grad, rtol=1e-3, atol=1e-6)


def test_an_edit_goes_through_a_defence(pico: TextToImage, known: Tensor) -> None:
    defended = Defended(pico, Nearest(known))
    vector = TaskVector({key: torch.ones_like(weight) for key, weight in pico.weights().items()})
    edited = defended.with_weights(vector.apply(defended.weights(), 0.01))
    assert isinstance(edited, Defended)
    key = next(iter(vector.delta))
    assert torch.allclose(edited.weights()[key], pico.weights()[key] - 0.01)


def test_a_service_knows_the_prompts_that_tune(pico: TextToImage) -> None:
    """Those that score would tell it what it will be asked."""
    tuning, scoring = halves([BOMB])
    behind = _behind(["nearest", "smoothed-1"], pico, [BOMB])
    assert list(behind) == ["nearest", "smoothed-1"]
    known, unknown = (pico.encode([prompt.text for prompt in half]) for half in (tuning, scoring))
    nearest = behind["nearest"]
    assert isinstance(nearest, Defended)
    assert torch.allclose(nearest.defence(known), known)
    assert not torch.allclose(nearest.defence(unknown), unknown)
    assert _behind([], pico, [BOMB]) == {}


def test_outer_defences_are_reported_apart(pico: TextToImage) -> None:
    """One that does nothing changes nothing; one that leaves only the empty caption leaves what that draws."""
    examiner, found = examiner_of(pico), inversions_of(pico)
    rows = [row for _, row in examined(examiner, found)]
    nothing, everything = Smoothed(examiner.base.null, 0.0), Smoothed(examiner.base.null, 1.0)
    behind = {name: Defended(examiner.erased, how) for name, how in (("idle", nothing), ("deaf", everything))}
    guarded = replace(examiner, behind=behind)
    mine = [row for _, row in examined(guarded, found)]
    assert [(r.base, r.erased) for r in mine] == [(r.base, r.erased) for r in rows]
    assert all(torch.equal(a.after, b.after) for a, b in zip(mine, rows, strict=True))
    assert all(row.behind["idle"] == row.erased for row in mine)
    empty = repeated(examiner.base.null, IMAGES)
    for row in [row for row in mine if row.kind in BOMB.prompts_by_kind and row.concept == "bomb"]:
        noise = generator(0, f"evaluate/bomb/{row.kind}/{row.input}")
        drawn = draw(examiner.erased, empty, noise, SAMPLING)
        assert row.behind["deaf"].successes == int(shows(examiner.judge, drawn, "bomb").sum())
    retain_set = guarded.retain_set([BOMB], RETAIN)
    numbers = summary(mine, retain_set, [BOMB, NOTO])
    plain = summary(rows, replace(retain_set, behind={}), [BOMB, NOTO])
    assert {key: part for key, part in numbers.items() if key != "defences"} == plain
    idle, deaf = numbers["defences"]
    images = draw(examiner.erased, repeated(examiner.base.null, RETAIN), generator(0, "evaluate/control"), SAMPLING)
    assert deaf["retain"]["behind"]["successes"] == int(kept(images, retain_set.prompts, examiner.judge, None).sum())
    assert (idle["defence"], idle["retain"]["loss"], deaf["defence"]) == ("idle", 0, "deaf")
    assert idle["retain"]["behind"] == plain["retain"]["all"]["erased"] == deaf["retain"]["erased"]
    assert [line["behind"] for line in idle["rows"]] == [line["erased"] for line in plain["rows"]]
    few = metrics(numbers, 1.0)
    assert few.pop("defences")["idle"] == {"worst": max(r["erased"]["rate"] for r in plain["rows"]), "loss": 0}
    assert few == metrics(plain, 1.0)
