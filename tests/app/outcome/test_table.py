"""Tables at the door: what cannot be fitted to is refused with its place."""

from __future__ import annotations

import numpy as np
import pytest

from app.outcome.describe import Column, read_description
from app.outcome.errors import TableRefusal
from app.outcome.table import check_enough, read_table
from tests.app.outcome.made import describe, rows, write

COLUMNS = (
    Column(name="largest_suv_max", title="SUVmax", unit="g/ml{SUVbw}", scale="log"),
    Column(name="age_years", title="Age", unit="a"),
)


def refusal(path, columns=COLUMNS, **names) -> TableRefusal:
    with pytest.raises(TableRefusal) as caught:
        read_table(path, columns, **names)
    return caught.value


def test_a_table_is_read_in_its_order(tmp_path):
    table = read_table(write(tmp_path / "t.csv", rows()), COLUMNS)
    assert table.patients[:2] == ("P0", "P1")
    assert table.values.shape == (60, 2)
    assert table.scaled[:, 0] == pytest.approx(np.log(table.values[:, 0]))
    assert table.scaled[:, 1].tolist() == table.values[:, 1].tolist()
    assert table.only(["age_years"]).values[:, 0].tolist() == table.values[:, 1].tolist()


def changed(number: int, **cells):
    table = rows()
    table[number] |= cells
    return table


@pytest.mark.parametrize(
    ("table", "code", "words"),
    [
        (changed(3, age_years=""), "TABLE_VALUE_MISSING", "Row 5 has no value in the column age_years"),
        (changed(3, age_years="NA"), "TABLE_VALUE_MISSING", "Row 5"),
        (changed(3, age_years="nan"), "TABLE_VALUE_MISSING", "Row 5"),
        (changed(3, age_years="inf"), "TABLE_VALUE_INVALID", "Row 5 has no number"),
        (changed(3, age_years="61,5"), "TABLE_VALUE_INVALID", "Row 5 has no number"),
        (changed(3, age_years="old"), "TABLE_VALUE_INVALID", "Row 5 has no number"),
        (changed(3, largest_suv_max=0), "TABLE_VALUE_INVALID", "not above 0"),
        (changed(3, event="yes"), "TABLE_VALUE_INVALID", "neither 0 nor 1"),
        (changed(3, event=""), "TABLE_VALUE_INVALID", "neither 0 nor 1"),
        (changed(3, patient="P1"), "TABLE_PATIENT_TWICE", "line 5"),
        ([row | {"age_years": 60} for row in rows()], "TABLE_CONSTANT", "age_years"),
        (
            [row | {"age_years": 100 + i} for i, row in enumerate(rows())],
            "TABLE_IDENTIFIER",
            "counts the rows",
        ),
        ([row | {"age_years": row["event"]} for row in rows()], "TABLE_OUTCOME_LEAKED", "age_years"),
        ([row | {"age_years": 9 - row["event"]} for row in rows()], "TABLE_OUTCOME_LEAKED", "age_years"),
        (changed(3, largest_suv_max=1e9), None, ""),
        ([row | {"event": int(i < 9)} for i, row in enumerate(rows())], "TABLE_TOO_FEW_EVENTS", "9 patients"),
        ([row | {"event": int(i >= 9)} for i, row in enumerate(rows())], "TABLE_TOO_FEW_EVENTS", "9 without"),
        ([row | {"event": 0} for row in rows()], "TABLE_TOO_FEW_EVENTS", "0 patients"),
    ],
)
def test_what_cannot_be_fitted_to_is_refused(tmp_path, table, code, words):
    path = write(tmp_path / "t.csv", table)
    if code is None:
        assert read_table(path, COLUMNS).values.shape == (60, 2)
    else:
        error = refusal(path)
        assert error.code == code
        assert words in error.sentence


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "TABLE_UNREADABLE"),
        (b"patient,event,largest_suv_max,age_years\n", "TABLE_UNREADABLE"),
        (b"patient,event,largest_suv_max\nP0,1,2\n", "TABLE_COLUMN_MISSING"),
        (b"patient,event,age_years,age_years,largest_suv_max\nP0,1,2,3,4\n", "TABLE_COLUMN_MISSING"),
        (b"patient,event,largest_suv_max,age_years\nP0,1,2\n", "TABLE_UNREADABLE"),
        (b"\xff\xfe\x00", "TABLE_UNREADABLE"),
        (b'patient,event,largest_suv_max,age_years\n"P0,1,2\n', "TABLE_UNREADABLE"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, code):
    (tmp_path / "t.csv").write_bytes(text)
    assert refusal(tmp_path / "t.csv").code == code


def test_a_table_that_is_not_there(tmp_path):
    assert refusal(tmp_path / "none.csv").code == "TABLE_UNREADABLE"


@pytest.mark.parametrize("name", ["patient_id", "mrn", "study_uid", "name", "birthdate", "index", "event"])
def test_columns_that_name_patients_or_the_outcome_are_no_inputs(tmp_path, name):
    table = [row | {name: row.get(name, row["age_years"])} for row in rows()]
    error = refusal(write(tmp_path / "t.csv", table), [Column(name=name, title="x", unit="1")])
    assert error.code == "TABLE_IDENTIFIER"


@pytest.mark.parametrize(("events", "columns", "refused"), [(10, 2, False), (10, 3, True), (14, 2, False)])
def test_five_patients_of_the_rarer_outcome_for_each_column(tmp_path, events, columns, refused):
    many = [Column(name=f"c{i}", title="c", unit="1") for i in range(columns)]
    rng = np.random.default_rng(0)
    table = [
        {"patient": f"P{i}", "event": int(i < events)} | {each.name: rng.normal() for each in many}
        for i in range(40)
    ]
    known = read_table(write(tmp_path / "t.csv", table), many)
    if refused:
        with pytest.raises(TableRefusal, match="allows for 2 columns"):
            check_enough(known)
    else:
        check_enough(known)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Relapse"}, "/name"),
        ({"unknown": 1}, "/unknown"),
        ({"title": "two\nlines"}, "/title"),
        ({"columns": []}, "/columns"),
        ({"columns": [{"name": "largest_suv_max", "title": "x", "unit": "ml"}]}, "measured in g/ml{SUVbw}"),
        ({"columns": [{"name": "a", "title": "x", "unit": "1", "scale": "square"}]}, "/columns/0/scale"),
        ({"columns": [{"name": "a", "title": "x", "unit": "1"}] * 2}, "named twice"),
        ({"baseline": "nothing"}, "nothing is none of the columns"),
        ({"model": ["nothing"]}, "nothing is none of the columns"),
        ({"coverage": 1.0}, "/coverage"),
        ({"population": {"text": "x", "tracers": [], "diagnoses": ["dlbcl"]}}, "/population/tracers"),
    ],
)
def test_a_description_is_refused_with_the_place_of_its_fault(tmp_path, changes, words):
    with pytest.raises(TableRefusal, match="DESCRIPTION_INVALID") as caught:
        read_description(describe(tmp_path, **changes))
    assert words in caught.value.sentence


def test_a_description_that_is_no_json(tmp_path):
    (tmp_path / "d.json").write_text('{"name": NaN}')
    with pytest.raises(TableRefusal, match="DESCRIPTION_INVALID"):
        read_description(tmp_path / "d.json")
