"""The form of a deployed run: few fields, each described, that refuse what is impossible before a run exists."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows._form import KEYS, params_of
from flows.erase import erase_concept
from tverase.config import Params

FIELDS = erase_concept.parameters.model_dump_for_openapi()["properties"]


def test_it_is_short_and_every_field_says_what_it_is() -> None:
    assert 10 <= len(FIELDS) <= 16
    assert "name" not in FIELDS
    for name, field in FIELDS.items():
        assert len(field["description"]) > 20, name
        assert "default" in field, "nothing has to be filled in"


def test_what_has_choices_offers_them() -> None:
    def choices(name: str) -> list[str]:
        found = [*FIELDS[name].get("anyOf", ()), FIELDS[name].get("items", {})]
        return [choice for one in found for choice in one.get("enum", ())]

    assert choices("recipe") == ["robust", "paper"]
    assert choices("effort") == ["quick", "standard", "thorough"]
    assert choices("start") == choices("force")
    assert {"make_images", "evaluate"} <= set(choices("start"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any]) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(small_run))
    return tmp_path


@pytest.mark.usefixtures("place")
def test_a_field_that_is_left_empty_is_as_in_the_file() -> None:
    assert params_of({name: field["default"] for name, field in FIELDS.items()}) == Params.load(Path("params.yaml"))


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("field", "value", "key", "expected"),
    [
        ("concepts", ["slot machine"], "name", "slot-machine"),
        ("concepts", ["skull", "noto"], "name", "skull+noto"),
        ("model", "models/digits", "model", "models/digits"),
        ("recipe", "paper", "recipe", "paper"),
        ("effort", "quick", "effort", "quick"),
        ("judge", '{"kind": "embedded"}', "judge", {"kind": "embedded"}),
        ("seed", 3, "seed", 3),
        ("epsilon", 0.98, KEYS["epsilon"], 0.98),
        ("delta", 0.9, KEYS["delta"], 0.9),
        ("alpha", 1.5, "erase.alpha", 1.5),
        ("device", "cuda:1", "runtime.device", "cuda:1"),
        ("overrides", ["finetune.steps=7"], "finetune.steps", 7),
    ],
)
def test_a_field_that_is_filled_in_changes_its_parameter(field: str, value: Any, key: str, expected: Any) -> None:
    assert params_of({field: value}).section(key) == expected


@pytest.mark.usefixtures("place")
def test_another_file_and_an_override_after_the_fields() -> None:
    Path("other.yaml").write_text("seed: 5\n")
    assert params_of({"params_file": "other.yaml"}).seed == 5
    assert params_of({"params_file": "other.yaml", "seed": 6, "overrides": ["seed=7"]}).seed == 7


BAD = [
    {"concepts": []},
    {"concepts": "skull"},
    {"recipe": "strong"},
    {"effort": "much"},
    {"seed": "x"},
    {"epsilon": 1.5},
    {"delta": -1},
    {"alpha": -0.5},
    {"device": "gpu"},
    {"overrides": ["finetune.steps"]},
    {"start": "repaint"},
    {"force": ["repaint"]},
    {"strict": "yes"},
]


def test_the_server_refuses_impossible_values_and_makes_no_run(prefect_server: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    with get_client(sync_client=True) as client:
        made = client.create_deployment(
            client.create_flow(erase_concept),
            "on-demand",
            parameter_openapi_schema=erase_concept.parameters.model_dump_for_openapi(),
            enforce_parameter_schema=True,
        )
        for parameters in BAD:
            with pytest.raises(PrefectHTTPStatusError, match="409"):
                client.create_flow_run_from_deployment(made, parameters=parameters)
        good = client.create_flow_run_from_deployment(
            made, parameters={"concepts": ["skull"], "effort": "quick", "epsilon": 0.2, "seed": None}
        )
        runs = client.read_flow_runs()
        assert [run.id for run in runs if run.deployment_id == made] == [good.id]
