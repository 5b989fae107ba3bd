"""What a package must be to be read, and that a refusal names it and the place of its fault."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.domain import LesionCalibration
from operators.segmentation.package.check import FEATURE_UNITS
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.form import MODEL_FILE
from operators.segmentation.package.read import SIZE_LIMIT_BYTES, read_package
from operators.segmentation.package.types import (
    Activation,
    Architecture,
    Calibration,
    DiceCalibration,
    Feature,
    Guard,
    Interpolation,
    Modality,
    Normalisation,
    Package,
    Resampling,
    Scheme,
    SeenRange,
    Task,
    Weights,
)
from operators.segmentation.package.write import file_of, write_package
from tests.operators.segmentation.package.build import changed, onnx_model, package, two_stages

Change = Callable[[Package], Package]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_package(package(tmp_path / "two_organs")).folder


def refused(folder: Path, *, verify: bool = True) -> PackageError:
    with pytest.raises(PackageError) as caught:
        read_package(folder, verify=verify)
    assert "two_organs" in str(caught.value)
    assert caught.value.package == "two_organs"
    return caught.value


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / MODEL_FILE).read_text())
    change(content)
    (folder / MODEL_FILE).write_text(json.dumps(content))


def test_reads_what_was_written(folder: Path) -> None:
    read = read_package(folder)
    assert read.identity == "two_organs@1.0.0"
    assert read.labels[1].side is not None
    assert read.stages[0].spacing_mm == (3.0, 1.5, 1.5)
    assert len(read.digest) == 64


# ---- model.json as a file ------------------------------------------------------------------------


def test_refuses_a_folder_without_model_json(tmp_path: Path) -> None:
    (tmp_path / "two_organs").mkdir()
    assert refused(tmp_path / "two_organs").code == "MODEL_MISSING"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ('{"name": "a", "name": "b"}', "'name' occurs twice"),
        ('{"int8_dice_loss": NaN}', "NaN"),
        ('{"int8_dice_loss": 1e999}', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        (" " * (SIZE_LIMIT_BYTES + 1), "longer than"),
    ],
)
def test_refuses_what_is_not_strict_json(folder: Path, text: str, words: str) -> None:
    (folder / MODEL_FILE).write_text(text)
    error = refused(folder)
    assert error.code == "MODEL_INVALID"
    assert words in error.sentence


@pytest.mark.parametrize("content", [[], 1, None, "two_organs", {}])
def test_refuses_json_that_is_no_package(folder: Path, content: Any) -> None:
    (folder / MODEL_FILE).write_text(json.dumps(content))
    assert refused(folder).code == "MODEL_INVALID"


def test_refuses_model_json_that_is_a_link_to_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / MODEL_FILE).rename(tmp_path / "elsewhere.json")
    (folder / MODEL_FILE).symlink_to(tmp_path / "elsewhere.json")
    assert refused(folder).code == "MODEL_FILE_UNSAFE"


# ---- the schema ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/name", "Two Organs"),
        ("/version", "1.0"),
        ("/version", "1.0.0\n"),
        ("/title", "a\x1b[2Jb"),
        ("/task", "tumours"),
        ("/inputs/0/modality", "MR"),
        ("/inputs/0/unit", "HU"),
        ("/inputs/0/normalisation/scheme", "torch.nn.Identity"),
        ("/inputs/0/normalisation/sd", 0),
        ("/labels/0/value", 0),
        ("/labels/0/value", 65536),
        ("/labels/0/name", "a\\b"),
        ("/stages/0/dimensions", 4),
        ("/stages/0/channels_out", 10**400),
        ("/stages/0/orientation", "RAR"),
        ("/stages/0/transpose", [0, 1, 1]),
        ("/stages/0/spacing_mm", [0, 1, 1]),
        ("/stages/0/tile/size", [0, 16, 16]),
        ("/stages/0/tile/size", [16, 16, 4096]),
        ("/stages/0/tile/step", 0),
        ("/stages/0/mirror_axes", [3]),
        ("/stages/0/weights/0/onnx/path", "../fold_0.onnx"),
        ("/stages/0/weights/0/onnx/path", "/fold_0.onnx"),
        ("/stages/0/weights/0/onnx/path", "a\\fold_0.onnx"),
        ("/stages/0/weights/0/onnx/path", "a//fold_0.onnx"),
        ("/stages/0/weights/0/onnx/sha256", "ab"),
        ("/stages/0/weights/0/onnx/size", -1),
        ("/origin/format", "pickle"),
    ],
)
def test_refuses_a_value_out_of_bounds_and_says_where(folder: Path, path: str, value: Any) -> None:
    *parents, last = path.strip("/").split("/")

    def change(content: Any) -> None:
        for part in parents:
            content = content[int(part) if isinstance(content, list) else part]
        content[last] = value

    edit(folder, change)
    error = refused(folder, verify=False) if path != "/name" else _named_by_its_folder(folder)
    assert error.code == "MODEL_INVALID"
    assert path in error.sentence
    assert error.sentence.isprintable()


def _named_by_its_folder(folder: Path) -> PackageError:
    error = refused(folder)
    assert error.package == folder.name
    return error


@pytest.mark.parametrize("place", ["", "stages/0", "stages/0/tile", "inputs/0/normalisation", "origin"])
def test_refuses_fields_that_the_schema_does_not_know(folder: Path, place: str) -> None:
    def change(content: Any) -> None:
        for part in filter(None, place.split("/")):
            content = content[int(part) if isinstance(content, list) else part]
        content["module"] = "os"

    edit(folder, change)
    error = refused(folder)
    assert error.code == "MODEL_INVALID"
    assert "module" in error.sentence


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_value_is_replaced_by_is_read_or_refused_by_name(
    folder: Path, data: st.DataObject
) -> None:
    text = (folder / MODEL_FILE).read_text()
    places: list[tuple[Any, Any]] = []
    content = json.loads(text)
    level = [content]
    while level:
        inner = level.pop()
        for key in list(inner) if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], dict | list):
                level.append(inner[key])
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5)
        | st.lists(st.integers(-1, 3), max_size=4)
        | st.just({})
    )
    (folder / MODEL_FILE).write_text(json.dumps(content))
    said = ""
    try:
        read_package(folder)
    except PackageError as error:
        said = error.sentence
    assert said == "" or said.startswith(f"Model package {folder.name}:")
    assert said == "" or said.isprintable()
    (folder / MODEL_FILE).write_text(text)


# ---- parts that contradict one another -----------------------------------------------------------


def normalised(**changes: Any) -> Change:
    def change(made: Package) -> Package:
        one = dataclasses.replace(made.inputs[0].normalisation, **changes)
        return dataclasses.replace(
            made, inputs=(dataclasses.replace(made.inputs[0], normalisation=one), *made.inputs[1:])
        )

    return change


def test_reads_a_cascade(tmp_path: Path) -> None:
    made = write_package(two_stages(package(tmp_path / "two_organs")))
    assert [each.channels_in for each in read_package(made.folder).stages] == [1, 3]


INCONSISTENT: list[tuple[Change, str]] = [
    (lambda p: dataclasses.replace(p, labels=(p.labels[0], p.labels[0])), "/labels"),
    (lambda p: dataclasses.replace(p, inputs=p.inputs * 2), "/inputs"),
    (lambda p: dataclasses.replace(p, tracers=("fdg",)), "/tracers"),
    (lambda p: dataclasses.replace(p, simulated_tracers=("fdg",)), "/simulated_tracers"),
    (lambda p: dataclasses.replace(p, grid=Modality.PET), "/grid"),
    (
        lambda p: dataclasses.replace(p, inputs=(dataclasses.replace(p.inputs[0], optional=True),)),
        "/grid",
    ),
    (
        lambda p: dataclasses.replace(p, inputs=(dataclasses.replace(p.inputs[0], unit="g/ml{SUVbw}"),)),
        "/inputs/0/unit",
    ),
    (normalised(mean=None), "/inputs/0/normalisation/mean"),
    (normalised(low=5.0, high=5.0), "/inputs/0/normalisation/high"),
    (normalised(scheme=Scheme.RANGE, low=None), "/inputs/0/normalisation/low"),
    (
        lambda p: dataclasses.replace(
            p, inputs=(dataclasses.replace(p.inputs[0], then=(Normalisation(Scheme.RANGE),)),)
        ),
        "/inputs/0/then/0/low",
    ),
    (lambda p: changed(p, label_resampling=Resampling(Interpolation.SPLINE)), "/stages/0/label_resampling"),
    (
        lambda p: changed(p, tile=dataclasses.replace(p.stages[0].tile, smaller=((32, 32, 32),))),
        "/stages/0/tile/smaller",
    ),
    (lambda p: changed(p, dimensions=2), "/stages/0/tile"),
    (lambda p: changed(p, weights=p.stages[0].weights * 2), "occurs twice"),
    (lambda p: changed(p, weights=(Weights("0"),)), "/stages/0/weights"),
    (
        lambda p: changed(
            p, weights=(dataclasses.replace(p.stages[0].weights[0], int8=file_of(p.folder, "x")),)
        ),
        "int8_weights",
    ),
    (
        lambda p: changed(
            p,
            weights=(
                dataclasses.replace(
                    p.stages[0].weights[0], int8=file_of(p.folder, "x"), int8_weights=file_of(p.folder, "y")
                ),
            ),
        ),
        "/stages/0/weights/0/int8_weights/path",
    ),
    (
        lambda p: changed(p, weights=(Weights("0", onnx=file_of(p.folder, "x")),)),
        "/stages/0/weights/0/onnx/path",
    ),
    (
        lambda p: changed(
            p, weights=(dataclasses.replace(p.stages[0].weights[0], state_dict=file_of(p.folder, "x")),)
        ),
        "/stages/0/architecture",
    ),
    (
        lambda p: changed(
            p,
            weights=(*p.stages[0].weights, Weights("1", state_dict=file_of(p.folder, "x"))),
            architecture=Architecture("PlainConvUNet", {}),
        ),
        "/stages/0/weights",
    ),
]


@pytest.mark.parametrize(("change", "words"), INCONSISTENT)
def test_refuses_parts_that_contradict_one_another(tmp_path: Path, change: Change, words: str) -> None:
    made = package(tmp_path / "two_organs")
    for name in ("x", "y"):
        (made.folder / name).write_bytes(b"weights")
    with pytest.raises(PackageError, match="two_organs") as caught:
        write_package(change(made))
    assert caught.value.code == "MODEL_INCONSISTENT"
    assert words in caught.value.sentence


WRONG_CHANNELS: list[tuple[Change, str]] = [
    (lambda p: changed(p, channels_in=2), "/stages/0/channels_in"),
    (lambda p: changed(p, channels_out=4), "/stages/0/channel_labels"),
    (lambda p: changed(p, channel_labels=(0, 1, 3)), "/stages/0/channel_labels"),
    (lambda p: changed(p, channel_labels=(1, 0, 2)), "/stages/0/channel_labels"),
    (lambda p: changed(p, channel_labels=(0, 0, 2)), "/stages/0/channel_labels"),
    (lambda p: changed(p, channel_labels=(0,), channels_out=1), "/stages/0/channels_out"),
    (
        lambda p: dataclasses.replace(
            two_stages(p), stages=(p.stages[0], dataclasses.replace(two_stages(p).stages[1], channels_in=2))
        ),
        "/stages/1/channels_in",
    ),
]


@pytest.mark.parametrize(("change", "words"), WRONG_CHANNELS)
def test_refuses_channels_that_do_not_fit_inputs_and_labels(
    tmp_path: Path, change: Change, words: str
) -> None:
    with pytest.raises(PackageError, match="two_organs") as caught:
        write_package(change(package(tmp_path / "two_organs")))
    assert caught.value.code == "MODEL_CHANNELS_WRONG"
    assert words in caught.value.sentence


def test_independent_channels_need_no_background(tmp_path: Path) -> None:
    made = package(tmp_path / "two_organs")
    onnx.save(onnx_model(1, 2), str(made.folder / "two.onnx"))
    regions = changed(
        made,
        activation=Activation.SIGMOID,
        channels_out=2,
        channel_labels=(2, 1),
        weights=(Weights("all", onnx=file_of(made.folder, "two.onnx")),),
    )
    assert read_package(write_package(regions).folder).stages[0].channel_labels == (2, 1)


# ---- files ---------------------------------------------------------------------------------------


def test_refuses_a_package_whose_file_is_missing(folder: Path) -> None:
    (folder / "fold_0.onnx").unlink()
    assert refused(folder, verify=False).code == "MODEL_FILE_MISSING"


def test_refuses_a_file_of_another_size_without_reading_it(folder: Path) -> None:
    with (folder / "fold_0.onnx").open("ab") as file:
        file.write(b"\0")
    assert refused(folder, verify=False).code == "MODEL_FILE_CHANGED"


def test_refuses_one_changed_byte(folder: Path) -> None:
    path = folder / "fold_0.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert refused(folder).code == "MODEL_FILE_CHANGED"
    assert read_package(folder, verify=False).name == "two_organs"


def test_refuses_a_link_that_leaves_the_package(folder: Path, tmp_path: Path) -> None:
    (folder / "fold_0.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "fold_0.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert refused(folder, verify=False).code == "MODEL_FILE_UNSAFE"


def test_a_link_inside_the_package_is_a_file_of_it(folder: Path) -> None:
    (folder / "fold_0.onnx").rename(folder / "other.onnx")
    (folder / "fold_0.onnx").symlink_to("other.onnx")
    assert read_package(folder).name == "two_organs"


def test_refuses_what_is_no_regular_file(folder: Path) -> None:
    (folder / "fold_0.onnx").unlink()
    os.mkfifo(folder / "fold_0.onnx")
    assert refused(folder).code == "MODEL_FILE_UNSAFE"


def test_a_disk_that_fails_is_the_packages_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("operators.segmentation.package.read.sha256_of", fail)
    error = refused(folder)
    assert error.code == "MODEL_FILE_MISSING"
    assert "Input/output error" in error.sentence


def test_reading_through_a_link_to_the_package_is_the_same(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    assert read_package(tmp_path / "linked").digest == read_package(folder).digest


# ---- the guard -----------------------------------------------------------------------------------

GUARD = Guard(
    Calibration(0.8, -0.2, "five folds"),
    LesionCalibration(1.1, 0.4, 0.0, "five folds"),
    DiceCalibration(0.9, 0.05, 0.06, 38, "five folds"),
    (SeenRange(Feature.SPACING_Z, 2.0, 5.0, "mm", "38 patients"),),
)


def guarded(folder: Path, **changes: Any) -> Package:
    made = package(folder, task=Task.LESIONS, tracers=("fdg",), guard=GUARD)
    return dataclasses.replace(made, **changes)


def test_a_guard_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write_package(guarded(tmp_path / "two_organs"))
    assert read_package(written.folder).guard == GUARD
    assert write_package(dataclasses.replace(written, guard=None)).guard is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("voxel/slope", 0),
        ("voxel/slope", -1.0),
        ("voxel/offset", 1e9),
        ("voxel/offset", "0"),
        ("lesion/slope", -0.5),
        ("lesion/log_volume", None),
        ("dice/mean_absolute_error", 1.5),
        ("dice/patients", 0),
        ("dice/patients", 3.5),
        ("ranges/0/feature", "age"),
        ("ranges/0/low", 1e300),
        ("ranges/0/unit", "cm"),
        ("ranges", {}),
    ],
)
def test_refuses_a_guard_beyond_its_bounds(tmp_path: Path, place: str, value: Any) -> None:
    folder = write_package(guarded(tmp_path / "two_organs")).folder

    def change(content: Any) -> None:
        *way, last = ["guard", *place.split("/")]
        for part in way:
            content = content[int(part) if isinstance(content, list) else part]
        content[last] = value

    edit(folder, change)
    error = refused(folder)
    assert error.code == "MODEL_INVALID"
    assert "/guard" in error.sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: dataclasses.replace(p, task=Task.ORGANS, tracers=()), "no label of the package is"),
        (
            lambda p: dataclasses.replace(
                p, labels=tuple(dataclasses.replace(label, physiological=True) for label in p.labels)
            ),
            "no label of the package is",
        ),
        (lambda p: changed(p, activation=Activation.SIGMOID), "softmax"),
        (
            lambda p: dataclasses.replace(p, guard=dataclasses.replace(GUARD, ranges=GUARD.ranges * 2)),
            "occurs twice",
        ),
        (
            lambda p: dataclasses.replace(
                p,
                guard=dataclasses.replace(GUARD, ranges=(SeenRange(Feature.NOISE, 0.1, 0.3, "mm", ""),)),
            ),
            "noise is given in 1, not in mm",
        ),
        (
            lambda p: dataclasses.replace(
                p,
                guard=dataclasses.replace(GUARD, ranges=(SeenRange(Feature.NOISE, 0.4, 0.3, "1", ""),)),
            ),
            "/guard/ranges/0/high",
        ),
    ],
)
def test_refuses_a_guard_that_does_not_fit_its_package(tmp_path: Path, change: Change, words: str) -> None:
    with pytest.raises(PackageError) as caught:
        write_package(change(guarded(tmp_path / "two_organs")))
    assert caught.value.code == "MODEL_INCONSISTENT"
    assert words in caught.value.sentence


def test_every_feature_of_the_schema_has_its_unit() -> None:
    schema = json.loads(
        resources.files("operators.segmentation.package").joinpath("model.schema.json").read_text()
    )
    seen = schema["$defs"]["guard"]["properties"]["ranges"]["items"]["properties"]
    assert seen["feature"]["enum"] == list(Feature) == list(FEATURE_UNITS)
    assert set(seen["unit"]["enum"]) == set(FEATURE_UNITS.values())
