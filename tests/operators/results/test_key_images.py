"""Key images show what they say where it is, name nobody unasked, and are DICOM that others read."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw

from operators.domain import (
    Anatomy,
    BurnedIn,
    Claim,
    Destination,
    Job,
    Language,
    ResultKind,
    TimePoint,
    TrackedName,
)
from operators.results.captions import can_draw, font, words_of
from operators.results.key_images import write_key_images
from operators.results.lesion_frames import MOST_LESIONS, PANEL_PX, PIXEL_MM
from operators.results.mip_frames import short_names
from operators.results.pictures import HU_WINDOW, glow
from operators.results.tracking import PALETTE_RGB
from tests.conftest import missing
from tests.operators.results.conftest import assess

MIP, GREY = "key-images-mip.dcm", "key-images-grey.dcm"
LESIONS, SUMMARY, SELECTION = "key-images-lesions.dcm", "key-images-summary.dcm", "key-objects.dcm"
JOB = Job(destinations=(Destination("viewer", results=frozenset({ResultKind.KEY_IMAGES})),))
BODY = {"shape": (40, 80, 90), "spacing_mm": (5.0, 5.0, 5.0), "centres": ((12, 30, 35), (27, 45, 55))}
"""Large enough for a whole slice picture round each lesion."""


@pytest.fixture
def written(make, profile, tmp_path):
    """Writes the key images of a recipe; gives the data sets by file name."""

    def write(folder="a", trend=None, **changes):
        assessed = assess(make(**{"job": JOB, **BODY, **changes}))
        assessed = replace(assessed, names={}, trend=assessed.trend if trend is None else trend)
        files = write_key_images(assessed, profile, tmp_path / folder)
        return {file.path.name: pydicom.dcmread(file.path) for file in files}

    return write


def of_colour(frame, rgb):
    """Rows and columns of a colour."""
    return np.nonzero((frame == np.array(rgb, np.uint8)).all(axis=-1))


def middle(frame, rgb):
    """Across and down of the middle of what a colour surrounds, pixels."""
    rows, columns = of_colour(frame, rgb)
    return (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2


def longest_black_run(rows):
    """Pixels of the longest row of black: the ruler."""
    best = 0
    for row in (rows == 0).all(axis=-1):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        best = max([best, *(edges[1::2] - edges[::2])])
    return best


def above_scale(frame):
    """How many rows lie above the colour scale, whose frame is the widest black, and the ruler's length."""
    runs = [longest_black_run(row[None]) for row in frame]
    height = next(row for row, run in enumerate(runs) if run > 0.6 * frame.shape[1])
    return height, max(runs[:height])


def contains(picture, text, size, fill="black"):
    """Whether a text is written in a picture, pixel for pixel, on white."""
    drawn = Image.new("RGB", (int(font(size).getlength(text)) + 2, size + 8), "white")
    ImageDraw.Draw(drawn).text((0, 0), text, fill=fill, font=font(size))
    wanted = np.asarray(drawn)
    rows, columns = np.nonzero((wanted != 255).any(axis=-1))
    wanted = wanted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    if any(short < long for short, long in zip(picture.shape, wanted.shape, strict=True)):
        return False
    windows = np.lib.stride_tricks.sliding_window_view(picture, wanted.shape[:2], (0, 1))
    first = (windows[:, :, 1, :, 0] == wanted[:, 0, 1]).all(axis=-1)
    return any((np.moveaxis(windows[r, c], 0, -1) == wanted).all() for r, c in np.argwhere(first))


def side_by_angle(image):
    angles = [float(angle) for angle in image.FramePrimaryAngleVector]
    return dict(zip(angles, image.pixel_array, strict=True))


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal"])
def test_projection_shows_the_lesions_where_they_lie_from_each_side(written, make, axes, orientation):
    changes = {"directions": axes[orientation]}
    image = written(**changes)[MIP]
    first, second = (np.array(lesion.centroid_lps_mm) for lesion in make(**{**BODY, **changes}).lesions)
    frames = side_by_angle(image)
    for angle in (0, 40, 90, -90, -180, -130):
        height, ruler_px = above_scale(frames[angle])
        frame, pixel_mm = frames[angle][:height], 100 / ruler_px
        one, other = (middle(frame, rgb) for rgb in PALETTE_RGB[:2])
        x, y, z = second - first
        radians = np.deg2rad(angle)
        assert (other[0] - one[0]) * pixel_mm == pytest.approx(
            x * np.cos(radians) + y * np.sin(radians), abs=5
        )
        assert (other[1] - one[1]) * pixel_mm == pytest.approx(-z, abs=5)


def test_projection_turns_once_in_36_steps(written):
    image = written()[MIP]
    assert image.NumberOfFrames == 36
    assert image.FrameIncrementPointer == 0x00182003
    angles = [float(angle) for angle in image.FramePrimaryAngleVector]
    assert [angle % 360 for angle in angles] == list(range(0, 360, 10))
    assert min(angles) == -180
    assert max(angles) == 170  # the viewer at the patient's left is positive


def test_grey_projection_is_the_front_and_the_left_without_colour(written):
    files = written()
    image = files[GREY]
    assert (image.PhotometricInterpretation, image.NumberOfFrames) == ("MONOCHROME2", 2)
    assert [float(angle) for angle in image.FramePrimaryAngleVector] == [0, 90]
    assert image.pixel_array.shape[1:] == files[MIP].pixel_array.shape[1:3]
    height, _ = above_scale(files[MIP].pixel_array[0])
    some = np.s_[0, : height // 6]  # above the lesions
    np.testing.assert_array_equal(image.pixel_array[some], files[MIP].pixel_array[some][..., 0])


def test_a_lesion_is_outlined_in_its_slice_to_scale(written, make):
    image = written()[LESIONS]
    assert "PixelSpacing" not in image  # the small projection beside the slice has another scale
    assert not image.PatientOrientation
    assert list(image.FrameLabelVector) == ["Uptake 1", "Uptake 2"]
    for lesion, frame, rgb in zip(make(**BODY).lesions, image.pixel_array, PALETTE_RGB, strict=False):
        panel = frame[:PANEL_PX, : PANEL_PX - 60]
        held = lesion.mask[lesion.suv_max_index[0] - lesion.box[0].start]
        rows, columns = np.nonzero(held)
        rows_seen, columns_seen = of_colour(panel, rgb)
        # The number stands right of the outline: take what is as far left as right of the middle.
        assert rows_seen.max() - rows_seen.min() == pytest.approx((np.ptp(rows) + 1) * 5 / PIXEL_MM, abs=3)
        assert columns_seen.min() == pytest.approx(
            PANEL_PX / 2 - (np.ptp(columns) + 1) / 2 * 5 / PIXEL_MM, abs=2
        )
        assert longest_black_run(frame[PANEL_PX + 18 : PANEL_PX + 32]) == pytest.approx(50 / PIXEL_MM, abs=1)


def test_fused_colours_are_the_scales(written, make):
    frame = written(with_ct=True, suv=20.0)[LESIONS].pixel_array[0]
    anatomy = ((20000 // 4 - 1000) * 0.001 - HU_WINDOW[0]) / (
        HU_WINDOW[1] - HU_WINDOW[0]
    )  # of the lesion's CT
    heat = np.array([1.0])
    expected = 255 * (anatomy * 0.25 + glow(heat)[0] * 0.75)
    np.testing.assert_allclose(frame[PANEL_PX // 2, PANEL_PX // 2], expected, atol=3)


def test_ct_lies_under_the_pet(written, make, profile, tmp_path):
    quantified = make(job=JOB, with_ct=True, **BODY)
    volumes = quantified.segmented.volumes
    volumes.pet.stored[:] = np.where(quantified.segmented.mask, volumes.pet.stored, 0)
    volumes.ct.stored[:] = -30000
    z, y, x = quantified.lesions[0].suv_max_index
    volumes.ct.stored[z, y + 8, x + 5] = 32000  # 40 mm behind and 25 mm left of the middle
    volumes.ct.scale[:] = 0.05
    write_key_images(assess(quantified), profile, tmp_path)
    panel = pydicom.dcmread(tmp_path / LESIONS).pixel_array[0][:PANEL_PX, :PANEL_PX].astype(int)
    light = (panel.min(axis=-1) > 200) & (np.indices(panel.shape[:2])[0] < PANEL_PX - 30)
    light[PANEL_PX // 2 - 15 : PANEL_PX // 2 + 15] = False  # the letters R and L
    light[:30] = False
    rows, columns = np.nonzero(light)
    assert rows.mean() + 0.5 == pytest.approx(PANEL_PX / 2 + 40 / PIXEL_MM, abs=2)
    assert columns.mean() + 0.5 == pytest.approx(PANEL_PX / 2 + 25 / PIXEL_MM, abs=2)


def test_numbers_scale_window_and_status_are_printed(written, make):
    lesion = make(**BODY).lesions[0]
    frame = written(with_ct=True)[LESIONS].pixel_array[0]
    for text in (f"SUVmax {lesion.suv_max:.2f} g/ml", f"SUVmean {lesion.suv_mean:.2f} g/ml",
                 f"Volume {lesion.volume_ml:.1f} ml"):  # fmt: skip
        assert contains(frame, text, 12), text
    assert contains(frame, "CT −160 to 240 HU (W 400, L 40)", 11)
    assert contains(frame, "PET/CT, axial, 1 of 2", 11)
    assert contains(frame, "research software, unverified", 11, (180, 0, 0))
    assert contains(frame, "10 g/ml", 10)


@pytest.mark.parametrize(
    ("language", "status"),
    [
        (Language.GERMAN, "Forschungssoftware, nicht geprüft"),
        (Language.FRENCH, "logiciel de recherche, non vérifié"),
        (Language.SPANISH, "software de investigación, sin verificar"),
    ],
)
def test_status_is_in_the_destinations_language(written, language, status):
    destination = replace(JOB.destinations[0], language=language)
    files = written(job=Job(destinations=(destination,)), with_models=True)
    for name in (MIP, LESIONS, SUMMARY):
        assert contains(files[name].pixel_array[0], status, 11, (180, 0, 0)), name
    assert {str(file.PatientName) for file in files.values()} == {"Phantom^Anna"}


def test_nobody_is_named_in_the_pixels_unasked(written):
    one = written("a", with_models=True)
    renamed = {"PatientName": "Other^Person", "PatientID": "Q9", "PatientBirthDate": "19700202"}
    other = written("b", with_models=True, header=renamed)
    for name in (MIP, GREY, LESIONS, SUMMARY):
        assert one[name].BurnedInAnnotation == "NO"
        assert one[name].PixelData == other[name].PixelData


@pytest.mark.parametrize(
    ("burned_in", "text"),
    [(BurnedIn.ID, "ID P1"), (BurnedIn.NAME, "Phantom Anna, ID P1, born 1960-01-01")],
)
def test_who_the_patient_is_is_burned_in_as_the_destination_allows(written, burned_in, text):
    destination = replace(JOB.destinations[0], burned_in=burned_in)
    files = written(job=Job(destinations=(destination,)), with_models=True)
    for name, size in ((MIP, 11), (LESIONS, 10), (SUMMARY, 11)):
        assert files[name].BurnedInAnnotation == "YES"
        assert contains(files[name].pixel_array[-1], text, size), name


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada Tarou, ID P1"),
        ("山田^太郎", "ID P1"),
        ("Люкceмбypг", "Люкceмбypг, ID P1"),
        ("Müller^Jürgen", "Müller Jürgen, ID P1"),
        ("", "ID P1"),
    ],
)
def test_of_a_name_what_can_be_drawn_is(name, drawn):
    header = pydicom.Dataset()
    header.PatientName, header.PatientID, header.PatientBirthDate = name, "P1", ""
    assert words_of(header, Language.ENGLISH, BurnedIn.NAME).identity == drawn


def test_letters_are_known_to_be_there_or_not():
    assert can_draw("Ωμέγα Šćž ñç ß")
    assert not can_draw("陳")


def test_each_form_has_files_and_uids_of_its_own(written):
    viewer = JOB.destinations[0]
    german = replace(viewer, name="german", language=Language.GERMAN)
    named = replace(viewer, name="named", burned_in=BurnedIn.NAME)
    files = written(job=Job(destinations=(viewer, german, named, replace(viewer, name="again"))))
    assert {MIP, "key-images-mip-de-none.dcm", "key-images-mip-en-name.dcm"} <= set(files)
    uids = [file.SOPInstanceUID for file in files.values()]
    series = [file.SeriesInstanceUID for file in files.values()]
    assert len(set(uids)) == len(set(series)) == len(files) == 15


def test_receivers_are_named_and_nobody_gets_what_nobody_wants(make, profile, tmp_path):
    viewer = JOB.destinations[0]
    job = Job(destinations=(viewer, replace(viewer, name="again"), Destination("other")))
    files = write_key_images(assess(make(job=job)), profile, tmp_path)
    assert {file.destination for file in files} == {"viewer, again"}
    assert {file.kind for file in files} == {ResultKind.KEY_IMAGES}
    assert write_key_images(assess(make()), profile, tmp_path / "none") == ()


def test_the_same_input_gives_the_same_bytes(make, profile, tmp_path):
    runs = [
        write_key_images(assess(make(job=JOB, with_models=True, with_ct=True)), profile, tmp_path / folder)
        for folder in "ab"
    ]
    assert [file.sha256 for file in runs[0]] == [file.sha256 for file in runs[1]]


def test_without_lesions_there_is_the_projection_alone(written):
    files = written(centres=(), trend=())
    assert list(files) == [MIP, GREY, SELECTION]


def test_the_hottest_hundred_have_a_frame_and_the_rest_is_counted(written):
    centres = tuple((z, y, x) for z in (3, 9, 15) for y in range(3, 38, 6) for x in range(3, 38, 6))[:103]
    image = written(shape=(20, 42, 42), spacing_mm=(4.0, 4.0, 4.0), centres=centres, suv=30.0)[LESIONS]
    assert image.NumberOfFrames == MOST_LESIONS == 100
    assert contains(image.pixel_array[0], "PET, axial, 1 of 100; 3 less hot not shown", 11)
    assert image.FrameLabelVector[0] == "Uptake 1"


def test_summary_holds_course_references_and_removed_uptake_in_frames_of_one_size(written):
    points = tuple(TimePoint(f"1.{day}", None, float(day), 1, 5.0, 20.0, 4.0, 8.0, None) for day in (90, 0))
    image = written(with_models=True, trend=points)[SUMMARY]
    assert list(image.FrameLabelVector) == ["Course", "Liver", "Removed uptake"]
    assert image.pixel_array.shape[0] == 3
    assert contains(image.pixel_array[1], "Liver: SUVmean 2.10 ± 0.25 g/ml, 14.7 ml", 11)
    assert contains(image.pixel_array[2], "removed as physiological uptake", 11)
    assert SUMMARY not in written("none", trend=())


def test_every_picture_says_what_it_was_made_from_and_how(written):
    files = written(with_ct=True, with_models=True)
    for name in (MIP, GREY, LESIONS, SUMMARY):
        image = files[name]
        assert (image.Modality, image.ConversionType) == ("OT", "WSD")
        assert list(image.ImageType) == ["DERIVED", "SECONDARY"]
        assert image.LossyImageCompression == "00"
        assert image.DerivationDescription
        sources = {item.ReferencedSOPInstanceUID for item in image.SourceImageSequence}
        named = {
            instance.ReferencedSOPInstanceUID
            for series in image.ReferencedSeriesSequence
            for instance in series.ReferencedInstanceSequence
        }
        assert sources == named
        samples = image.Rows * image.Columns * image.SamplesPerPixel
        assert len(image.PixelData) == image.NumberOfFrames * samples
    assert "PixelSpacing" not in files[MIP]  # lengths in a projection are not the body's
    assert len(files[MIP].SourceImageSequence) == BODY["shape"][0]
    series = [item.SeriesInstanceUID for item in files[LESIONS].ReferencedSeriesSequence]
    assert series == ["1.2.3.2", "1.2.3.3"]
    shown = {item.ReferencedSOPInstanceUID for item in files[LESIONS].SourceImageSequence}
    assert {"1.2.3.5.13", "1.2.3.5.28"} <= shown  # the planes 12 and 27 of the PET


CASES = {
    "two lesions": {},
    "lesions, with CT": {"with_ct": True, "claim": Claim.LESION},
    "one frame": {"centres": ((12, 20, 18),)},
    "by a network": {"with_models": True},
    "no lesions": {"centres": (), "trend": ()},
    "multi-frame": {"multiframe": True},
    "lossy source": {
        "header": {
            "LossyImageCompression": "01",
            "LossyImageCompressionRatio": "8",
            "LossyImageCompressionMethod": "ISO_10918_1",
        }
    },
    "type 2 lacking": {"lacking": ("AccessionNumber", "StudyID", "PatientName", "PatientSex")},
}


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error(written, case):
    if shutil.which("dciodvfy") is None:
        missing("dciodvfy is not installed")
    for name, dataset in written(**CASES[case]).items():
        command = ["dciodvfy", "-new", dataset.filename]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        assert not [line for line in said.splitlines() if line.startswith("Error")], f"{name}: {said}"


def test_lesions_are_labelled_by_number_unless_two_have_it():
    given = ("Lesion 7", "Uptake 2", "Left lung")
    names = {number: TrackedName(text, "1.2") for number, text in enumerate(given, 1)}
    assert short_names(names) == {1: "7", 2: "2", 3: "Left lung"}
    assert short_names({**names, 4: TrackedName("Uptake 7", "1.3")}) == {
        1: "Lesion 7", 2: "2", 3: "Left lung", 4: "Uptake 7",
    }  # fmt: skip


def test_names_that_are_alike_once_cut_are_told_apart():
    given = ("Left upper lobe apical", "Left upper lobe anterior", "Left upper lobe basal", "Left upper lo~2")
    names = {number: TrackedName(text, "1.2") for number, text in enumerate(given, 1)}
    assert short_names(names) == {
        1: "Left upper lobe ", 2: "Left upper lob~2", 3: "Left upper lob~3", 4: "Left upper lo~2",
    }  # fmt: skip


def test_a_lesion_has_the_name_of_its_earlier_study_in_each_picture(make, profile, tmp_path):
    assessed = assess(make(job=JOB, **BODY))
    pictures = []
    for number in (1, 7):
        names = {1: TrackedName(f"Lesion {number}", "1.2.7"), 2: TrackedName("Lesion 3", "1.2.3")}
        write_key_images(replace(assessed, names=names), profile, tmp_path)
        files = [pydicom.dcmread(tmp_path / name) for name in (MIP, GREY, LESIONS)]
        assert [label.split()[-1] for label in files[2].FrameLabelVector] == [str(number), "3"]
        pictures.append([file.pixel_array[0] for file in files])
    assert all((one != other).any() for one, other in zip(*pictures, strict=True))


def test_few_slices_of_a_wide_field_give_frames_of_the_usual_size(written):
    few = {"shape": (4, 100, 100), "centres": ((2, 30, 35), (2, 60, 70))}
    for slice_mm in (2.0, 0.1):
        files = written(f"{slice_mm}", with_models=True, spacing_mm=(slice_mm, 7.0, 7.0), **few)
        for name in (MIP, GREY, LESIONS, SUMMARY):
            assert max(files[name].pixel_array.shape[1:3]) <= 2048, name


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "PET of each region: uptake above threshold"),
        ({"with_ct": True, "claim": Claim.LESION}, "PET/CT of each lesion: lesion"),
    ],
)
def test_a_series_is_called_what_may_be_said_of_it(written, changes, title):
    assert written(**changes)[LESIONS].SeriesDescription == title


def test_each_series_has_a_number_of_its_own(written):
    viewer = JOB.destinations[0]
    others = [
        replace(viewer, name=f"{language}-{burned_in}", language=language, burned_in=burned_in)
        for language in Language
        for burned_in in BurnedIn
    ]
    files = written(job=Job(destinations=(viewer, *others)), with_models=True).values()
    numbers = {int(file.SeriesNumber) for file in files}
    assert len(numbers) == len({file.SeriesInstanceUID for file in files}) == len(files)


def test_an_organ_is_named_where_the_lesion_lies_in_it(make, profile, tmp_path):
    german = replace(JOB.destinations[0], language=Language.GERMAN)
    quantified = make(job=Job(destinations=(german,)), with_models=True, **BODY)
    site = replace(quantified.lesions[0].site, anatomy=Anatomy("liver", None))
    near, within = replace(site, overlap=0.19), replace(site, overlap=0.2)
    for found, seen in ((near, False), (within, True)):
        lesions = tuple(replace(lesion, site=found) for lesion in quantified.lesions)
        changed = replace(quantified, lesions=lesions)
        write_key_images(assess(changed), profile, tmp_path)
        assert contains(pydicom.dcmread(tmp_path / LESIONS).pixel_array[0], "Leber", 12) is seen
