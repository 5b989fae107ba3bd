"""Tables for readers and for other programs."""

from __future__ import annotations

import csv
import io

import pytest

from models.petct_lesion.training.report.record import METHODS, Record
from models.petct_lesion.training.report.tables import folds_csv, folds_md, simulated_md
from models.petct_lesion.training.report.words import share, table, with_interval
from tests.models.petct_lesion.training.report.invented import NETWORK_DICE, patient, record


def test_every_patient_is_a_row() -> None:
    rows = list(csv.DictReader(io.StringIO(folds_csv(record()))))
    assert [row["patient"] for row in rows] == [f"INVENTED_00{n}" for n in range(1, 10)]
    assert [float(row["dice_network"]) for row in rows] == pytest.approx(NETWORK_DICE)
    last = rows[-1]
    assert (last["fold"], last["dice_suv_2.0"], last["predicted_dice"]) == ("2", "0.3", "0.6")
    assert (last["spacing_y_mm"], last["network_mtv_difference_ml"]) == ("3.90625", "30")
    assert float(last["network_tlg_g"]) == 120
    assert "network_dice" not in last


def test_a_number_that_is_not_there_is_an_empty_cell() -> None:
    from dataclasses import replace

    found = replace(record(), patients=(replace(patient(0), predicted_dice=None),))
    (row,) = csv.DictReader(io.StringIO(folds_csv(found)))
    assert row["predicted_dice"] == ""


def test_the_summary_of_the_folds_says_what_was_measured() -> None:
    text = folds_md(record())
    assert "9 patients in 3 folds" in text
    assert "| network | 0.783 |" in text
    assert "| SUV ≥ 2.0 | 8 of 9 (89 %) | +0.211 |" in text
    assert "| network, PET alone | 0.683 |" in text
    # MTV differences: 10, -10, 10, -10, 0, 5, -30, 0, 30: mean 5/9
    assert "| MTV, ml | +0.6 (" in text
    assert "in-plane voxels: 4.7 mm | 2 | 0.915" in text
    assert "0.1750 before, 0.0300 after" in text
    assert "CC BY 3.0" in text
    for line in text.splitlines():
        assert "nan" not in line
        assert "None" not in line


def test_the_summary_of_simulated_bodies_warns_and_counts() -> None:
    text = simulated_md(record())
    assert "do not show performance in patients" in text
    assert "Lesions of at least 1 ml." in text
    assert "| FDG, PET and CT | 3 | 22 | 0.930 (" in text
    assert "| PSMA, PET and CT | 2 | 20 | 0.500 (0.500 to 0.500)" in text
    assert "60.0 (seed 3)" in text


def test_bare_records_have_tables_too() -> None:
    bare = Record("2026-01-31", (patient(0),), None, (), (), {})
    assert "1 patients in 1 folds" in folds_md(bare)
    assert "–" in folds_md(bare)
    assert "0 results" in simulated_md(bare)


def test_cells_cannot_break_a_table() -> None:
    assert table(("a", "b"), [("x|y", "1\n2")]).splitlines()[-1] == "| x\\|y | 1 2 |"


def test_numbers_that_are_absent_are_dashes() -> None:
    assert with_interval(None, None) == "–"
    assert share(0, 0) == "0 of 0"


def test_methods_are_named() -> None:
    assert METHODS["suvmax_41"] == "41 % of the tumour's SUVmax"
