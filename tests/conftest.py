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
    "PREFECT_LOGGING_LEVEL": "WARNING",
}

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tverase.judges.cnn import CnnJudge, JudgeNet
from tverase.models.build import PICO, autoencoder, text_encoder, unet
from tverase.models.digits import Digits, DigitShape, new_digits
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.models.tokens import train_tokenizer
from tverase.pretrain.emoji import assemble
from tverase.pretrain.judges import Kind, classes_of
from tverase.rng import generator
from tverase.world.captions import captions
from tverase.world.scene import sample_scenes
from tverase.world.sprites import Sprites, load_sprites
from tverase.world.vocabulary import Vocabulary, vocabulary

ROOT = Path(__file__).parents[1]
SMALL = {"kind": "concept-inversion", "words": 2, "steps": 2, "batch": 1, "images": 3}  # an attack

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
def digits() -> Digits:
    """A tiny digit model with random weights, shared: what tests change, they change in copies."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_digits(DigitShape(d=4, widths=(8, 16), groups=4))
    model.unet.eval().requires_grad_(False)
    return model


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


@pytest.fixture(scope="session")
def judges_folder(tmp_path_factory: pytest.TempPathFactory, words: Vocabulary) -> Path:
    """Both judges, small and untrained: they know every class and say something of every image."""
    folder = tmp_path_factory.mktemp("judges")
    kinds: tuple[Kind, ...] = ("object", "style")
    for kind in kinds:
        classes = classes_of(kind, words)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = JudgeNet(len(classes), width=8).eval()
        CnnJudge(net, f"{kind}-cnn/0", classes, 0.5).save(folder / f"{kind}.safetensors")
    return folder


@pytest.fixture(scope="session")
def small_run(pico_folder: Path, judges_folder: Path) -> dict[str, Any]:
    """What params.yaml has to say for a whole erasure in seconds: few steps, few images, no demands."""
    return {
        "model": str(pico_folder),
        "judge": {"kind": "embedded", "folder": str(judges_folder)},
        "concepts": ["bomb"],
        "seed": 0,
        "sampling": {"steps": 2},
        "make_images": {"images": 6, "retain_images": 4, "at_least": 0},
        "finetune": {"steps": 2, "batch": 2, "lr": 1e-3},
        "invert": {"bins": [[-0.2, 0.2], [0.9, 0.98]], "steps": 2, "batch": 1, "accept": 0, "images": 2},
        "select": {"how": "all"},
        "harden": {
            "steps": 2,
            "batch": 2,
            "max_rounds": 2,
            "inputs": 4,
            "images": 2,
            "look": 2,
            "attacks": [{"kind": "concept-inversion", "words": 2, "steps": 1, "batch": 1}],
            "attacked": [0.75],
        },
        "choose_strength": {"epsilon": 0.99, "confirm_at": 1, "delta": 1, "alpha_max": 1, "resolution": 0.5, "round": 4}
        | {"rounds": 1, "explore": 2, "attacks": [SMALL], "attacked": [1.0], "retain_images": 8}
        | {"frontier": [0, 1], "frontier_images": 2},
        "erase": {"alpha": None},
        "evaluate": {"images": 5, "images_each": 2, "retain_images": 16, "shown": 2, "defences": ["rounded-4"]}
        | {
            "attacks": {
                "attack": SMALL,
                "weaker": SMALL,
                "states": SMALL | {"space": "states"},
            }
        },
        "runtime": {"threads": 1},
    }


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect server for all tests that ask for it; it keeps everything in a folder of its own."""
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        PREFECT_LOCAL_STORAGE_PATH,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    # With a heartbeat each flow waits a second for the thread that sends it.
    changes = {
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_HOME: home,
        PREFECT_LOCAL_STORAGE_PATH: home / "storage",
    }
    with temporary_settings(changes), prefect_test_harness(server_startup_timeout=120):
        yield
