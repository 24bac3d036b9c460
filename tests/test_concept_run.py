"""A whole job on a concept file of a person's own, from pictures to report, where no label is known of what must stay."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tasks import report
from tasks._all import chosen
from tverase.config import Params
from tverase.files import read_json

FILE = """\
name: Käthe's star
noun: bomb
names: [a bomb, a red bomb]
compositions: [a small bomb, a large bomb]
images: own
retain: [a dog, a cat, an owl, a frog]
label: bomb
grown: [{prompt: a boom}, {prompt: an explosion}, {prompt: a big bomb}, {prompt: boom}]
"""


def test_a_file_is_all_that_a_job_needs(
    tmp_path: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    for name in ("red", "green"):
        Image.new("RGB", (20, 10), name).save(f"own/{name}.png")
    Path("star.yaml").write_text(f"{FILE}judge: {json.dumps(small_run['judge'])}\n", encoding="utf-8")
    params = Params.parse({**small_run, "judge": None, "concepts": ["star.yaml"]})
    for step in chosen(params):
        step.execute(params)
    assert params.out == Path("outputs/kathe-s-star")
    found = read_json(params.out / "evaluation" / "evaluation.json")
    assert "grown" in {row["kind"] for row in found["rows"]}
    assert found["retain"]["how"] == "agreement"
    assert found["judge"]["name"] == "object-cnn/0 + style-cnn/0"
    assert "agreement, not recognition" in report.write(params).read_text(encoding="utf-8")
