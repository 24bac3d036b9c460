"""Which weights are edited: groups are a partition, every selector answers strengths, and harm is found where it is."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from lamps import ALPHA, DOWN, MID, OUT, TAU, THETA, lamp_trial

from tverase import rng
from tverase.errors import ConfigError, KeyMismatch
from tverase.models.digits import Digits
from tverase.models.naming import NAMINGS
from tverase.models.text2image import TextToImage
from tverase.pretrain.flow import FlowShape, transformer
from tverase.selection.base import Selection
from tverase.selection.blocks import Layers, blocks
from tverase.selection.choose import Select, select
from tverase.selection.groups import Grain, block_of, group_of, groups, kind_of
from tverase.selection.search import Search, search
from tverase.trial import ModelTrial
from tverase.vector import TaskVector

GRAINS: tuple[Grain, ...] = get_args(Grain)


@pytest.fixture(scope="module")
def full_size() -> dict[str, int]:
    """The parameters of Stable Diffusion 1.4's UNet, name -> size, without a byte of them."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        net = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    return {name: weight.numel() for name, weight in net.named_parameters()}


@pytest.fixture(params=["pico", "digits", "full size"])
def keys(request: pytest.FixtureRequest, pico: TextToImage, digits: Digits, full_size: dict[str, int]) -> list[str]:
    """Parameter names of three UNets: of words, without text, and as large as people use."""
    return list({"pico": pico.weights(), "digits": digits.weights(), "full size": full_size}[request.param])


@pytest.mark.parametrize("grain", GRAINS)
def test_groups_are_a_partition(keys: list[str], grain: Grain) -> None:
    found = groups(keys, grain)
    assert sorted(key for mine in found.values() for key in mine) == sorted(keys)
    assert all(group_of(key, grain) == group for group, mine in found.items() for key in mine)
    assert groups(reversed(keys), grain) == found


def test_the_groups_of_a_full_size_model(full_size: dict[str, int]) -> None:
    assert (len(full_size), sum(full_size.values())) == (686, 859_520_964)
    down, up = ([f"{side}.{i}" for i in range(4)] for side in ("down", "up"))
    assert list(groups(full_size, "blocks")) == ["conv_in+time", *down, "mid", *up, "out"]
    kinds = ["attn1", "attn2", "ff", "other", "proj", "resnet"]
    assert sorted(groups(full_size, "kinds")) == sorted([*kinds, "conv_in+time", "out"])
    both = groups(full_size, "both")
    assert [name for name in both if name.startswith("down.0")] == [f"down.0/{kind}" for kind in kinds]
    assert [name for name in both if name.startswith(("down.3", "up.0"))] == [
        "down.3/resnet",
        "up.0/other",
        "up.0/resnet",
    ]
    assert len(both["mid/attn2"]) == 5
    assert all(".attn2." in key for key in both["mid/attn2"])


@pytest.mark.parametrize(
    ("key", "block", "kind"),
    [
        ("time_embedding.linear_1.bias", "conv_in+time", "other"),
        ("add_embedding.linear_1.weight", "conv_in+time", "other"),
        ("conv_norm_out.weight", "out", "other"),
        ("down_blocks.0.downsamplers.0.conv.bias", "down.0", "other"),
        ("mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.bias", "mid", "attn1"),
        ("mid_block.attentions.0.transformer_blocks.0.norm2.bias", "mid", "proj"),
        ("mid_block.attentions.0.proj_in.weight", "mid", "proj"),
        ("up_blocks.10.attentions.1.transformer_blocks.0.ff.net.2.bias", "up.10", "ff"),
        ("down_blocks.1.attentions.0.to_q.weight", "down.1", "attn1"),
        ("down_blocks.1.attentions.0.group_norm.weight", "down.1", "attn1"),
        ("up_blocks.0.resnets.1.norm1.weight", "up.0", "resnet"),
        ("transformer_blocks.3.attn.to_q.weight", "block.3", "attention"),
        ("transformer_blocks.12.ff_context.net.2.bias", "block.12", "feed_forward"),
        ("transformer_blocks.0.norm1_context.linear.weight", "block.0", "modulation"),
        ("single_transformer_blocks.0.attn.to_k.weight", "single.0", "attention"),
        ("pos_embed.proj.weight", "embedders", "other"),
        ("time_text_embed.timestep_embedder.linear_1.weight", "embedders", "other"),
        ("proj_out.weight", "head", "other"),
        ("encoder.layers.0.weight", "encoder", "other"),
    ],
)
def test_names_say_what_a_parameter_is(key: str, block: str, kind: str) -> None:
    assert (block_of(key), kind_of(key)) == (block, kind)


BEFORE = {  # the rule by which parameters were kept when this was a setting of build_vector
    "down": lambda key: key.startswith(("conv_in", "time_embedding", "down_blocks")),
    "mid": lambda key: key.startswith("mid_block"),
    "up": lambda key: key.startswith(("up_blocks", "conv_out", "conv_norm_out")),
    "mid+up": lambda key: key.startswith(("mid_block", "up_blocks", "conv_out", "conv_norm_out")),
    "attention": lambda key: ".attentions." in key,
    "cross_attention": lambda key: ".attn2." in key,
    "resnets": lambda key: ".resnets." in key,
}


@pytest.mark.parametrize("layers", list(BEFORE))
def test_blocks_are_what_they_were(layers: Layers, full_size: dict[str, int], pico: TextToImage) -> None:
    keep: Callable[[str], bool] = BEFORE[layers]
    vector = TaskVector(dict(pico.weights()), "base", {"concept": "bomb"})
    assert blocks(vector.delta, layers).scaled(vector) == vector.restrict(keep)
    strengths = blocks(full_size, layers).by_parameter(full_size)
    assert strengths == {key: float(keep(key)) for key in full_size}


@pytest.fixture(scope="module")
def transformer_keys() -> list[str]:
    """The parameter names of a transformer of four blocks."""
    with torch.device("meta"):
        return list(dict(transformer(FlowShape(), 0).named_parameters()))


@pytest.mark.parametrize("grain", GRAINS)
def test_groups_of_a_transformer_are_a_partition(transformer_keys: list[str], grain: Grain) -> None:
    found = groups(transformer_keys, grain)
    assert sorted(key for mine in found.values() for key in mine) == sorted(transformer_keys)
    assert next(iter(found)) == "embedders"
    if grain == "blocks":
        assert list(found) == ["embedders", *(f"block.{i}" for i in range(4)), "head"]


def test_layers_of_a_transformer(transformer_keys: list[str]) -> None:
    first, last = (blocks(transformer_keys, layers).edited for layers in ("first", "last"))
    assert {group.partition("/")[0] for group in first} == {"embedders", "block.0", "block.1"}
    assert {group.partition("/")[0] for group in last} == {"block.2", "block.3", "head"}
    attention = blocks(transformer_keys, "attention").by_parameter(transformer_keys)
    assert {key for key, strength in attention.items() if strength} == {k for k in transformer_keys if ".attn." in k}


@pytest.mark.parametrize("layers", ["down", "cross_attention"])
def test_layers_of_another_family_are_refused(layers: Layers, transformer_keys: list[str]) -> None:
    with pytest.raises(
        ConfigError,
        match=f"select.layers={layers} does not exist in a transformer; choose one of: first, last, attention",
    ):
        blocks(transformer_keys, layers)


def test_layers_of_a_transformer_are_refused_in_a_unet(pico: TextToImage) -> None:
    with pytest.raises(ConfigError, match="does not exist in a UNet; choose one of: down, mid, up"):
        blocks(pico.weights(), "first")


def test_every_choice_belongs_to_a_family() -> None:
    assert {name for naming in NAMINGS for name in naming.layers} == set(get_args(Layers))


def test_a_part_that_a_model_does_not_have(digits: Digits) -> None:
    vector = TaskVector(digits.weights())
    with pytest.raises(KeyMismatch, match="no parameter was kept"):
        blocks(vector.delta, "cross_attention").scaled(vector)


def test_a_strength_scales_its_group_and_zero_leaves_it_out() -> None:
    chosen = Selection("blocks", {"down.0": 0.5, "mid": 1.0, "up.0": 0.0, "out": 3.0})
    scaled = chosen.scaled(TAU)
    assert scaled.delta.keys() == {DOWN, MID, OUT}
    assert scaled.delta[MID] is TAU.delta[MID]
    assert torch.equal(scaled.delta[DOWN], 0.5 * TAU.delta[DOWN])
    both = (
        scaled.apply(THETA, ALPHA),
        TAU.apply(THETA, {k: ALPHA * s for k, s in chosen.by_parameter(TAU.delta).items()}),
    )
    assert all(torch.allclose(both[0][key], both[1][key]) for key in THETA)
    with pytest.raises(KeyMismatch):
        Selection("blocks", dict.fromkeys(chosen.strengths, 0.0)).scaled(TAU)


def test_the_default_selects_everything_and_asks_for_nothing() -> None:
    def never() -> ModelTrial:
        raise AssertionError("the model was asked for")

    chosen = select(TAU, Select(), never)
    assert chosen.strengths == {"down.0": 1, "mid": 1, "up.0": 1, "out": 1}
    assert all(change is TAU.delta[key] for key, change in chosen.scaled(TAU).delta.items())
    assert select(TAU, Select(how="blocks", layers="mid"), never).edited == ["mid/resnet"]


SMALL = Search(images=2, retain_images=8)


def test_the_search_drops_what_only_harms_and_keeps_what_is_needed() -> None:
    first, second, last = search(lamp_trial(), ALPHA, SMALL)
    assert set(first.strengths.values()) == {1.0}
    assert second.strengths == last.strengths == {"down.0": 1, "mid": 1, "up.0": 0, "out": 1}
    whole, round_, end = last.decisions
    assert (whole["recovery"]["rate"], whole["removed"]) == (0, None)
    assert (round_["removed"], end["removed"]) == ("up.0", None)
    assert [round_["retain_before"]["rate"], end["retain_before"]["rate"]] == [0.0, 0.5]
    # Without the middle block the dog burns again, and so does the bomb: it was tried, and refused.
    assert {group: kept["rate"] for group, kept in round_["retain_without"].items()} == {
        "down.0": 0, "mid": 0.5, "up.0": 0.5, "out": 0,
    }  # fmt: skip
    assert {group: seen["rate"] for group, seen in round_["recovery_without"].items()} == {"mid": 1, "up.0": 0}
    assert end["recovery_without"]["mid"]["worst"] == {"input": "bomb: a bomb", "successes": 2, "images": 2}


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"tolerance": 1.0}, ["down.0", "out"]),
        ({"gain": 0.5}, ["down.0", "mid", "up.0", "out"]),
        ({"tries": 1}, ["down.0", "mid", "up.0", "out"]),
        ({"removals": 1, "tolerance": 1.0}, ["down.0", "up.0", "out"]),
    ],
)
def test_the_settings_of_the_search(change: dict[str, float], left: list[str]) -> None:
    *_, last = search(lamp_trial(), ALPHA, SMALL.model_copy(update=change))
    assert last.edited == left


def test_a_search_costs_no_more_than_it_says() -> None:
    trial = lamp_trial()
    list(search(trial, ALPHA, SMALL.model_copy(update={"tolerance": 1.0})))
    assert 0 < trial.context.model.meter.images <= SMALL.most(groups=4, inputs=2) < Search().most(groups=4, inputs=2)


def test_a_search_looks_at_fresh_images_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    derive = rng.derive
    monkeypatch.setattr(rng, "derive", lambda seed, purpose: used.append(purpose) or derive(seed, purpose))
    list(search(lamp_trial(), ALPHA, SMALL))
    tests = [purpose for purpose in used if not purpose.endswith("/control")]
    assert len(tests) == len(set(tests)) == 4
    assert all(purpose.startswith("select/search/") for purpose in used)
    assert len({purpose for purpose in used if purpose.endswith("/control")}) == 2, "one noise for each round"
