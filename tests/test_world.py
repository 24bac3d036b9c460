"""The embedded world: scenes, captions, and a tokenizer that knows their words."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tverase.errors import ConfigError, DataError
from tverase.models.tokens import learn_merges, train_tokenizer
from tverase.rng import generator
from tverase.world.captions import PLACE_WORDS, article, captions, phrase
from tverase.world.scene import PLACES, SIZES, Scenes, compose, render, sample_scenes, without_held_out
from tverase.world.sprites import Sprites, load_sprites
from tverase.world.vocabulary import Vocabulary

EMOJI = Path(__file__).parents[1] / "data" / "emoji"


def one_of_each(words: Vocabulary) -> Scenes:
    """Every object in every style once, medium, in the centre, on the first background."""
    pairs = torch.cartesian_prod(torch.arange(len(words.names)), torch.arange(len(words.styles)))
    nothing = torch.zeros(len(pairs), dtype=torch.long)
    return Scenes(pairs[:, 0], pairs[:, 1], nothing, nothing, nothing, nothing)


def ground(words: Vocabulary, scenes: Scenes) -> Tensor:
    """The bare background of each scene (B, 3, 1, 1), in [-1, 1]."""
    colours = torch.tensor(list(words.backgrounds.values()))[scenes.background] / 255
    return (colours * 2 - 1)[:, :, None, None]


def test_the_same_seed_renders_the_same_images(sprites: Sprites, words: Vocabulary) -> None:
    def images(seed: int) -> Tensor:
        rng = generator(seed, "tests/world")
        return render(sample_scenes(32, words, rng), sprites, words, rng)

    assert torch.equal(images(3), images(3))
    assert not torch.equal(images(3), images(4))


def test_images_lie_in_their_range(sprites: Sprites, words: Vocabulary) -> None:
    scenes = one_of_each(words)
    images = render(scenes, sprites, words, generator(0, "tests/world"))
    assert images.shape == (len(words.names) * len(words.styles), 3, 32, 32)
    assert images.min() >= -1
    assert images.max() <= 1
    covered = (images - ground(words, scenes)).abs().amax(1).gt(0.1).float().mean((1, 2))
    assert covered.min() > 0.02  # every object is really there, in every style
    assert covered.max() < 0.95


def test_a_mirrored_scene_is_a_scene_of_the_flipped_sprite(sprites: Sprites, words: Vocabulary) -> None:
    scenes = sample_scenes(48, words, generator(1, "tests/world"))
    plain, mirrored = (replace(scenes, mirror=torch.full_like(scenes.mirror, m)) for m in (0, 1))
    sprite = sprites.objects[scenes.thing, scenes.style]
    flipped = compose(sprite.flip(3), plain, words, generator(1, "tests/world/render"))
    images = compose(sprite, mirrored, words, generator(1, "tests/world/render"))
    assert torch.allclose(images, flipped, atol=1e-4)
    assert (images - compose(sprite, plain, words, generator(1, "tests/world/render"))).abs().amax(
        (1, 2, 3)
    ).max() > 0.5


@pytest.mark.parametrize(
    ("place", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("top", 0, -1), ("bottom", 0, 1)]
)
def test_places_are_where_their_words_say(
    sprites: Sprites, words: Vocabulary, place: str, axis: int, sign: int
) -> None:
    scenes = one_of_each(words)
    there = replace(scenes, place=torch.full_like(scenes.place, PLACES.index(place)))

    def centre(which: Scenes) -> Tensor:
        weight = (render(which, sprites, words, generator(0, "tests/place")) - ground(words, which)).abs().sum(1)
        marginal = weight.sum(2 - axis)
        return (marginal * torch.arange(32.0)).sum(1) / marginal.sum(1)

    assert ((centre(there) - centre(scenes)) * sign).min() > 1  # pixels, for every object


def test_sizes_are_ordered(sprites: Sprites, words: Vocabulary) -> None:
    scenes = one_of_each(words)
    area = {}
    for i, size in enumerate(SIZES):
        sized = replace(scenes, size=torch.full_like(scenes.size, i))
        images = render(sized, sprites, words, generator(0, "tests/size"))
        area[size] = (images - ground(words, sized)).abs().amax(1).gt(0.1).sum((1, 2))
    assert (area["small"] < area["medium"]).all()
    assert (area["medium"] < area["large"]).all()


def test_held_out_pairs_never_train(words: Vocabulary) -> None:
    scenes = sample_scenes(20000, words, generator(0, "tests/world/pairs"))
    held_out = set(words.held_out_pairs)

    def pairs(which: Scenes) -> set[tuple[str, str]]:
        indices = zip(which.thing.tolist(), which.style.tolist(), strict=True)
        return {(words.names[thing], words.styles[style]) for thing, style in indices}

    assert held_out
    assert held_out <= pairs(scenes)
    assert pairs(without_held_out(scenes, words)) == pairs(scenes) - held_out


def test_scenes_can_be_limited_to_some_objects(words: Vocabulary) -> None:
    scenes = sample_scenes(200, words, generator(0, "tests/world/some"), things=torch.tensor([3, 5]))
    assert set(scenes.thing.tolist()) == {3, 5}


def whole_words(text: str) -> str:
    return f" {re.sub('[^a-z ]', '', text)} "


def test_captions_never_use_a_held_out_synonym(texts: list[str], words: Vocabulary) -> None:
    held_out = [thing.held_out for thing in words.objects.values() if thing.held_out]
    said = " ".join(whole_words(text) for text in texts)
    assert len(held_out) > 20
    assert [word for word in held_out if f" {word} " in said] == []
    synonyms = [word for thing in words.objects.values() for word in thing.words]
    assert [word for word in synonyms if f" {word} " not in said] == []  # the others are all used


def test_captions_say_what_is_there_and_nothing_else(words: Vocabulary) -> None:
    rng = generator(0, "tests/world/say")
    scenes = sample_scenes(3000, words, rng)
    said: Counter[str] = Counter()
    for i, text in enumerate(captions(scenes, words, rng)):
        thing, style = words.objects[words.names[int(scenes.thing[i])]], words.styles[int(scenes.style[i])]
        size, place = SIZES[int(scenes.size[i])], PLACES[int(scenes.place[i])]
        facts = {
            "noun": next(
                (n for n in (words.names[int(scenes.thing[i])], *thing.words) if f" {n} " in whole_words(text)), None
            ),
            "style": style if f" {style} " in whole_words(text) else None,
            "size": size if f" {size} " in whole_words(text) else None,
            "place": place if place != "centre" and PLACE_WORDS[place] in text else None,
            "mirror": "mirrored" if "mirrored" in text else None,
            "ground": next((b for b in words.backgrounds if f"on a {b} background" in text), None),
        }
        said.update(key for key, fact in facts.items() if fact)
        assert facts["noun"] or text == f"something in {style} style"
        assert not facts["mirror"] or scenes.mirror[i]
        assert facts["ground"] in (None, tuple(words.backgrounds)[int(scenes.background[i])])
        others = {*words.styles, *SIZES} - {style, size}
        assert not [word for word in others if f" {word} " in whole_words(text)], text
        assert not [p for name, p in PLACE_WORDS.items() if name != place and p in text], text
    share = {key: count / 3000 for key, count in said.items()}
    assert share["noun"] > 0.93
    assert 0.75 < share["style"] < 0.88
    assert 0.4 < share["ground"] < 0.55
    assert min(share["size"], share["place"], share["mirror"]) > 0.1


def test_phrases(words: Vocabulary) -> None:
    assert phrase("bomb") == "a bomb"
    assert phrase("owl") == "an owl"
    assert phrase("owl", "noto") == "a noto owl"
    assert phrase("owl", "noto", tail=True) == "an owl in noto style"
    assert {article(word) for word in words.styles} == {"a"}


def test_every_word_belongs_to_one_thing(words: Vocabulary) -> None:
    every = [w for name, t in words.objects.items() for w in (name, *t.words, *([t.held_out] if t.held_out else []))]
    every += [*words.styles, *words.backgrounds, *SIZES, *PLACES]
    assert [word for word, count in Counter(every).items() if count > 1] == []
    assert len(words.names) >= 60
    assert {name for name, _ in words.held_out_pairs} <= set(words.names)
    assert {style for _, style in words.held_out_pairs} <= set(words.styles)


def test_unknown_thing_names_the_nearest(words: Vocabulary) -> None:
    with pytest.raises(ConfigError, match=r"unknown object 'bom'; did you mean 'bomb'"):
        words.thing("bom")


def test_sprites_are_the_vocabularys(sprites: Sprites, words: Vocabulary) -> None:
    assert tuple(sprites.index["objects"]) == words.names
    assert tuple(sprites.index["styles"]) == words.styles
    assert sprites.objects.shape == (len(words.names), len(words.styles), 4, 64, 64)
    assert sprites.objects[:, :, :3].le(sprites.objects[:, :, 3:] + 1e-6).all()  # premultiplied
    assert not set(sprites.index["others"]) & set(sprites.index["icons"])
    assert {source["licence"] for source in sprites.index["sources"]} <= {"Apache-2.0", "MIT"}


@pytest.mark.parametrize("damage", ["no folder", "no sheet", "byte", "garbage index", "half an index"])
def test_damaged_sprites_are_a_data_error(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "emoji"
    if damage != "no folder":
        shutil.copytree(EMOJI, folder)
    if damage == "no sheet":
        (folder / "objects-noto.png").unlink()
    elif damage == "byte":
        content = bytearray((folder / "others-flat.png").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "others-flat.png").write_bytes(content)
    elif damage == "garbage index":
        (folder / "index.json").write_text('{"objects": [')
    elif damage == "half an index":
        (folder / "index.json").write_text(json.dumps({"objects": []}))
    with pytest.raises(DataError, match="emoji"):
        load_sprites(folder)


@pytest.fixture(scope="module")
def tokenizer(texts: list[str]) -> Any:
    return train_tokenizer(texts, 24)


def test_every_word_is_one_token(tokenizer: Any, texts: list[str]) -> None:
    said = sorted({word for text in texts for word in re.findall("[a-z]+|,", text)})
    assert len(said) > 150
    assert [word for word in said if len(tokenizer(word, add_special_tokens=False).input_ids) != 1] == []
    longest = max(texts, key=lambda text: len(text.split()))
    ids = tokenizer(longest).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ,", ",").strip() == longest
    assert len(ids) <= 24


def test_unknown_words_fall_apart_but_are_not_lost(tokenizer: Any) -> None:
    ids = tokenizer("zeppelin", add_special_tokens=False).input_ids
    assert len(ids) > 1
    assert tokenizer.decode(ids).strip() == "zeppelin"


def test_two_trainings_give_the_same_tokens(tokenizer: Any, texts: list[str]) -> None:
    again = train_tokenizer([*reversed(texts), texts[0]], 24)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again(texts[:50]).input_ids == tokenizer(texts[:50]).input_ids


def test_merges_make_every_word_whole() -> None:
    assert learn_merges(["aa", "ab"]) == [("a", "a</w>"), ("a", "b</w>")]
    assert learn_merges(["abc", "bc"]) == [("b", "c</w>"), ("a", "bc</w>")]
    assert learn_merges(["a"]) == []
    assert learn_merges(["ab", "cd"]) == learn_merges(["cd", "ab"]) == [("a", "b</w>"), ("c", "d</w>")]  # ties
