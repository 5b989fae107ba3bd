"""The report on paper: one or two pages that say the numbers, and who the patient is only where allowed."""

import os
import re
import shutil
import subprocess
import time
import unicodedata
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.domain import (
    Anatomy,
    Assessed,
    BurnedIn,
    Claim,
    Correspondence,
    Destination,
    Fact,
    Fate,
    Finding,
    Job,
    Language,
    Note,
    Prediction,
    ResultKind,
    Site,
    TrackedName,
)
from operators.results.identity import identify
from operators.results.paper import paper_of
from operators.results.paper.arabic import joined
from operators.results.paper.fonts import UNKNOWN, Face, can_write, runs, width_pt
from operators.results.paper.panels import panels_of
from operators.results.paper.pen import ELLIPSIS, Style, lines_of
from operators.results.pdf import write_pdf
from tests.operators.results.conftest import assess, with_models

PDF = frozenset({ResultKind.PDF})
TIME_LIMIT_S = 30


def job(*forms):
    return Job(
        destinations=tuple(
            Destination(f"receiver {n}", results=PDF, language=language, burned_in=burned_in)
            for n, (language, burned_in) in enumerate(forms or ((Language.ENGLISH, BurnedIn.NONE),))
        )
    )


def program(name):
    """Path of a program; skips by name where it is absent, fails in CI."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return found


def run(name, *arguments):
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    return done.stdout + done.stderr


def document(file):
    instance = pydicom.dcmread(file.path)
    return instance.EncapsulatedDocument[: instance.EncapsulatedDocumentLength]


def pages(pdf):
    """How many pages the PDF says that it has; their objects are not compressed."""
    (count,) = re.findall(rb"/Count (\d+)", pdf)
    return int(count)


def read(pdf, folder):
    """The text of the pages, by poppler."""
    (folder / "report.pdf").write_bytes(pdf)
    return run("pdftotext", "-layout", folder / "report.pdf", "-")


@pytest.fixture
def written(profile, tmp_path):
    def write(assessed):
        (file,) = write_pdf(assessed, profile, tmp_path)
        return file

    return write


def crowd(make, count, **recipe):
    """A study of many lesions, all with a site, in a body of usual size."""
    quantified = make(claim=Claim.LESION, job=job(), shape=(300, 200, 200), centres=((3, 6, 6),), **recipe)
    (lesion,) = quantified.lesions
    hip = Site(Anatomy("hip_left", None), 0.9, 0.0)
    lesions = tuple(
        replace(
            lesion,
            number=n + 1,
            volume_ml=1.0 + n / 8,
            box=tuple(slice(side.start + step, side.stop + step) for side, step in zip(
                lesion.box, (2 * n % 290, (n * 37) % 150, (n * 53) % 150), strict=True)),
            suv_max=60.0 / (n + 1),
            site=hip,
        )
        for n in range(count)
    )  # fmt: skip
    return replace(quantified, lesions=lesions)


def test_it_is_an_encapsulated_pdf(make, written):
    quantified = make(job=job(), with_ct=True)
    instance = pydicom.dcmread(written(Assessed(quantified)).path)
    assert instance.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert (instance.Modality, instance.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    assert instance.EncapsulatedDocument.startswith(b"%PDF-")
    assert len(instance.EncapsulatedDocument) - instance.EncapsulatedDocumentLength in {0, 1}
    assert instance.DocumentTitle == "PET/CT report"
    alone = pydicom.dcmread(written(Assessed(make(job=job()))).path)
    assert alone.DocumentTitle == "PET report", "no CT"
    assert instance.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert instance.VerificationFlag == "UNVERIFIED"
    assert instance.SeriesNumber == 9318
    volumes = quantified.segmented.volumes
    assert [source.ReferencedSOPInstanceUID for source in instance.SourceInstanceSequence] == [
        each.sop_instance_uid for volume in (volumes.pet, volumes.ct) for each in volume.instances
    ]


@pytest.mark.parametrize("case", ["uptake", "network", "no lesions", "multi-frame", "type 2 lacking"])
def test_dciodvfy_finds_no_error(make, written, case):
    recipe = {
        "network": {"claim": Claim.LESION, "with_models": True},
        "no lesions": {"centres": ()},
        "multi-frame": {"multiframe": True},
        "type 2 lacking": {"lacking": ("AccessionNumber", "StudyID", "PatientName", "PatientSex")},
    }.get(case, {})
    said = run("dciodvfy", "-new", written(Assessed(make(job=job(), **recipe))).path)
    assert "EncapsulatedPDF" in said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


def test_it_says_the_numbers_with_their_units(make, written, tmp_path):
    quantified = make(claim=Claim.LESION, job=job(), with_models=True)
    said = read(document(written(Assessed(quantified))), tmp_path)
    flat = " ".join(said.split())
    totals = quantified.totals
    assert f"{totals.volume_ml:.2f} ml" in flat
    assert f"{totals.tlg_g:.2f} g" in flat
    assert f"{totals.suv_max:.2f} g/ml" in flat
    assert "300 MBq" in flat
    assert "60 min" in flat
    assert "70 kg" in flat
    assert "Maker Scanner" in flat
    assert "FDG (F-18)" in flat
    for lesion in quantified.lesions:
        numbers = (lesion.volume_ml, lesion.suv_max, lesion.suv_mean, lesion.suv_peak_global, lesion.tlg_g)
        row = " ".join(f"{number:.2f}" for number in numbers)
        assert f"Lesion {lesion.number} {lesion.site.anatomy.name.replace('_', ' ')} {row}" in flat
        assert f"{row} {100 * lesion.confidence:.0f}" in flat
    assert "ml g/ml g/ml g/ml g %" in flat, "the columns' units"
    assert "SUVmean 2.10 g/ml" in flat, "the reference region"
    assert "Predicted Dice 0.81" in flat
    assert "ours@1.0.0, SHA-256 121212121212" in flat
    assert "theramap PET/CT 0.1.0" in flat


@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_one_page_or_two_whatever_the_number_of_lesions(make, written, tmp_path, count):
    quantified = crowd(make, count)
    pdf = document(written(Assessed(quantified)))
    assert pages(pdf) == (2 if count == 100 else 1)
    said = read(pdf, tmp_path)
    assert said.count("\f") == pages(pdf)
    assert said.count("Research use only") == pages(pdf)
    assert said.count("not a medical device") == pages(pdf)
    assert [f"Page {n} of {pages(pdf)}" in said for n in (1, pages(pdf))] == [True, True]


def test_lesions_without_room_are_counted_with_their_volume(make, written, tmp_path):
    quantified = crowd(make, 300)
    said = read(document(written(Assessed(quantified))), tmp_path)
    shown = [int(number) for number in re.findall(r"^ +(\d+) +Lesion \d+ +hip left", said, re.MULTILINE)]
    assert shown == list(range(1, len(shown) + 1))
    assert 60 < len(shown) < 300
    volume_ml = sum(lesion.volume_ml for lesion in quantified.lesions[len(shown) :])
    assert f"{300 - len(shown)} more lesions are not shown here, together {volume_ml:.2f} ml." in said


def test_a_hundred_lesions_take_at_most_two_seconds(make, written):
    quantified = crowd(make, 100)
    start = time.process_time()
    written(Assessed(quantified))
    assert time.process_time() - start < 2


@pytest.mark.parametrize("count", [0, 5, 20])
def test_text_without_room_is_cut_and_said_to_be(make, written, tmp_path, count):
    notes = tuple(Note(f"N{n}", f"Note {n}. " + "It goes on and on. " * 40) for n in range(200))
    pdf = document(written(Assessed(crowd(make, count), notes=notes)))
    assert pages(pdf) == 2
    said = read(pdf, tmp_path)
    assert re.search(r"and \d+ more, not shown here", said)
    assert "Method" in said
    assert said.count("hip left") == count, "texts give way to lesions"
    assert "Note 20." in said


def test_totals_are_withheld_with_the_reason(make, written, tmp_path):
    said = read(document(written(Assessed(make(job=job())))), tmp_path)
    assert "Withheld: Physiological uptake has not been removed." in said
    assert "Dmax" not in said
    assert "Regions of uptake" in said


def test_findings_predictions_and_change_are_said(make, written, tmp_path):
    said = read(document(written(assess(make(claim=Claim.LESION, job=job())))), tmp_path)
    flat = " ".join(said.split())
    assert "RECIP 1.0: PR (partial response)" in flat
    assert "The volume fell by 41.5 %. Caution: Uptake times differ by 22 min." in flat
    assert "VISION: indeterminate" in flat
    assert "Source: Somebody 2022" in flat
    assert "PROMISE V2 expression 2 (liver to parotid): 1 lesion." in flat
    assert "157 days before, FDG 1 matched, 1 new. Prior totals: 2 lesions, volume" in flat
    assert "probability 0.25 (95 % interval 0.1 to 0.4); at 90% coverage: no metastasis." in flat
    assert "withheld. The diagnosis is not known." in flat
    assert "Lesion 7" in flat, "the name that it has had since the prior"
    assert re.search(r"Lesion 2 .* new", flat)


@pytest.mark.parametrize("burned_in", list(BurnedIn))
def test_identity_is_burned_in_only_as_allowed(make, written, tmp_path, burned_in):
    quantified = make(job=job((Language.ENGLISH, burned_in)), header={"PatientID": "Q-4711"})
    file = written(Assessed(quantified))
    said = " ".join(read(document(file), tmp_path).split())
    has_name = burned_in is BurnedIn.NAME
    assert ("Phantom, Anna" in said) is has_name
    assert ("1960" in said) is has_name
    assert ("Q-4711" in said) is (burned_in is not BurnedIn.NONE)
    assert ("not shown" in said) is (burned_in is BurnedIn.NONE)
    assert pydicom.dcmread(file.path).BurnedInAnnotation == ("NO" if burned_in is BurnedIn.NONE else "YES")
    properties = run("pdfinfo", tmp_path / "report.pdf")
    assert "Phantom" not in properties
    assert "4711" not in properties


def test_each_form_is_an_instance_in_a_series_of_its_own(make, profile, tmp_path):
    forms = [(language, burned_in) for language in Language for burned_in in BurnedIn]
    files = write_pdf(Assessed(make(job=job(*forms))), profile, tmp_path)
    instances = [pydicom.dcmread(file.path) for file in files]
    assert len({instance.SOPInstanceUID for instance in instances}) == 12
    assert len({instance.SeriesInstanceUID for instance in instances}) == 12
    assert len({int(instance.SeriesNumber) for instance in instances}) == 12
    assert {file.path.name for file in files} == {f"report-{a}-{b}.dcm" for a, b in forms}
    assert sorted(file.destination for file in files) == sorted(f"receiver {n}" for n in range(12))


def test_only_who_wants_it_gets_it(make, profile, tmp_path):
    assert write_pdf(Assessed(make()), profile, tmp_path) == ()
    two = Job(destinations=(Destination("a"), Destination("b"), Destination("c", results=frozenset())))
    (file,) = write_pdf(Assessed(make(job=two)), replace(profile, results=PDF), tmp_path)
    assert (file.kind, file.destination, file.path.name) == (ResultKind.PDF, "a, b", "report.dcm")


def test_same_input_gives_the_same_bytes(make, profile, tmp_path):
    first, second = (
        write_pdf(assess(make(job=job(), with_models=True)), profile, tmp_path / name)[0] for name in "ab"
    )
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (Language.GERMAN, ("Nur für die Forschung", "Läsionen", "3,89", "Seite 1 von", "bei 90% Abdeckung")),
        (Language.FRENCH, ("Pour la recherche", "Lésions", "3,89", "Page 1 sur")),
        (Language.SPANISH, ("lesiones", "3,89", "1 de")),
    ],
)
def test_phrases_are_in_the_destinations_language(make, written, tmp_path, language, words):
    quantified = make(claim=Claim.LESION, job=job((language, BurnedIn.NONE)))
    said = read(document(written(assess(quantified))), tmp_path)
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize("direction", ["axial", "coronal", "sagittal", "oblique"])
def test_outlines_lie_on_the_uptake(make, axes, direction):
    quantified = make(directions=axes[direction])
    for panel in panels_of(quantified):
        grey = np.asarray(panel.picture, float)
        scale = np.array([panel.width_mm, panel.height_mm]) / grey.shape[::-1]
        for mark in panel.marks:
            (outline,) = mark.outlines_mm
            assert (outline >= -1e-6).all()
            assert (outline <= [panel.width_mm + 1e-6, panel.height_mm + 1e-6]).all()
            column, row = (outline.mean(axis=0) / scale).astype(int)
            assert grey[row, column] < 128, "dark is hot"


def header(name):
    return {"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "PatientID": "P-77"}


def shown(make, profile, name):
    quantified = make(job=job((Language.ENGLISH, BurnedIn.NAME)), header=header(name))
    assessed = Assessed(quantified)
    identity = identify(assessed, profile)
    return paper_of(assessed, profile, identity, Language.ENGLISH, BurnedIn.NAME)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Müller^Jörg", "Müller, Jörg"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou \u00b7 山田 太郎 \u00b7 やまだ たろう"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "Hong, Gildong \u00b7 洪 吉洞 \u00b7 홍 길동"),
        ("Люксембург^Иван", "Люксембург, Иван"),
        ("Διονυσίου", "Διονυσίου"),
        ("قباني^لنزار", "قباني\u060c لنزار"),
        ("שרון^דבורה", "שרון, דבורה"),
    ],
)
def test_names_in_many_scripts_are_written(make, profile, name, value):
    paper = shown(make, profile, name)
    assert paper.patient[0].value == value
    assert paper.patient_note == ""


def test_a_name_that_no_font_writes_is_the_id_with_a_note(make, written, tmp_path, profile):
    paper = shown(make, profile, "สมชาย^ใจดี")
    assert paper.patient[0].value == "P-77"
    assert paper.patient_note == "This page has no font for the script of the name."
    partly = shown(make, profile, "Somchai^Jaidee=สมชาย^ใจดี")
    assert partly.patient[0].value == "Somchai, Jaidee"
    assert partly.patient_note == paper.patient_note
    quantified = make(job=job((Language.ENGLISH, BurnedIn.NAME)), header=header("สมชาย^ใจดี"))
    said = read(document(written(Assessed(quantified))), tmp_path)
    assert "P-77" in said
    assert UNKNOWN not in said
    assert paper.patient_note in said


def test_arabic_letters_join():
    by_form = {unicodedata.name(letter) for letter in joined("قباني", lambda _: True)}
    assert by_form == {
        "ARABIC LETTER QAF INITIAL FORM", "ARABIC LETTER BEH MEDIAL FORM", "ARABIC LETTER ALEF FINAL FORM",
        "ARABIC LETTER NOON INITIAL FORM", "ARABIC LETTER YEH FINAL FORM",
    }  # fmt: skip
    assert joined("سلام", lambda _: True).count("\ufefc") == 1, "lam with alef, after a letter"
    assert joined("abc 12", lambda _: True) == "abc 12"


@pytest.mark.parametrize(
    ("text", "visual"),
    [
        ("אבג", "גבא"),
        ("abc אבג def", "abc גבא def"),
        ("abc (אבג) def", "abc (גבא) def"),
        ("אב 12 גד", "דג 12 בא"),
        ("אב (גד)", "(דג) בא"),
        ("a\u202eb\u200f", "ab"),
    ],
)
def test_right_to_left_runs_are_turned(text, visual):
    assert "".join(run.text for run in runs(text, Face.REGULAR)) == visual


def test_what_no_font_has_is_seen_to_be_missing():
    assert [run.text for run in runs("a\u0e44b", Face.REGULAR)] == ["a", UNKNOWN, "b"]
    assert not can_write("\u0e44")
    assert not can_write("\u0710"), "Syriac joins, and nothing here joins it"
    assert {run.font for run in runs("山", Face.BOLD)} == {"HeiseiKakuGo-W5"}


ANYTHING = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "<b>bold</b> & <para>", "</font><img src='x'/>", "A" * 5000, "(\\) Tj ET Q", "\x00\x1b[2J\x7f",
            "\ud800", "\u202eevil", "%PDF-1.4 endstream endobj", "{name} %s %(x)s", "\u0301" * 300, " " * 900,
        ]
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(text=ANYTHING, width=st.floats(1, 500), most=st.integers(1, 6))
def test_lines_fit_and_lose_nothing_unsaid(text, width, most):
    style = Style(8)
    lines = lines_of(text, width, style, most)
    assert len(lines) <= most
    for line in lines:
        assert width_pt(line, style.face, style.size) <= width or len(line) <= 2
    if len(text) < 1000 and not any(line.endswith(ELLIPSIS) for line in lines):
        kept = "".join(lines).replace(" ", "")
        assert len(kept) == len("".join(lines_of(text, 1e9, style)).replace(" ", ""))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(ANYTHING, min_size=8, max_size=8))
def test_hostile_text_makes_a_page_all_the_same(make, profile, tmp_path, texts):
    one, two, three, four, five, six, seven, eight = texts
    with pydicom.config.disable_value_validation():
        quantified = make(
            claim=Claim.LESION,
            job=job((Language.FRENCH, BurnedIn.NAME)),
            header={"PatientName": one, "PatientID": two, "Manufacturer": three},
        )
        site = Site(Anatomy(four, None), 0.5, 0.0)
        lesions = tuple(replace(each, site=site, uncertain=five) for each in quantified.lesions)
        finding = Finding(
            "rule", six, "1", seven, eight, one, (Fact("x", None),), two, three, four,
            warnings=(Note("C", five),),
        )  # fmt: skip
        prediction = Prediction(
            six, seven, eight, "d", "class", None, "1", one, population=two, citation=three
        )
        assessed = replace(
            assess(replace(quantified, lesions=lesions)),
            findings=(finding, replace(finding, lesion=1)),
            predictions=(prediction,),
            names={1: TrackedName(four, "2.25.1")},
            notes=(Note("N", five),),
        )
        (file,) = write_pdf(assessed, profile, tmp_path)
        assert pages(document(file)) in {1, 2}


def test_a_hostile_page_opens(make, written, tmp_path):
    markup = "<b>bold</b> & (brackets\\) <para>"
    quantified = make(job=job((Language.ENGLISH, BurnedIn.NAME)), header={"PatientName": "<i>^&amp;"})
    assessed = replace(
        assess(quantified), notes=(Note("N", markup),), names={1: TrackedName(markup, "2.25.1")}
    )
    said = " ".join(read(document(written(assessed)), tmp_path).split())
    assert "<b>bold</b> & (brackets ) <para>" in said
    assert "<i>, &amp;" in said


def test_a_number_is_never_cut(make, written, tmp_path):
    quantified = crowd(make, 2)
    huge = tuple(
        replace(lesion, volume_ml=123456789.25, tlg_g=98765432100.5, confidence=1.0)
        for lesion in quantified.lesions
    )
    totals = replace(quantified.totals, volume_ml=246913578.5, tlg_g=197530864201.0)
    said = read(document(written(Assessed(replace(quantified, lesions=huge, totals=totals)))), tmp_path)
    for number in ("123456789.25", "98765432100.50", "246913578.50 ml", "197530864201.00 g"):
        assert number in said


def page(assessed, profile, language=Language.ENGLISH, burned_in=BurnedIn.NONE):
    """What the page says, and all of its words."""
    paper = paper_of(assessed, profile, identify(assessed, profile), language, burned_in)
    return paper, repr(replace(paper, panels=()))


def with_prior(assessed, *correspondences, tracer="fdg", key="key", **changes):
    """The same with one prior: of a tracer, of a patient."""
    (follow_up,) = assessed.follow_ups
    selection = follow_up.prior.selection
    study = replace(selection.case.study, patient_key=key)
    protocol = replace(selection.protocol, name=tracer, title=tracer.upper())
    selection = replace(selection, case=replace(selection.case, study=study), protocol=protocol)
    volumes = replace(follow_up.prior.segmented.volumes, selection=selection)
    prior = replace(follow_up.prior, segmented=replace(follow_up.prior.segmented, volumes=volumes))
    met = correspondences or follow_up.correspondences
    return replace(follow_up, prior=prior, correspondences=met, **changes)


def section(paper, title):
    (found,) = (each for each in paper.sections if each.title == title)
    return found


def prior_cells(paper):
    titles = [column.title for column in paper.lesions.columns]
    place = titles.index("Prior vol.") if "Prior vol." in titles else None
    return None if place is None else [row.cells[place] for row in paper.lesions.rows]


def test_the_prior_volume_is_of_a_study_with_the_same_tracer(make, profile):
    assessed = assess(make(claim=Claim.LESION))
    lost = Correspondence(Fate.RESOLVED, (2,), ())
    psma = with_prior(assessed, *assessed.follow_ups[0].correspondences, lost, tracer="psma")
    paper, _ = page(replace(assessed, follow_ups=(psma,)), profile)
    assert prior_cells(paper) is None
    (entry,) = section(paper, "Change since a prior study").entries
    assert entry.head == "157 days before, PSMA"
    assert "1 matched, 1 seen with FDG only, 1 seen with PSMA only" in entry.body
    assert "Totals with PSMA: 2 lesions, volume" in entry.body
    for word in ("new", "resolved", "Prior totals"):
        assert word not in entry.body
    paper, _ = page(replace(assessed, follow_ups=(psma, *assessed.follow_ups)), profile)
    assert prior_cells(paper) == [f"{assessed.quantified.lesions[0].volume_ml:.2f}", "new"]


def test_of_another_patients_study_nothing_is_said_but_that(make, profile):
    assessed = assess(make(claim=Claim.LESION))
    paper, _ = page(replace(assessed, follow_ups=(with_prior(assessed, key="other"),)), profile)
    assert prior_cells(paper) is None
    (entry,) = section(paper, "Change since a prior study").entries
    assert (entry.head, entry.body, entry.small) == (
        "Prior", "The other study is of another patient ID.", "",
    )  # fmt: skip


def test_a_shared_prior_volume_is_marked_and_notes_of_the_prior_are_said(make, profile):
    assessed = assess(make(claim=Claim.LESION))
    note = Note("PRIOR_NOT_REGISTERED", "The prior study could not be laid on the current one.")
    split = with_prior(assessed, Correspondence(Fate.SPLIT, (1,), (1, 2)), notes=(note,))
    paper, _ = page(replace(assessed, follow_ups=(split,)), profile)
    assert prior_cells(paper) == [f"{assessed.quantified.lesions[0].volume_ml:.2f}\u2020"] * 2
    assert "\u2020 shared with another lesion" in paper.lesions.legend
    assert note.sentence in section(paper, "Change since a prior study").entries[0].body
    plain, _ = page(assessed, profile)
    assert "\u2020" not in plain.lesions.legend


def test_a_lesion_near_an_organ_has_no_site(make, profile):
    quantified = make(claim=Claim.LESION, with_models=True)
    near, inside = (Site(Anatomy("kidney_left", None), overlap, 3.0) for overlap in (0.19, 0.2))
    lesions = tuple(
        replace(each, site=site) for each, site in zip(quantified.lesions, (near, inside), strict=True)
    )
    paper, _ = page(Assessed(replace(quantified, lesions=lesions)), profile)
    assert [row.cells[2] for row in paper.lesions.rows] == ["\u2013", "kidney left"]


@pytest.mark.parametrize("burned_in", list(BurnedIn))
def test_dates_are_on_the_page_only_with_an_identity(make, profile, burned_in):
    assessed = assess(make(claim=Claim.LESION))
    therapy = Fact("therapy_date", "2023-12-24", "", "corrected by Dr. Who on 2024-01-06 09:15: a slip")
    note = Note("N", "The header says 20240105093000.00, and volume 20240105.5 ml.")
    assessed = replace(assessed, clinical=(therapy,), notes=(note,))
    paper, words = page(assessed, profile, burned_in=burned_in)
    dated = burned_in is not BurnedIn.NONE
    for date in (
        "2024-01-05",
        "2023-08-01",
        "2023-12-24",
        "2024-01-06",
        "09:15",
        "20240105093000",
        "Dr. Who",
    ):
        assert (date in words) is dated, date
    assert "20240105.5 ml" in words, "a number that is no date"
    if not dated:
        assert paper.study_date == ""
        assert "day \u221212" in words
        assert "corrected by (not shown) on day +1: a slip" in words
        assert [row.cells[0] for row in section(paper, "Change since a prior study").table.rows] == [
            "\u2212157", "0: withheld",
        ]  # fmt: skip


def test_sites_and_references_without_room_stand_below(make, written, tmp_path):
    quantified = crowd(make, 3, with_models=False)
    region = with_models(make(claim=Claim.LESION)).segmented.references[0]
    regions = tuple(replace(region, name=f"region_{n}", suv_mean=n / 4) for n in range(60))
    segmented = replace(quantified.segmented, references=regions)
    said = " ".join(
        read(document(written(Assessed(replace(quantified, segmented=segmented)))), tmp_path).split()
    )
    told = [n for n in range(60) if re.search(rf"\bregion {n}\b", said)]
    assert told == list(range(len(told)))
    assert len(told) > 12
    assert said.count("Reference regions") == 2
    assert len(told) == 60 or f"and {60 - len(told)} more" in said


def test_what_has_no_room_is_called_regions_without_volume_where_totals_are_withheld(make, written, tmp_path):
    quantified = crowd(make, 300)
    segmented = replace(quantified.segmented, claim=Claim.UPTAKE)
    withheld = replace(quantified, segmented=segmented, withheld="Physiological uptake has not been removed.")
    said = " ".join(read(document(written(Assessed(withheld))), tmp_path).split())
    assert re.search(r"\d+ more regions of uptake are not shown here\. ", said)
    assert "together" not in said
    assert "Total uptake" in said
    assert "TLG" not in said
    assert "Numbered: the 30 hottest of 300" in said


def test_who_gets_the_structured_report_is_sent_there(make, profile, tmp_path):
    both = Job(destinations=(Destination("a", results=frozenset({ResultKind.PDF, ResultKind.SR})),))
    quantified = crowd(make, 300)
    case = replace(quantified.selection.case, job=both)
    volumes = quantified.segmented.volumes
    volumes = replace(volumes, selection=replace(volumes.selection, case=case))
    segmented = replace(quantified.segmented, volumes=volumes)
    (file,) = write_pdf(Assessed(replace(quantified, segmented=segmented)), profile, tmp_path)
    assert re.search(
        r"\d+ more lesions are in the structured report, together", read(document(file), tmp_path)
    )


def test_the_reason_of_withheld_totals_is_in_the_pages_language(make, profile):
    english = (
        "Physiological uptake has not been removed: the regions are uptake, not lesions. Tumour totals, "
    )
    reason = f"{english}eligibility and response are withheld."
    assessed = assess(replace(make(), withheld=reason))
    paper, words = page(assessed, profile, Language.GERMAN)
    assert paper.withheld.startswith("Zurückgehalten: Physiologische Anreicherung wurde nicht entfernt")
    assert english not in words, "nor of the prior's totals"
    assert paper.title == "PET-Bericht"


def test_one_lesion_is_one(make, profile):
    assessed = assess(make(claim=Claim.LESION, centres=((3, 6, 6),)))
    prior = with_prior(assessed, Correspondence(Fate.MATCHED, (1,), (1,), 0.8, 2.0))
    _, words = page(replace(assessed, follow_ups=(prior,)), profile)
    assert "Prior totals: 1 lesion, volume" in words
