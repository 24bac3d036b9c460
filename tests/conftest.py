"""What many tests share: the world's sprites, and a pico model that is built here and never fetched."""

import os

# Before anything that reads them is imported: no test may reach out of this machine.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

from pathlib import Path

import pytest
import torch

from tverase.models.build import PICO, autoencoder, text_encoder, unet
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.models.tokens import train_tokenizer
from tverase.pretrain.emoji import assemble
from tverase.rng import generator
from tverase.world.captions import captions
from tverase.world.scene import sample_scenes
from tverase.world.sprites import Sprites, load_sprites
from tverase.world.vocabulary import Vocabulary, vocabulary

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def words() -> Vocabulary:
    """The world's words."""
    return vocabulary()


@pytest.fixture(scope="session")
def sprites() -> Sprites:
    """The sprites that the repository ships."""
    return load_sprites(ROOT / "data" / "emoji")


@pytest.fixture(scope="session")
def texts(words: Vocabulary) -> list[str]:
    """Captions in which every word of the world occurs."""
    rng = generator(0, "tests/captions")
    return captions(sample_scenes(6000, words, rng), words, rng)


@pytest.fixture(scope="session")
def pico_folder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A whole StableDiffusionPipeline folder of 8-pixel images, its weights random, fp16; never written to."""
    folder = tmp_path_factory.mktemp("models") / "pico"
    tokenizer = train_tokenizer(texts, PICO.tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae, text, net = autoencoder(PICO), text_encoder(PICO, tokenizer), unet(PICO)
    assemble(folder, vae=vae, tokenizer=tokenizer, text_encoder=text, unet=net)
    return folder


@pytest.fixture(scope="session")
def pico(pico_folder: Path) -> TextToImage:
    """The pico model in float32, shared by all tests: what they change, they change in copies."""
    return open_model(pico_folder)
