"""The card and the papers of the package: all figures are the record's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from string import Template

import pytest

from models.petct_lesion.training.design import draft
from models.petct_lesion.training.report.card import TEXT, card_of, parts_of
from models.petct_lesion.training.report.papers import DESCRIPTION, LICENCE, quality_of, training_data
from models.petct_lesion.training.report.record import Record
from models.petct_lesion.training.report.words import CITATION
from operators.segmentation.package.card import BEGIN, END, with_facts
from operators.segmentation.package.form import content_of
from tests.models.petct_lesion.training.report.invented import patient, record


def test_the_card_answers_what_claim_asks() -> None:
    headings = re.findall(r"^## (.+)$", card_of(record()), re.MULTILINE)
    assert headings == [
        "Summary",
        "What was asked for, and what was measured",
        "Intended use",
        "Data",
        "Model",
        "Training",
        "Performance in patients",
        "The real whole-body PET",
        "Simulated bodies",
        "How sure it is of a result",
        "Known failures",
        "Caveats",
        "To reproduce it",
        "To check it on your own data",
        "Licence, attribution, references",
    ]


def test_every_figure_of_the_card_is_the_records() -> None:
    text = card_of(record())
    assert "$" not in text
    assert "In 9 patients" in text
    assert "its mean Dice was 0.783 (" in text
    assert "that of the best threshold (SUV ≥ 2.0) was 0.572" in text
    assert "Tumour volume 10 to 800 ml, SUVmax 12.5 to 12.5, SUVmean 1.0 to 7.0 g/ml" in text
    assert "| INVENTED_009 | 0.400 | 10.0 | 1.0 | 40.0 | 2.0 | 8.0 |" in text
    assert "| SUV ≥ 4 | 0.300 | 0.300 | 1420.0 |" in text
    assert "FDG with CT 60.0 ml, PSMA with CT 30.0 ml" in text
    assert "| seeds | 1, 100 |" in text
    assert "- An invented remark." in text
    assert "| two invented cores | 350 × 200 × 200 | 58.2 |" in text
    # patients, folds, Dice and the rest stand nowhere in the text itself
    assert not re.search(r"\b(0\.\d+|38|51)\b", TEXT.read_text())


def test_the_text_uses_every_part_that_is_made_for_it() -> None:
    assert set(Template(TEXT.read_text()).get_identifiers()) == set(parts_of(record()))


def test_what_is_not_met_is_said_by_number() -> None:
    text = card_of(record())
    assert "**Of 10 requirements, 6 are not met and 0 were not measured**" in text
    assert re.search(r"\| mean Dice ≥ 0\.82 \| 0\.783 \(.+\) \| \*\*no\*\* \|", text)
    assert re.search(r"\| PSMA, PET and CT .*\| 0\.500", text)


def test_when_all_is_met_the_card_says_so() -> None:
    good = replace(
        record(),
        patients=record().patients[:2],
        whole_body=replace(record().whole_body, false_positive_ml_elsewhere=3.0),
        simulated=record().simulated[:2],
    )
    assert "All 8 requirements are met." in card_of(good)


def test_what_was_not_measured_is_said_to_be_so() -> None:
    text = card_of(Record("2026-01-31", (patient(0),), None, (), (), {}))
    assert "Not measured." in text
    assert "5 were not measured" in text
    assert "That was measured nowhere." in text
    assert "No whole-body PET was used." in text
    assert "nan" not in text


def test_the_facts_go_between_the_marks_at_the_end() -> None:
    text = card_of(record())
    assert text.count(BEGIN) == text.count(END) == 1
    package = replace(draft(Path("petct_lesion")), quality=quality_of(record()))
    card = with_facts(text, package)
    assert card.startswith(text[: text.index(BEGIN)])
    assert "| Dice, lesion | 0.7833 |" in card


def test_quality_rows_are_measured_figures_that_a_package_may_hold() -> None:
    import json

    import jsonschema

    rows = {each.measure: each for each in quality_of(record())}
    dice = rows["Dice, lesion"]
    assert dice.value == pytest.approx(0.7833)
    assert dice.low is not None
    assert dice.high is not None
    assert dice.low < dice.value < dice.high
    assert rows["Dice, lesion, lowest"].value == 0.4
    assert rows["share of patients with higher Dice than SUV ≥ 2.0"].value == pytest.approx(8 / 9, abs=1e-4)
    assert rows["lesion F1, at least 1 ml, simulated FDG, PET and CT"].value == pytest.approx(0.9302)
    assert rows["physiological uptake called lesion, simulated PSMA, PET and CT"].value == 15.5
    assert rows["called lesion elsewhere"].value == 31.5
    assert rows["expected calibration error, voxels"].value == pytest.approx(0.03)
    package = replace(
        draft(Path("petct_lesion")),
        quality=quality_of(record()),
        description=DESCRIPTION,
        licence=LICENCE,
        citation=CITATION,
        training_data=training_data(record()),
    )
    schema = Path("operators/segmentation/package/model.schema.json")
    schema = Path(__file__).parents[5] / schema
    content, rules = content_of(package), json.loads(schema.read_text())
    for name in ("quality", "description", "licence", "citation", "training_data"):
        jsonschema.validate(content[name], rules["properties"][name] | {"$defs": rules["$defs"]})


def test_what_was_not_measured_has_no_row() -> None:
    rows = quality_of(Record("2026-01-31", (patient(0),), None, (), (), {}))
    assert not [each for each in rows if "simulated" in each.measure or "elsewhere" in each.measure]
    assert {each.low for each in rows} == {None}


def test_the_training_data_are_told_apart() -> None:
    text = training_data(record())
    assert text.startswith("Real: 9 patients")
    assert "all physiological uptake" in text
    assert "whole-body PET" in text
    assert "whole-body PET" not in training_data(replace(record(), whole_body=None))
