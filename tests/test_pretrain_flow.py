"""The embedded transformer with flow matching: its training resumes exactly, and the shipped one draws its objects."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from tverase.errors import ConfigError
from tverase.files import sha256
from tverase.judges.cnn import CnnJudge
from tverase.models.folder import licence, open_model, open_pipeline
from tverase.models.mmdit import MMDiT
from tverase.pretrain import denoiser
from tverase.pretrain.flow import OBJECTS, FlowMaker, FlowShape, PretrainFlow
from tverase.progress import Progress
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.training import Training
from tverase.world.captions import phrase
from tverase.world.sprites import Sprites
from tverase.world.vocabulary import Vocabulary

TINY = FlowShape(side=16, channels=4, patch=4, blocks=1, heads=2, head_width=8, text_width=16, pooled_width=16)
SHORT = PretrainFlow(objects=("bomb", "cat"), steps=6, batch=4, pool=24)


class Stopped(Exception):
    """The training is killed here."""


def maker(sprites: Sprites, words: Vocabulary, work: Path, **options: Any) -> FlowMaker:
    return FlowMaker(SHORT, sprites, words, work, TINY, **options)


def test_a_training_that_was_stopped_leaves_the_same_bytes(
    sprites: Sprites, words: Vocabulary, pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tverase.training.CHECKPOINT_EVERY", 2)

    def stop(progress: Progress) -> None:
        if (progress.what, progress.done) == ("transformer", 5):
            raise Stopped

    whole = tmp_path / "whole"
    maker(sprites, words, tmp_path / "one").make(open_pipeline(pico_folder), whole)
    with pytest.raises(Stopped):
        maker(sprites, words, tmp_path / "two", tell=stop).make(open_pipeline(pico_folder), tmp_path / "again")
    seen: list[int] = []
    resumed = maker(sprites, words, tmp_path / "two", tell=lambda progress: seen.append(progress.done))
    resumed.make(open_pipeline(pico_folder), tmp_path / "again")
    assert seen == [0, 5, 6]
    assert sha256(tmp_path / "again") == sha256(whole)
    model = open_model(whole)
    assert isinstance(model, MMDiT)
    assert licence(whole) == "apache-2.0"
    assert "bomb, cat" in (whole / "README.md").read_text()


def test_training_lowers_the_loss(
    sprites: Sprites, words: Vocabulary, pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "WARM_UP", 1)
    pipe, how = open_pipeline(pico_folder), SHORT.model_copy(update={"steps": 60, "batch": 16, "rate": 5e-3})
    made = FlowMaker(how, sprites, words, tmp_path, TINY)
    model = made.model(pipe)
    losses = list(made.losses(model, Training(model.weights(), weight_decay=0.0), made.pool(model)))
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_an_unknown_object(sprites: Sprites, words: Vocabulary, pico_folder: Path, tmp_path: Path) -> None:
    odd = FlowMaker(SHORT.model_copy(update={"objects": ("bom",)}), sprites, words, tmp_path, TINY)
    with pytest.raises(ConfigError, match="unknown object 'bom'; did you mean 'bomb'"):
        odd.make(open_pipeline(pico_folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_draws_its_objects(words: Vocabulary) -> None:
    model = open_model(ROOT / "models" / "emoji-flow")
    judge = CnnJudge.load(ROOT / "models" / "judges" / "object.safetensors")
    asked = [(name, phrase(name, style)) for name in OBJECTS for style in words.styles]
    cond = model.encode([prompt for _, prompt in asked])
    images = draw(model, cond, generator(0, "tests/emoji-flow"), Sampling(steps=10, guidance=3.0))
    wanted = torch.tensor([judge.classes.index(name) for name, _ in asked])
    seen = (judge.probabilities(images).argmax(1) == wanted).float().mean().item()
    assert seen >= 0.85  # of 50 images; see docs/results.md for the rate of many


def test_the_shipped_model_is_small() -> None:
    folder = ROOT / "models" / "emoji-flow"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 8_000_000
