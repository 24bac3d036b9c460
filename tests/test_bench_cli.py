"""The commands: help that teaches, unknown names, any model folder, findings that others can load, and our report of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bench_place import INVERT, SMALL, bench_place, enter
from typer.testing import CliRunner

from flows import cli
from flows._bench_plan import Options, table
from tverase.bench.eval_unlearn import Erased
from tverase.bench.export import PROMPTS
from tverase.bench.outcome import Partial
from tverase.config import Params
from tverase.errors import ConfigError, ModelError, NotProved

FEW = ["--images", "2", "--set", "make_images.images=3"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pico_folder: Path) -> Iterator[Path]:
    folder = bench_place(tmp_path_factory.mktemp("cli"), pico_folder)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        yield folder


def call(*arguments: str) -> tuple[Any, dict[str, Any]]:
    """`tverase ...`: the exception that it left with, and the JSON that it said."""
    answer = CliRunner().invoke(cli.app, [*arguments])
    last = answer.stdout.strip().splitlines()[-1] if answer.stdout.strip() else "{}"
    return answer.exception, json.loads(last) if last.startswith("{") else {}


@pytest.mark.parametrize("command", ["bench", "ladder", "attack", "examine"])
def test_help_teaches(command: str) -> None:
    answer = CliRunner().invoke(cli.app, [command, "--help"])
    assert answer.exit_code == 0
    assert f"Example: tverase {command}" in answer.stdout
    assert "--concept" in answer.stdout
    assert "xit code" in answer.stdout or command == "attack"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "--eraser", "esdd"], "unknown eraser 'esdd'; did you mean 'esd'"),
        (["bench", "--attack", "prompt"], "unknown attack 'prompt'; did you mean 'prompts'"),
        (["bench", "--runner", "rai"], "unknown runner 'rai'; did you mean 'ray'"),
        (["bench", "--row", "nowhere"], "nowhere"),
        (["ladder", "nowhere"], "nowhere"),
        (["attack", "no-such", "leaky"], "unknown attack 'no-such'"),
        (["examine", "leaky", "nowhere"], "nowhere"),
        (["ladder", "leaky", "--concept", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_anything_starts(arguments: list[str], said: str) -> None:
    error, _ = call(*arguments)
    assert isinstance(error, ConfigError | ModelError), error
    assert said in str(error)
    assert len(str(error).splitlines()) == 1
    assert not Path("outputs").exists()


@pytest.mark.usefixtures("place")
def test_one_attack_on_any_folder_and_its_findings_for_other_tools() -> None:
    from diffusers import StableDiffusionPipeline

    error, said = call("attack", json.dumps(SMALL), "blank", *FEW, "--json")
    assert error is None, error
    assert said["cells"] == {"done": 2, "failed": 0, "refused": 0}
    embeddings = [Path(path) for path in said["exported"] if path.endswith(".safetensors")]
    assert len(embeddings) == 2
    pipe = StableDiffusionPipeline.from_pretrained("blank", local_files_only=True, safety_checker=None)
    before = len(pipe.tokenizer)
    pipe.load_textual_inversion(str(embeddings[0]))
    assert len(pipe.tokenizer) == before + 1
    token = pipe.tokenizer.convert_tokens_to_ids("<bomb-attack>")
    from safetensors.torch import load_file

    mine = load_file(embeddings[0])["<bomb-attack>"]
    assert torch.allclose(pipe.text_encoder.get_input_embeddings().weight[token].float(), mine, atol=1e-3)
    image = pipe("a <bomb-attack>", num_inference_steps=1, output_type="pt", height=8, width=8).images
    assert image.isfinite().all()


@pytest.mark.usefixtures("place")
def test_a_ladder_of_any_folder_says_what_failed() -> None:
    arguments = ["ladder", "blank", "--attack", "prompts", "--attack", "crash", *FEW, "--out", "climbed", "--json"]
    error, said = call(*arguments)
    assert isinstance(error, Partial)
    assert error.exit_code == 12
    assert "2 cells failed, and the others are there" in str(error)
    assert said["cells"] == {"done": 2, "failed": 2, "refused": 0}
    assert said["ahead"].startswith("blank: recovered in 0.0% of images at worst")
    assert "out of luck" in Path(said["page"]).read_text()
    error, again = call(*arguments)
    assert again["parts"] == {"run": 2, "reused": said["parts"]["run"] - 2}, "what failed is tried again"


@pytest.mark.usefixtures("place")
def test_prompts_are_exported() -> None:
    error, said = call("attack", "prompts", "leaky", *FEW, "--out", "asked", "--json")
    assert error is None, error
    lines = Path(next(path for path in said["exported"] if path.endswith(PROMPTS))).read_text().splitlines()
    assert lines[0] == "row,attack,concept,seed,prompt,hits,images"
    assert "leaky,prompts,bomb,0,a bomb,2,2" in lines


@pytest.mark.usefixtures("place")
def test_somebody_elses_model_gets_our_report(judges_folder: Path, pico_folder: Path) -> None:
    few = {"images": 2, "images_each": 2, "retain_images": 4, "shown": 2, "attacks": {"attack": None, "weaker": None}}
    judge = {"kind": "embedded", "folder": str(judges_folder)}
    Path("own.yaml").write_text(
        yaml.safe_dump({"judge": judge, "sampling": {"steps": 1}, "invert": INVERT, "evaluate": few}
                       | {"make_images": {"images": 3, "at_least": 0}})
    )  # fmt: skip
    error, said = call(
        "examine",
        str(pico_folder),
        str(pico_folder),
        "--concept",
        "bomb",
        "--params",
        "own.yaml",
        "--out",
        "seen",
        "--json",
    )
    assert isinstance(error, NotProved)
    assert said["outcome"] == "untested", "random weights draw no bomb"
    assert Path("seen/report.html").read_text().count("<img") > 5
    for name in ("metrics.json", "verdict.json", "tables/recovery.csv"):
        assert (Path("seen") / name).exists()


@pytest.mark.usefixtures("place")
def test_a_table_has_the_rows_that_are_there() -> None:
    params = Params.load(Path("params.yaml"))
    found = table(params, Options(quick=True, never_taught="blank", erasers=["esd"], folders=["leaky"]))
    assert [row.name for row in found.rows] == ["base", "never taught", "ours", "ours (paper)", "leaky", "esd"]
    assert [row.name for row in found.rows_of(found.cases[0])] == [
        "base",
        "never taught",
        "ours (paper)",
        "leaky",
        "esd",
    ]
    whole = table(params, Options(erasers=["esd"]))
    assert [row.name for row in whole.rows] == ["base", "ours (robust)", "ours (paper)", "esd"]
    assert len(found.cases[0].judges) == 2, "the members of the concept's panel"
    with pytest.raises(ConfigError, match="two rows of the table have the same name"):
        table(params, Options(erasers=["esd"], folders=["leaky", "leaky"]))


@pytest.mark.usefixtures("place")
def test_the_technique_of_eval_unlearn(pico_folder: Path) -> None:
    technique = Erased(model=str(pico_folder), erase_concept="bomb", steps=1)
    images = technique.generate(prompts=["a bomb", "a cat"], seed=3)
    assert [image.size for image in images] == [(8, 8), (8, 8)]
    again = technique.generate(["a cat"], seed=4)
    assert again[0].tobytes() == images[1].tobytes(), "image i is drawn from seed + i"
    with pytest.raises(ConfigError, match=r"technique_config: .*unknown field 'modle'; did you mean 'model'"):
        Erased(modle="x")
