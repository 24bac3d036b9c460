"""The step `erase`: what it leaves behind for one strength."""

from pathlib import Path

import pytest
import yaml

from tasks import erase
from tasks._job import Job
from tverase.config import Params
from tverase.files import sha256, write_json
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.vector import TaskVector, weights_hash

ROOT = Path(__file__).parents[1]


def test_the_erased_folder_has_a_card_and_says_what_was_left_out(
    pico_folder: Path, pico: TextToImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    source = tmp_path / "source"
    source.symlink_to(pico_folder)  # the model itself may be given by a link
    TaskVector.between(pico.weights(), {key: w + 0.01 for key, w in pico.weights().items()}).save(tmp_path / "vector")
    write_json(tmp_path / "strength.json", {"alpha": 0.5, "smallest": 1.0, "reason": ""})
    params = Params.load(Path("params.yaml")).model_copy(update={"model": str(source)})
    inputs = {"vector": tmp_path / "vector", "strength": tmp_path / "strength.json"}
    outputs = {"erased": tmp_path / "erased", "tau": tmp_path / "tau.safetensors"}
    said: list[Progress] = []
    erase.run(Job(params, inputs, outputs, tmp_path, said.append))
    card = (tmp_path / "erased" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "diffusers"
    for fact in ("| alpha | 0.5 |", weights_hash(pico.weights()), sha256(tmp_path / "tau.safetensors"), "`bomb`"):
        assert fact in card
    assert said
    key, weight = max(pico.weights().items())
    change = open_model(tmp_path / "erased").weights()[key] - weight
    assert change.mean() == pytest.approx(-0.005, abs=1e-3)
