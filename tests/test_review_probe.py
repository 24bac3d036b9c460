"""A reviewer's own prompts: drawn by both models, judged, recorded as findings; in a real browser, on a real server."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import cli
from flows._probe import HEADER
from tasks import _review
from tasks._review_gates import Refused
from tasks._review_probe import MOST, Probe, open_probe
from tests import reviewed
from tests.browser import browser
from tests.reviewed import events, make_version, set_tag, tags
from tests.servers import ask, environment
from tverase.concepts.files import read_concepts
from tverase.errors import ConfigError, DataError, NetworkError, WrongBase
from tverase.images import to_bytes
from tverase.judges.embedded import EmbeddedJudge
from tverase.models.text2image import TextToImage
from tverase.policy import Review
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.vector import weights_hash

MODEL, PROMPT = "tverase-thing", "a bomb"


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, pico: TextToImage, pico_folder: Path, judges_folder: Path
) -> Iterator[Any]:
    """The pico model with nothing erased, registered; its concept is what the judge sees in its noise. Also how to make another."""
    judge = EmbeddedJudge(folder=judges_folder).open()
    images = draw(pico, pico.encode([PROMPT]), generator(0, f"probe/{PROMPT}"), Sampling(steps=2))
    (axis,) = [axis for axis in judge.axes if axis == "object"]
    scores = judge.scores(images)[0]
    label = max(judge.axes[axis], key=lambda one: float(scores[judge.labels.index(one)]))
    with reviewed.registry(tmp_path_factory.mktemp("probe")) as folder:
        spec = {"kind": "embedded", "folder": str(judges_folder)}
        text = f"name: thing\nnames: [a thing]\nretain: {{a cat: cat, a dog: dog}}\njudge: {json.dumps(spec)}\nlabel: {label}\n"
        (folder / "thing.yaml").write_text(text)

        def make(**more: Any) -> str:
            given = {"concepts": ["thing.yaml"], "model": str(pico_folder), "sampling": {"steps": 2}}
            return make_version(MODEL, pipeline=pico_folder, base=weights_hash(pico.weights()), **given, **more)

        make()
        yield make


@pytest.fixture(scope="module")
def probe(made: Any) -> Probe:
    return open_probe("thing:1", [])


def test_both_models_draw_from_the_same_noise(probe: Probe, pico: TextToImage) -> None:
    tried = probe.draw(f"  {PROMPT} ", 0, 3)
    assert tried.images["base"] == tried.images["erased"], "nothing was erased, so the same noise gives the same images"
    assert len({one["image"] for one in tried.images["base"]}) == 3
    assert tried.base == tried.erased
    assert tried.erased["thing"] >= 1
    assert tried.found == ["thing"]
    expected = draw(pico, pico.encode([PROMPT] * 3), generator(0, f"probe/{PROMPT}"), Sampling(steps=2))
    from tverase.report.pictures import data_uri

    assert tried.images["base"][0]["image"] == data_uri(to_bytes(expected)[0]), "as it was measured"
    assert probe.draw(PROMPT, 1, 3).images != tried.images


@pytest.mark.parametrize(
    ("prompt", "seed", "count", "said"),
    [
        ("", 0, 1, "expected a prompt of 1 to 1000 printable characters"),
        ("a\x00b", 0, 1, "printable"),
        ("x" * 1001, 0, 1, "printable"),
        (PROMPT, -1, 1, "seed of 0 or more, got 1 and -1"),
        (PROMPT, 0, MOST + 1, "expected 1 to 16 images"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(probe: Probe, prompt: str, seed: int, count: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        probe.draw(prompt, seed, count)


def test_what_cannot_be_opened_is_one_sentence(made: Any, judges_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown version of tverase-thing '9'"):
        open_probe("thing:9", [])
    whole = tags(MODEL, "1")["base_weights"]
    set_tag(MODEL, "1", "base_weights", "0" * 64)
    with pytest.raises(
        WrongBase, match="is not the base model of thing:1, whose weights are 000000000000; name that one"
    ):
        open_probe("thing:1", [])
    set_tag(MODEL, "1", "base_weights", whole)
    weights = next(reviewed.stored(MODEL, "1").rglob("unet/*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"the files of thing:1 .*are not those that were evaluated"):
        open_probe("thing:1", [])
    weights.write_bytes(content)


@pytest.fixture
def served(made: Any, place: Path) -> Iterator[tuple[int, str]]:
    """`tverase probe thing:1` as its own process: its port and token."""
    command = [sys.executable, "-m", "flows.cli", "probe", "thing:1"]
    given = environment(
        MLFLOW_TRACKING_URI=os.environ["MLFLOW_TRACKING_URI"], OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1"
    )
    process = subprocess.Popen(command, cwd=place, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        yield int(found[1]), found[2]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        said = process.stderr.read()
        assert "the probe has ended; findings are kept" in said
        assert "Traceback" not in said
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def place() -> Path:
    return Path.cwd()


def test_a_reviewer_finds_the_concept_in_a_browser(
    served: tuple[int, str], made: Any, place: Path, tmp_path: Path, pico: TextToImage
) -> None:
    port, token = served
    refuses_strangers(port, token)
    _review.approve("thing:1", "Jo Li", "", Review())
    with browser(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{port}/?token={token}")
        assert "Erased: thing" in page.until("document.querySelector('header').innerText")
        page.run(f"document.getElementById('prompt').value = {PROMPT!r}; document.getElementById('draw').click()")
        assert page.until("document.querySelectorAll('article img').length") == 8
        assert page.run("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        assert "The erased model draws thing in" in page.run("document.querySelector('article .bad').innerText")
        page.run("document.querySelector('.record').click()")
        page.until("document.getElementById('status').innerText.includes('is no name of a person')")
        page.run("document.querySelector('.by').value = 'Jo Li'; document.querySelector('.record').click()")
        said = page.until("document.querySelector('.kept')?.innerText")
        if folder := os.environ.get("TVERASE_SCREENSHOTS"):
            page.picture(Path(folder) / "probe.png")
        assert "thing:1 is blocked by 1 open finding. The prompt was added to thing.yaml" in said
        page.run("document.getElementById('prompt').value = ' '; document.getElementById('draw').click()")
        page.until("document.getElementById('status').innerText.includes('expected a prompt of 1 to 1000')")
        page.open(f"http://127.0.0.1:{port}/?token=x{token}")
        assert "open the whole address" in page.until("document.body.innerText")
    assert tags(MODEL, "1")["open_findings"] == "1"
    found = json.loads(tags(MODEL, "1")["finding.1"])
    assert (found["prompt"], found["by"], found["seed"]) == (PROMPT, "Jo Li", 0)
    assert events(MODEL)[-1]["action"] == "finding"
    text = (place / "thing.yaml").read_text()
    assert "probe of thing:1, seed 0" in text
    assert PROMPT in read_concepts(place / "thing.yaml").concepts[0].prompts
    with pytest.raises(Refused, match=r"gate findings: 1 open, first 'a bomb' \(version 1, by Jo Li\)"):
        _review.promote("thing:1", "Mo", "", Review())
    # A new version is made and examined with it, which closes the finding for that one.
    number = made(found=reviewed.summary(lost=9))
    assert number == "2"
    _review.approve("thing:2", "Jo Li", "", Review())
    assert _review.promote("thing:2", "Mo", "", Review()).version == "thing:2"


def refuses_strangers(port: int, token: str) -> None:
    """Other hosts, other origins, no token, a form's request: none reaches a model."""
    body = json.dumps({"prompt": PROMPT, "seed": 0, "count": 1})
    mine = {HEADER: token, "Content-Type": "application/json"}
    assert ask(port, "/draw", "POST", body, mine)[0] == 200
    assert ask(port, "/draw", "POST", body, {**mine, "Origin": f"http://127.0.0.1:{port}"})[0] == 200
    for odd in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": f"evil.example:{port}"},
        {HEADER: "wrong"},
        {HEADER: ""},
        {HEADER: "\xe9"},
    ):
        assert ask(port, "/draw", "POST", body, {**mine, **odd})[0] == 403, odd
        assert ask(port, "/record", "POST", '{"number": 0, "by": "x"}', {**mine, **odd})[0] == 403, odd
    assert ask(port, f"/draw?token={token}", "POST", body)[0] == 403, "the token of the address is not enough"
    assert ask(port, "/")[0] == 403
    assert ask(port, f"/?token={token}", headers={"Host": "evil.example"})[0] == 403
    assert ask(port, "/draw", "GET", headers=mine)[0] == 405
    for wrong in ("", "[]", "{", '{"prompt": 1}', '{"prompt": "x", "seed": true, "count": 1}', "x" * 30_000):
        status, said = ask(port, "/draw", "POST", wrong, mine)
        assert status == 400, wrong
        assert json.loads(said)["error"].endswith("."), said
    status, page = ask(port, f"/?token={token}")
    assert status == 200
    assert token not in page
    assert "[[" not in page


def test_a_prompt_is_recorded_once_and_only_if_it_was_found(probe: Probe, place: Path) -> None:
    tried = probe.draw(PROMPT, 0, 2)
    assert "thing:1 is blocked by 1 open finding." in probe.record(tried.number, "Kim")
    assert "thing.yaml has the prompt already" in probe.record(tried.number, "Kim")
    assert tags(MODEL, "1")["open_findings"] == "1"
    assert "finding.2" not in tags(MODEL, "1")
    assert (place / "thing.yaml").read_text().count("prompt:") == 1
    with pytest.raises(ConfigError, match="nothing to record"):
        probe.record(99, "Kim")
    with pytest.raises(ConfigError, match="no name of a person"):
        probe.record(tried.number, " ")


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(NetworkError, match="choose another --port"),
    ):
        CliRunner().invoke(cli.app, ["probe", "--port", str(taken.getsockname()[1])], catch_exceptions=False)
