"""The choice of an engine: what is preferred, what is said when it fails, what is kept."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from operators.errors import SegmentationRefusal
from operators.segmentation import devices
from operators.segmentation.engines import choose
from operators.segmentation.engines.choose import Candidate, close_sessions, open_session, rest_sessions
from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.engines.session import (
    DeviceLostError,
    EngineError,
    Facts,
    OutOfMemoryError,
    UnavailableError,
)
from operators.segmentation.engines.trial import small_tile
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package, Stage, Tile, Weights
from tests.operators.segmentation.engines.build import unet, with_stage
from tests.operators.segmentation.package import build

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    close_sessions()


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return replace(build.package(tmp_path / "package"), digest="one")


@dataclass
class Fake:
    """A session that gives zeros, or what it is told to."""

    candidate: Candidate
    stage: Stage
    answer: float | Exception = 0.0
    smallest: int = 1
    rested: int = 0
    closed: bool = False
    device: torch.device = CPU
    folds: int = 1
    sizes: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def facts(self) -> Facts:
        return Facts(self.candidate.engine, "1", "fake", self.candidate.device, self.candidate.precision)

    def run(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
        size = tuple(tiles.shape[2:])
        self.sizes.append(size)
        if min(size) < self.smallest:
            message = "sizes of tensors must match"
            raise EngineError(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return torch.full((tiles.shape[0], self.stage.channels_out, *size), self.answer)

    def rest(self) -> None:
        self.rested += 1

    def close(self) -> None:
        self.closed = True


class Engines:
    """Takes the place of the engines' opener and the GPU's driver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[tuple[str, str], float | Exception] = {}
        self.broken: dict[tuple[str, str], EngineError] = {}
        self.opened: list[Fake] = []
        self.smallest = 1
        monkeypatch.setattr(choose._sessions(), "opener", self.open)
        self.monkeypatch = monkeypatch
        self.gpu(False)

    def gpu(self, there: bool) -> None:
        obstacle = None if there else "the NVIDIA driver offers no device"
        self.monkeypatch.setattr(devices, "cuda_obstacle", lambda: obstacle)

    def open(
        self, package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate
    ) -> Fake:
        where = (candidate.engine, candidate.device)
        if where in self.broken:
            raise self.broken[where]
        made = Fake(candidate, stage, self.answers.get(where, 0.0), self.smallest)
        self.opened.append(made)
        return made


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


def chosen(package: Package, options: Options | None = None, **more: frozenset[str]) -> tuple[str, str, str]:
    session, _ = open_session(package, package.stages[0], options or Options(), **more)
    return session.facts.engine, session.facts.device, session.facts.precision


def refusal(package: Package, options: Options) -> SegmentationRefusal:
    with pytest.raises(SegmentationRefusal) as caught:
        open_session(package, package.stages[0], options)
    return caught.value


# ---- what is preferred --------------------------------------------------------------------------


def test_openvino_computes_on_a_cpu(package: Package, engines: Engines) -> None:
    assert chosen(package) == ("openvino", "cpu", "single")
    assert open_session(package, package.stages[0], Options())[1] == ()


def test_torch_computes_on_a_gpu_in_half_precision(package: Package, engines: Engines) -> None:
    engines.gpu(True)

    assert chosen(package) == ("torch", "cuda", "half")
    assert chosen(package, Options(precision=Precision.SINGLE)) == ("torch", "cuda", "single")
    assert chosen(package, Options(device="cpu")) == ("openvino", "cpu", "single")


def test_tensorrt_is_taken_by_name_only_and_the_cpu_when_its_gpu_is_lost(
    package: Package, engines: Engines
) -> None:
    options = Options(engine=EngineName.TENSORRT)
    assert refusal(package, replace(options, device="cpu")).code == "ENGINE_UNAVAILABLE"
    engines.gpu(True)

    assert chosen(package, options) == ("tensorrt", "cuda", "half")
    assert chosen(package, replace(options, precision=Precision.SINGLE)) == ("tensorrt", "cuda", "single")
    assert chosen(package, options, without=frozenset({"cuda"})) == ("openvino", "cpu", "single")


def test_each_failure_is_a_note_in_plain_words(package: Package, engines: Engines) -> None:
    engines.gpu(True)
    engines.broken["torch", "cuda"] = UnavailableError(
        "the package has no torch weights of fold 0, only ONNX"
    )
    engines.answers["onnxruntime", "cuda"] = OutOfMemoryError("2 GB")
    engines.broken["openvino", "cpu"] = UnavailableError("OpenVINO cannot read fold_0.onnx: x")

    session, notes = open_session(package, package.stages[0], Options())

    assert (session.facts.engine, session.facts.device) == ("onnxruntime", "cpu")
    assert {note.code for note in notes} == {"ENGINE_NOT_USED"}
    assert [note.sentence for note in notes] == [
        "PyTorch on the GPU was not used: the package has no torch weights of fold 0, only ONNX.",
        "ONNX Runtime on the GPU was not used: its memory does not suffice (2 GB).",
        "OpenVINO on the CPU was not used: OpenVINO cannot read fold_0.onnx: x.",
    ]


def test_half_precision_that_overflows_is_replaced_by_single(package: Package, engines: Engines) -> None:
    engines.gpu(True)
    opener = engines.open

    def overflowing(
        package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate
    ) -> Fake:
        made = opener(package, stage, weights, candidate)
        made.answer = float("inf") if candidate.precision is Precision.HALF else 0.0
        return made

    engines.monkeypatch.setattr(choose._sessions(), "opener", overflowing)

    assert chosen(package) == ("torch", "cuda", "single")


def test_an_engine_by_name_is_taken_or_refused(package: Package, engines: Engines) -> None:
    assert chosen(package, Options(engine=EngineName.TORCH)) == ("torch", "cpu", "single")
    engines.broken["onnxruntime", "cpu"] = UnavailableError("ONNX Runtime is not installed: x")

    error = refusal(package, Options(engine=EngineName.ONNXRUNTIME))

    assert error.code == "ENGINE_UNAVAILABLE"
    assert "ONNX Runtime on the CPU: ONNX Runtime is not installed: x." in error.sentence


def test_openvino_by_name_computes_on_the_cpu_of_a_machine_with_a_gpu(
    package: Package, engines: Engines
) -> None:
    engines.gpu(True)

    assert chosen(package, Options(engine=EngineName.OPENVINO)) == ("openvino", "cpu", "single")
    error = refusal(package, Options(engine=EngineName.OPENVINO, device="cuda"))
    assert (error.code, "OpenVINO does not compute on the GPU" in error.sentence) == (
        "ENGINE_UNAVAILABLE",
        True,
    )


def test_a_gpu_by_name_is_never_replaced_before_the_study(package: Package, engines: Engines) -> None:
    assert refusal(package, Options(device="cuda")).code == "DEVICE_UNAVAILABLE"
    engines.gpu(True)
    for engine in ("torch", "onnxruntime"):
        engines.broken[engine, "cuda"] = DeviceLostError("CUDA error")

    assert refusal(package, Options(device="cuda")).code == "ENGINE_UNAVAILABLE"


def test_a_gpu_that_vanished_is_replaced_even_when_asked_for_by_name(
    package: Package, engines: Engines
) -> None:
    engines.gpu(True)
    options = Options(device="cuda", precision=Precision.HALF)
    assert chosen(package, options) == ("torch", "cuda", "half")

    assert chosen(package, options, without=frozenset({"cuda"})) == ("openvino", "cpu", "single")

    assert engines.opened[0].closed


def test_a_gpu_that_fails_in_the_trial_is_passed_over(package: Package, engines: Engines) -> None:
    engines.gpu(True)
    for engine in ("torch", "onnxruntime"):
        # torch's own: raised where a result is used, not where it was queued
        engines.answers[engine, "cuda"] = torch.AcceleratorError("CUDA error: unspecified launch failure")

    session, notes = open_session(package, package.stages[0], Options())

    assert session.facts.device == "cpu"
    assert all("the device failed (CUDA error" in note.sentence for note in notes)


def test_what_a_failed_engine_had_loaded_is_gone_when_the_next_is_opened(
    package: Package, engines: Engines
) -> None:
    engines.gpu(True)
    opener, loaded = engines.open, []

    def short(package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate) -> Fake:
        assert not any(part() for part in loaded)
        if candidate.device == "cuda":
            network = torch.nn.Linear(1, 1)
            loaded.append(weakref.ref(network))
            try:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            except RuntimeError as error:
                raise OutOfMemoryError("CUDA out of memory.") from error
        return opener(package, stage, weights, candidate)

    chosen(package, Options(device="cpu"))
    engines.monkeypatch.setattr(choose._sessions(), "opener", short)

    assert chosen(replace(package, digest="two")) == ("openvino", "cpu", "single")
    assert len(loaded) == 4, "each of three, the first once more after the others were closed"


# ---- precision and folds ------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "words"), [(None, "was not measured"), (0.0051, "is 0.0051")])
def test_int8_is_refused_where_it_loses(
    package: Package, engines: Engines, loss: float | None, words: str
) -> None:
    error = refusal(replace(package, int8_dice_loss=loss), Options(precision=Precision.INT8))

    assert error.code == "PRECISION_UNAVAILABLE"
    assert words in error.sentence


def test_int8_runs_only_by_name_and_only_in_openvino(package: Package, engines: Engines) -> None:
    measured = replace(package, int8_dice_loss=0.005)
    engines.gpu(True)

    assert chosen(measured) == ("torch", "cuda", "half")
    assert chosen(measured, Options(precision=Precision.INT8)) == ("openvino", "cpu", "int8")
    error = refusal(measured, Options(precision=Precision.INT8, engine=EngineName.TORCH))
    assert error.code == "PRECISION_UNAVAILABLE"
    assert "PyTorch on the GPU or PyTorch on the CPU" in error.sentence


def test_bfloat16_only_where_the_processor_has_it(
    package: Package, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(precision=Precision.BFLOAT16)
    monkeypatch.setattr(choose, "has_bfloat16", lambda: True)
    assert chosen(package, options) == ("openvino", "cpu", "bfloat16")
    monkeypatch.setattr(choose, "has_bfloat16", lambda: False)

    assert refusal(package, options).code == "PRECISION_UNAVAILABLE"


def test_half_precision_only_on_a_gpu(package: Package, engines: Engines) -> None:
    error = refusal(package, Options(precision=Precision.HALF))

    assert error.code == "PRECISION_UNAVAILABLE"
    assert "precision half was asked for, which OpenVINO on the CPU" in error.sentence


@pytest.mark.parametrize("folds", [("7",), ()])
def test_refuses_folds_that_are_not_there(package: Package, engines: Engines, folds: tuple[str, ...]) -> None:
    assert refusal(package, Options(folds=folds)).code == "FOLD_UNKNOWN"


# ---- the trial ----------------------------------------------------------------------------------


def test_a_network_that_gives_no_numbers_is_refused(package: Package, engines: Engines) -> None:
    for engine in ("openvino", "onnxruntime", "torch"):
        engines.answers[engine, "cpu"] = float("nan")

    error = refusal(package, Options())

    assert error.code == "MODEL_OUTPUT_NOT_FINITE"
    assert all(fake.closed for fake in engines.opened)


def test_a_network_that_takes_whole_tiles_only_is_tried_with_one(package: Package, engines: Engines) -> None:
    engines.smallest = 16

    chosen(package)

    assert engines.opened[0].sizes == [small_tile(package.stages[0]), (16, 32, 32)]


def test_wrong_classes_are_the_package_s_fault(package: Package, engines: Engines) -> None:
    opener = engines.open

    def wrong(package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate) -> Fake:
        return replace(opener(package, stage, weights, candidate), stage=replace(stage, channels_out=5))

    engines.monkeypatch.setattr(choose._sessions(), "opener", wrong)

    error = refusal(package, Options())

    assert error.code == "MODEL_CHANNELS_WRONG"
    assert "gives 5 classes, but model.json says 3" in error.sentence


def test_exhausted_host_memory_is_left_to_the_caller(package: Package, engines: Engines) -> None:
    for engine in ("openvino", "onnxruntime", "torch"):
        engines.answers[engine, "cpu"] = OutOfMemoryError("bad_alloc")

    with pytest.raises(OutOfMemoryError):
        open_session(package, package.stages[0], Options())


@pytest.mark.parametrize(
    ("tile", "small"),
    [
        ((128, 128, 128), (64, 64, 64)),
        ((96, 160, 112), (32, 64, 32)),
        ((28, 256, 224), (8, 128, 64)),
        ((5, 7, 2), (2, 2, 2)),
    ],
)
def test_small_tiles_are_multiples_of_every_stride(
    package: Package, tile: tuple[int, int, int], small: tuple[int, int, int]
) -> None:
    _, stage = with_stage(package, tile=Tile(tile))

    assert small_tile(stage) == small


# ---- what is kept -------------------------------------------------------------------------------


def test_a_session_serves_the_next_study(package: Package, engines: Engines) -> None:
    first, _ = open_session(package, package.stages[0], Options())
    second, _ = open_session(package, package.stages[0], Options(step=0.7, mirroring=True))

    assert first is second
    assert len(engines.opened) == 1
    assert len(engines.opened[0].sizes) == 1  # tried out once


def test_the_session_used_longest_ago_is_closed(package: Package, engines: Engines) -> None:
    packages = [replace(package, digest=str(n)) for n in range(5)]
    for one in packages[:4]:
        chosen(one)
    chosen(packages[0])

    chosen(packages[4])

    assert [fake.closed for fake in engines.opened] == [False, True, False, False, False]
    chosen(packages[1])
    assert len(engines.opened) == 6


def test_the_others_rest_while_one_computes(package: Package, engines: Engines) -> None:
    chosen(package)
    chosen(replace(package, digest="two"))

    assert [fake.rested for fake in engines.opened] == [1, 0]
    rest_sessions()
    assert [fake.rested for fake in engines.opened] == [2, 1]


def test_the_others_are_closed_where_memory_is_short(package: Package, engines: Engines) -> None:
    chosen(package)
    opener = engines.open

    def short(package: Package, stage: Stage, weights: tuple[Weights, ...], candidate: Candidate) -> Fake:
        if not engines.opened[0].closed:
            raise OutOfMemoryError("bad_alloc")
        return opener(package, stage, weights, candidate)

    engines.monkeypatch.setattr(choose._sessions(), "opener", short)

    assert chosen(replace(package, digest="two")) == ("openvino", "cpu", "single")
    assert engines.opened[0].closed


def test_precision_and_folds_open_sessions_of_their_own(package: Package, engines: Engines) -> None:
    chosen(package)
    chosen(package, Options(folds=("0",)))
    chosen(replace(package, int8_dice_loss=0.0), Options(precision=Precision.INT8))

    assert len(engines.opened) == 2


# ---- the engines themselves ---------------------------------------------------------------------


def test_a_real_package_falls_back_from_engine_to_engine(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    stage = package.stages[0]
    options = Options(device="cpu")
    assert chosen(package, options) == ("openvino", "cpu", "single")
    (package.folder / "fold_0.onnx").write_bytes(b"damaged")
    close_sessions()

    session, notes = open_session(package, stage, options)

    assert session.facts.engine == "torch"
    assert [note.sentence.split(" was not used")[0] for note in notes] == [
        "OpenVINO on the CPU",
        "ONNX Runtime on the CPU",
    ]
    (package.folder / "fold_0.pt").write_bytes(b"damaged")
    close_sessions()
    error = refusal(package, options)
    assert error.code == "ENGINE_UNAVAILABLE"
    assert "fold_0.onnx" in error.sentence
    assert "fold_0.pt" in error.sentence


def test_damaged_weights_are_refused_as_not_finite(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    path = package.folder / "fold_0.pt"
    state = torch.load(path, weights_only=True)
    state["encoder.stages.0.0.convs.0.conv.weight"].fill_(float("nan"))
    torch.save(state, path)

    error = refusal(package, Options(device="cpu", engine=EngineName.TORCH))

    assert error.code == "MODEL_OUTPUT_NOT_FINITE"
