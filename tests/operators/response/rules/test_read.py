"""Rule files at the door."""

from __future__ import annotations

import copy
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from operators.response.rules import RuleRefusal, load_rules
from operators.response.rules.read import read_rule

SHIPPED = Path(str(files("operators.response.rules"))) / "data"
RECIP = yaml.safe_load((SHIPPED / "recip.yaml").read_text(encoding="utf-8"))


def changed(pointer: str, value: object) -> dict:
    """RECIP with the value at a JSON pointer replaced; None: taken away."""
    content = copy.deepcopy(RECIP)
    *way, last = [int(part) if part.isdigit() else part for part in pointer.split("/")[1:]]
    place = content
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


def written(folder: Path, content: object, name: str = "recip.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


UNUSED = {"value": 1, "unit": "1", "meaning": "none"}
NEW = {"fact": "new_lesions", "at_least": "one"}


@pytest.mark.parametrize(
    ("content", "place", "fault"),
    [
        (changed("/name", "Recip 1"), "/name", "does not match"),
        (changed("/version", 1), "/version", "is not of type"),
        (changed("/citation", None), "the whole file", "'citation' is a required property"),
        (changed("/verified", "yes"), "/verified", "is not of type"),
        (changed("/tracers", []), "/tracers", "non-empty"),
        (changed("/surprise", 1), "the whole file", "Additional properties"),
        (changed("/kind", "prognosis"), "/kind", "is not one of"),
        (changed("/thresholds/fall/value", "-30"), "/thresholds/fall/value", "is not of type"),
        (changed("/thresholds/fall/value", 1e7), "/thresholds/fall/value", "greater than the maximum"),
        (changed("/thresholds/unused", UNUSED), "/thresholds/unused", "no condition uses it"),
        (changed("/facts/1/name", "volume_chnge"), "/facts/1", "does not compute volume_chnge"),
        (changed("/facts/1/unit", "ml"), "/facts/1", "has the unit %, not ml"),
        (changed("/facts/1/name", "lesion_suv_max"), "/facts/1", "has the unit g/ml{SUVbw}"),
        (
            changed("/facts/1", {"name": "lesion_suv_max", "unit": "g/ml{SUVbw}", "meaning": "m"}),
            "/facts/1",
            "is of a lesion, and the rule is of the study",
        ),
        (changed("/facts/1", RECIP["facts"][2]), "/facts/2", "given twice"),
        (changed("/kind", "score"), "/facts/1", "the rule's kind must be response"),
        (changed("/table/0/when/at_most", "nothing"), "/table/0/when", "neither a threshold nor a fact"),
        (changed("/table/0/when/at_most", "fall"), "/table/0/when", "lesion_count is in 1, fall in %"),
        (changed("/table/0/when/fact", "stage"), "/table/0/when", "not among the rule's facts"),
        (changed("/table/0/when", {"fact": "lesion_count", "is": True}), "/table/0/when", "is a number"),
        (changed("/table/0/when", {"fact": "lesion_count"}), "/table/0/when", "is not valid under any"),
        (changed("/table/0/when", {**NEW, "at_most": "one"}), "/table/0/when", "is valid under each of"),
        (changed("/table/0/when", {"all": [NEW], "any": [dict(NEW)]}), "/table/0/when", "too many"),
        (changed("/table/0/when", {**NEW, "times": "fell"}), "/table/0/when", "fell is not a threshold"),
        (changed("/table/0/when", {**NEW, "times": "fall"}), "/table/0/when", "fall multiplies"),
        (changed("/table/0/when", {"not": {"at_least": "one"}}), "/table/0/when/not", "is a dependency of"),
        (changed("/table/0/when", {"all": [{"fact": "x", "is": True}]}), "/table/0/when/all/0", "not among"),
        (changed("/table/0/when", None), "/table/0", "no row after it is ever reached"),
        (changed("/table/3/when", NEW), "/table/3", "the last row must have no condition"),
        (changed("/table/2/category", "PD"), "/table/2/meaning", "another meaning"),
        (changed("/comparability", {"uptake_time_min": -1}), "/comparability/uptake_time_min", "less than"),
        (changed("/comparability", {"same_scanner": False}), "/comparability/same_scanner", "was expected"),
        ("name: [", "the whole file", "cannot be read as YAML"),
        ("name: a\nname: b\n", "the whole file", "a key occurs twice"),
        ("a: &a [1]\nb: *a\n", "the whole file", "aliases"),
        ("a: .nan\n", "the whole file", "not finite"),
        ("a: 2024-01-01\n", "the whole file", "put it in quotes"),
        ("1: a\n", "the whole file", "not text"),
        ("a: !!python/name:os.system x\n", "the whole file", "cannot be read"),
        ("[" * 5000, "the whole file", "cannot be read"),
        ("a: " + "[" * 20 + "]" * 20, "the whole file", "deeper"),
        ("#" * 300_000, "the whole file", "longer than"),
        ("- 1\n", "the whole file", "is not of type 'object'"),
        ("", "the whole file", "is not of type 'object'"),
    ],
)  # fmt: skip
def test_refuses_with_file_and_place(tmp_path: Path, content, place: str, fault: str) -> None:
    with pytest.raises(RuleRefusal) as caught:
        read_rule(written(tmp_path, content))
    assert caught.value.code == "RULE_INVALID"
    assert f"The rule file recip.yaml is not valid at {place}: " in caught.value.sentence
    assert fault in caught.value.sentence


def test_no_conditions_on_the_comparability_of_a_single_study(tmp_path: Path) -> None:
    content = yaml.safe_load((SHIPPED / "prrt.yaml").read_text(encoding="utf-8"))
    with pytest.raises(RuleRefusal, match="only a rule of kind response"):
        read_rule(written(tmp_path, {**content, "comparability": {"same_scanner": True}}))


def test_a_site_changes_a_threshold_in_its_own_folder(tmp_path: Path) -> None:
    written(tmp_path, changed("/thresholds/fall/value", -50))
    (rule,) = load_rules(tmp_path)
    shipped = next(each for each in load_rules() if each.name == "recip")
    assert (rule.thresholds["fall"].value, shipped.thresholds["fall"].value) == (-50.0, -30.0)
    assert rule.digest != shipped.digest
    assert len(shipped.digest) == 64


def test_two_files_of_one_name_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleRefusal, match=r"holds 0 \.yaml files"):
        load_rules(tmp_path)
    written(tmp_path, RECIP)
    written(tmp_path, RECIP, "other.yaml")
    with pytest.raises(RuleRefusal, match="another file's rule"):
        load_rules(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleRefusal, match="cannot be read"):
        read_rule(tmp_path / "none.yaml")
