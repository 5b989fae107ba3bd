"""The shipped protocols, and what a site's own are refused for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import app.protocols
from app.protocols import load_protocols
from operators.errors import ProtocolRefusal
from operators.segmentation.engine import METHODS
from operators.segmentation.package.terms import anatomy_of
from operators.segmentation.physiological.rules import RULES

SHIPPED = Path(app.protocols.__file__).parent
MODELS = SHIPPED.parent.parent / "models"
FIXED = {"name": "fixed_suv", "parameters": {"threshold": 4.0}, "source": "x"}


def test_shipped_protocols() -> None:
    protocols = load_protocols()
    assert list(protocols) == ["fapi", "fdg", "psma", "sstr"]
    assert protocols["fdg"].method.name == "network"
    assert protocols["fdg"].otherwise.name == "fixed_suv"
    assert protocols["fdg"].otherwise.parameters == {"threshold": 4.0, "min_volume_ml": 3.0}
    assert "Boellaard" in protocols["fdg"].otherwise.source
    assert protocols["psma"].method.parameters["strict"] == 1.0
    for name in ("fapi", "psma", "sstr"):
        assert protocols[name].method.name in {"fixed_suv", "percent_suvmax"}
        assert protocols[name].otherwise is None
    assert protocols["fdg"].uptake_time_min.holds(60)
    assert not protocols["fdg"].uptake_time_min.holds(90)
    assert not protocols["fdg"].glucose_mmol_l.holds(11.5)
    assert len({protocol.digest for protocol in protocols.values()}) == 4


def test_methods_and_what_stands_in_for_them_take_their_parameters() -> None:
    for protocol in load_protocols().values():
        for method in (protocol.method, protocol.otherwise):
            if method is not None:
                assert METHODS[method.name].check(method.parameters)
                assert method.source


def test_each_tracer_names_the_organs_whose_uptake_is_physiological() -> None:
    organs = {
        name: {organ.name for organ in protocol.physiological} for name, protocol in load_protocols().items()
    }
    assert organs["fdg"] == {"brain", "heart", "kidneys", "urinary bladder", "ureters", "bowel"}
    assert organs["fapi"] == {"kidneys", "urinary bladder", "ureters"}
    assert {"liver", "spleen", "adrenal glands", "pituitary"} < organs["sstr"]
    assert {"parotid glands", "submandibular glands", "lacrimal glands", "small bowel"} < organs["psma"]
    assert "bowel" in load_protocols()["fdg"].physiological_source


def test_every_label_that_organs_are_known_by_is_a_known_place() -> None:
    names = {
        name
        for protocol in load_protocols().values()
        for organ in protocol.physiological
        for part in organ.labels
        for name in part.split("|")
    }
    shipped = json.loads((MODELS / "petct_lesion" / "model.json").read_text())["labels"]
    groups = {label["name"] for label in shipped if label["physiological"]}
    # what no organ package outlines yet has no code either; groups of organs have none as a matter of course
    unknown = {name for name in names - groups if anatomy_of(name).code is None}
    assert unknown == {"ureters", "bowel_physiological_uptake"}


def test_the_shipped_lesion_package_accounts_for_every_organ() -> None:
    shipped = json.loads((MODELS / "petct_lesion" / "model.json").read_text())["labels"]
    groups = {label["name"] for label in shipped if label["physiological"]}
    for protocol in load_protocols().values():
        for organ in protocol.physiological:
            assert groups & {name for part in organ.labels for name in part.split("|")}, organ.name


def test_rules_know_every_organ() -> None:
    organs = {organ.name for protocol in load_protocols().values() for organ in protocol.physiological}
    assert organs <= set(RULES)


def test_a_protocol_may_name_no_organs(tmp_path: Path) -> None:
    content = yaml.safe_load((SHIPPED / "fdg.yaml").read_text())
    del content["physiological"], content["physiological_source"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert load_protocols(tmp_path)["fdg"].physiological == ()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"titel": "x"}, "titel"),
        ({"tracer_texts": ["("]}, "tracer_texts"),
        ({"radionuclides": ["18F"]}, "radionuclides.0"),
        ({"uptake_time_min": {"low": 90, "high": 60, "source": "x"}}, "uptake_time_min"),
        ({"physiological": [{"name": "brain", "labels": []}]}, "physiological.0.labels"),
        ({"physiological": [{"name": "brain", "labels": ["brain|"]}]}, "physiological.0.labels.0"),
        ({"physiological": [{"name": "brain", "labels": ["brain"], "margin_mm": -1}]}, "margin_mm"),
        ({"physiological": [{"name": "brain", "labels": ["brain"]}] * 2}, "twice"),
        ({"physiological_source": ""}, "physiological_source"),
        ({"method": {"name": "fixed_suv", "parameters": {"threshold": "4"}, "source": "x"}}, "threshold"),
        ({"method": {"name": "fixed_suv", "source": "x", "otherwise": FIXED}}, "method"),
        ({"method": {"name": "network", "source": "x", "otherwise": FIXED | {"name": "network"}}}, "again"),
        ({"method": {"name": "network", "source": "x", "otherwise": {"name": "fixed_suv"}}}, "source"),
        (
            {"method": {"name": "network", "source": "x", "otherwise": FIXED | {"otherwise": FIXED}}},
            "otherwise",
        ),
    ],
)
def test_invalid_protocol_names_file_and_key(tmp_path: Path, change: dict[str, object], key: str) -> None:
    content = yaml.safe_load((SHIPPED / "fdg.yaml").read_text()) | change
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ProtocolRefusal) as caught:
        load_protocols(tmp_path)
    assert caught.value.code == "PROTOCOL_INVALID"
    assert "mine.yaml" in caught.value.sentence
    assert key in caught.value.sentence


def test_yaml_that_builds_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ProtocolRefusal, match="PROTOCOL_INVALID"):
        load_protocols(tmp_path)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolRefusal, match="NO_PROTOCOLS"):
        load_protocols(tmp_path)
