"""The record: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.petct_lesion.training.report.record import Record, RecordError, check, read_record, write_record
from tests.models.petct_lesion.training.report.invented import body, metrics, patient, record

Change = Callable[[Record], Record]


def with_patient(**changes: Any) -> Change:
    return lambda found: replace(found, patients=(replace(found.patients[0], **changes), *found.patients[1:]))


def with_whole_body(**changes: Any) -> Change:
    def change(found: Record) -> Record:
        assert found.whole_body is not None
        return replace(found, whole_body=replace(found.whole_body, **changes))

    return change


def test_what_is_written_is_read_and_the_same_bytes_come_again(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "record.json", tmp_path / "b.json"
    write_record(record(), first)
    assert read_record(first) == record()
    write_record(read_record(first), second)
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["record.json"]


def test_only_patients_are_needed(tmp_path: Path) -> None:
    found = Record("2026-01-31", (patient(0),), None, (), (), {})
    write_record(found, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: replace(found, patients=()), "no patients"),
        (lambda found: replace(found, patients=(patient(0), patient(0))), "twice"),
        (lambda found: replace(found, date="yesterday"), "date"),
        (with_patient(name="../STS 1"), "no pseudonym"),
        (with_patient(suv_max=float("nan")), "suv_max is nan"),
        (with_patient(suv_max=float("inf")), "suv_max is inf"),
        (with_patient(suv_mean=13.0), "SUVmean above SUVmax"),
        (with_patient(spacing_mm=(3.0, 0.0, 4.0)), "not positive"),
        (with_patient(predicted_dice=1.1), "predicted Dice"),
        (with_patient(methods={"network": metrics(0.9, 100.0, 100.0)}), "no threshold"),
        (with_patient(methods={"suv_2.0": metrics(0.9, 100.0, 100.0)}), "no network"),
        (with_patient(tumour_ml=101.0), "another reference"),
        (with_patient(methods=patient(0).methods | {"suv_9": metrics(0.9, 100.0, 1.0)}), "unknown"),
        (with_patient(methods=patient(0).methods | {"network": metrics(None, 100.0, 1.0)}), "Dice None"),
        (with_patient(methods=patient(0).methods | {"network": metrics(1.2, 100.0, 1.0)}), "Dice 1.2"),
        (lambda found: replace(found, patients=(*found.patients, _fewer_methods())), "other methods"),
        (with_whole_body(patient="INVENTED_999"), "of no patient"),
        (with_whole_body(seconds=0.0), "not positive"),
        (with_whole_body(false_positive_ml_elsewhere=-1.0), "below 0"),
        (lambda found: replace(found, simulated=(body(1, "fdg", (1, 0, 0), 0.0),) * 2), "twice"),
        (lambda found: replace(found, simulated=(body(1, "choline", (1, 0, 0), 0.0),)), "choline"),
        (lambda found: replace(found, simulated=(body(1, "fdg", (1, 0, 0), -0.1),)), "below 0"),
        (lambda found: replace(found, simulated=(*found.simulated, _smaller_lesions())), "smallest lesions"),
        (lambda found: replace(found, reliability=(replace(found.reliability[0], voxels=0),)), "no such bin"),
        (lambda found: replace(found, reliability=(replace(found.reliability[0], low=0.7),)), "no such bin"),
        (lambda found: replace(found, reliability=(replace(found.reliability[0], observed=1.5),)), "0 and 1"),
        (lambda found: replace(found, timings=(replace(found.timings[0], seconds=-1.0),)), "timing"),
    ],
)
def test_refuses_what_contradicts_itself(change: Change, said: str, tmp_path: Path) -> None:
    wrong = change(record())
    with pytest.raises(RecordError, match=said):
        check(wrong)
    with pytest.raises(RecordError, match=said):
        write_record(wrong, tmp_path / "record.json")
    assert not (tmp_path / "record.json").exists()


def _fewer_methods() -> Any:
    one = replace(patient(0), name="INVENTED_100")
    return replace(one, methods={name: one.methods[name] for name in ("network", "suv_2.0")})


def _smaller_lesions() -> Any:
    return replace(body(9, "fdg", (1, 0, 0), 0.0), metrics=metrics(0.7, 1.0, 1.0))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content["patients"][0].pop("fold"),
        lambda content: content["patients"][0].update(birth_date="1950"),
        lambda content: content["patients"][0].update(fold="1"),
        lambda content: content["patients"][0].update(suv_max=float("nan")),
        lambda content: content["patients"][0].update(spacing_mm=[3.0, 4.0]),
        lambda content: content["patients"][0]["methods"]["network"].pop("dice"),
        lambda content: content["patients"][0]["methods"]["network"].update(mtv_ml=float("inf")),
        lambda content: content.update(patients=[]),
        lambda content: content.update(extra=1),
    ],
)
def test_refuses_a_file_that_is_no_record(spoil: Callable[[Any], object], tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(record(), path)
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError):
        read_record(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"date": 1e999}'])
def test_refuses_what_is_no_json_of_a_record(text: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"record\.json"):
        read_record(path)
