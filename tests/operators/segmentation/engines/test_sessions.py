"""The three engines on the same packages: one another's numbers, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from operators.segmentation.engines import onnx_session
from operators.segmentation.engines.names import Precision
from operators.segmentation.engines.onnx_session import OnnxSession
from operators.segmentation.engines.openvino_session import OpenVinoSession
from operators.segmentation.engines.session import OutOfMemoryError, Session, UnavailableError
from operators.segmentation.engines.torch_session import TorchSession
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Package
from operators.segmentation.package.write import file_of
from tests.operators.segmentation.engines.build import KINDS, network, unet, with_stage

CPU = torch.device("cpu")
OPENERS: dict[str, Callable[[Package], Session]] = {
    "openvino": lambda p: OpenVinoSession(p, p.stages[0], p.stages[0].weights, Precision.SINGLE),
    "onnxruntime": lambda p: OnnxSession(p, p.stages[0], p.stages[0].weights, CPU),
    "torch": lambda p: TorchSession(p, p.stages[0], p.stages[0].weights, CPU, Precision.SINGLE),
}


def tiles(package: Package, count: int = 2, seed: int = 0) -> torch.Tensor:
    stage = package.stages[0]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, stage.channels_in, *stage.tile.size), generator=generator)


def expected(kind: str, given: torch.Tensor, channels_in: int = 1, seed: int = 0) -> torch.Tensor:
    """The network itself in double precision."""
    made = network(kind, channels_in, seed).double()
    with torch.no_grad():
        if KINDS[kind][1] == 2:
            return made(given.double().squeeze(2)).unsqueeze(2)
        return made(given.double())


def without(weights: str, package: Package) -> Package:
    stage = package.stages[0]
    return with_stage(package, weights=tuple(replace(w, **{weights: None}) for w in stage.weights))[0]


@pytest.mark.parametrize("engine", OPENERS)
@pytest.mark.parametrize("kind", KINDS)
def test_gives_the_network_s_own_numbers(engine: str, kind: str, tmp_path: Path) -> None:
    package = unet(tmp_path / "package", kind, channels_in=2)
    given = tiles(package)
    before = given.clone()

    logits = OPENERS[engine](package).run(0, given)

    wanted = expected(kind, given, channels_in=2)
    assert logits.dtype == torch.float32
    assert logits.is_contiguous()
    assert wanted.std() > 0.3
    assert float((logits - wanted).abs().max()) < 2e-5
    assert float((logits.softmax(1) - wanted.softmax(1)).abs().max()) < 1e-5
    assert torch.equal(given, before)


@pytest.mark.parametrize("engine", OPENERS)
def test_runs_each_fold_and_other_sizes(engine: str, tmp_path: Path) -> None:
    package = unet(tmp_path / "package", folds=("0", "3"))
    session = OPENERS[engine](package)
    given = tiles(package)
    smaller = given[:1, :, :8, :16, :8].contiguous()

    assert session.folds == 2
    for fold, batch in ((0, given), (1, given), (0, smaller), (1, given[:1])):
        difference = session.run(fold, batch) - expected("3d", batch, seed=fold)
        assert float(difference.abs().max()) < 2e-5


@pytest.mark.parametrize("engine", OPENERS)
def test_the_caller_may_write_into_the_logits(engine: str, tmp_path: Path) -> None:
    package = unet(tmp_path / "package", "2d")
    session = OPENERS[engine](package)
    first = session.run(0, tiles(package)).clone()

    session.run(0, tiles(package)).add_(1)

    assert torch.equal(session.run(0, tiles(package)), first)


@pytest.mark.parametrize(
    ("engine", "provider"),
    [("openvino", "CPU"), ("onnxruntime", "CPUExecutionProvider"), ("torch", "cpu")],
)
def test_facts_say_what_computes(engine: str, provider: str, tmp_path: Path) -> None:
    package = unet(tmp_path / "package", "2d")
    session = OPENERS[engine](package)
    session.run(0, tiles(package))

    facts = session.facts
    assert (facts.engine, facts.provider, facts.device, facts.precision) == (
        engine,
        provider,
        "cpu",
        "single",
    )
    assert facts.version[0].isdigit()


def test_openvino_keeps_working_after_a_rest(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    session = OpenVinoSession(package, package.stages[0], package.stages[0].weights, Precision.SINGLE)
    first = session.run(0, tiles(package)).clone()

    session.rest()

    assert torch.equal(session.run(0, tiles(package)), first)


def test_bfloat16_is_near_and_says_so(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    given = tiles(package, 1)
    for session in (
        OpenVinoSession(package, package.stages[0], package.stages[0].weights, Precision.BFLOAT16),
        TorchSession(package, package.stages[0], package.stages[0].weights, CPU, Precision.BFLOAT16),
    ):
        probability = session.run(0, given).softmax(1)
        assert float((probability - expected("3d", given).softmax(1)).abs().max()) < 0.05
        # OpenVINO falls back to single precision where the processor has no bfloat16, and says so
        assert session.facts.precision in {"bfloat16", "single"}


def test_int8_weights_are_openvino_s_own_files(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    stage = package.stages[0]
    with pytest.raises(UnavailableError, match="has no int8 weights of fold 0"):
        OpenVinoSession(package, stage, stage.weights, Precision.INT8)
    # not quantised: the way to the file is what is tested here
    openvino.save_model(
        openvino.convert_model(package.folder / "fold_0.onnx"),
        package.folder / "fold_0.int8.xml",
        compress_to_fp16=False,
    )
    files = {"int8": "fold_0.int8.xml", "int8_weights": "fold_0.int8.bin"}
    weights = replace(
        stage.weights[0], **{form: file_of(package.folder, name) for form, name in files.items()}
    )
    session = OpenVinoSession(package, stage, (weights,), Precision.INT8)
    given = tiles(package, 1)

    assert float((session.run(0, given) - expected("3d", given)).abs().max()) < 2e-5
    assert session.facts.precision == "int8"


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "form"), [("openvino", "onnx"), ("onnxruntime", "onnx"), ("torch", "pt")])
@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, None])
def test_refuses_corrupt_weights(engine: str, form: str, content: bytes | None, tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    path = package.folder / f"fold_0.{form}"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)

    with pytest.raises(UnavailableError, match=rf"cannot (read|load) fold_0\.{form}: ."):
        OPENERS[engine](package)


@pytest.mark.parametrize(
    ("engine", "form"), [("openvino", "onnx"), ("onnxruntime", "onnx"), ("torch", "state_dict")]
)
def test_refuses_a_package_without_its_form_of_weights(engine: str, form: str, tmp_path: Path) -> None:
    package = without(form, unet(tmp_path / "package"))

    with pytest.raises(UnavailableError, match=r"has no (ONNX file|torch weights) of fold 0"):
        OPENERS[engine](package)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("change", [{"channels_in": 2}, {"channels_out": 4}])
def test_refuses_wrong_channels(engine: str, change: dict[str, int], tmp_path: Path) -> None:
    package, _ = with_stage(unet(tmp_path / "package"), **change)

    with pytest.raises(PackageError, match=r"model\.json says [24]") as caught:
        OPENERS[engine](package)
    assert caught.value.code == "MODEL_CHANNELS_WRONG"


def test_torch_refuses_missing_keys_by_name(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    path = package.folder / "fold_0.pt"
    state = torch.load(path, weights_only=True)
    del state["encoder.stages.0.0.convs.0.conv.weight"]
    torch.save(state, path)

    with pytest.raises(UnavailableError, match=r"Missing key.*encoder\.stages\.0\.0\.convs\.0\.conv\.weight"):
        OPENERS["torch"](package)


def test_torch_refuses_wrong_channels(tmp_path: Path) -> None:
    package, _ = with_stage(unet(tmp_path / "package"), channels_in=2)

    with pytest.raises(UnavailableError, match="size mismatch"):
        OPENERS["torch"](package)


class Code:
    """Anything but a tensor."""


def test_torch_runs_no_code_from_a_file(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    torch.save({"weights": Code()}, package.folder / "fold_0.pt")

    with pytest.raises(UnavailableError, match="Weights only load failed"):
        OPENERS["torch"](package)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="ONNX Runtime with CUDA"
)
@pytest.mark.parametrize("provider", [onnx_session.CUDA, onnx_session.TENSORRT])
def test_onnxruntime_without_cuda_is_not_taken_for_it(provider: str, tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    stage = package.stages[0]

    with pytest.raises(UnavailableError, match=f"has no {provider}"):
        OnnxSession(package, stage, stage.weights, torch.device("cuda"), (provider, onnx_session.CPU))


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_silent_fall_back_of_onnxruntime_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as with a GPU build whose CUDA libraries cannot be loaded: the provider is offered and not used
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnx_session.CUDA, onnx_session.CPU])
    package = unet(tmp_path / "package")
    stage = package.stages[0]

    with pytest.raises(UnavailableError, match="would compute with CPUExecutionProvider in place of CUDA"):
        OnnxSession(package, stage, stage.weights, torch.device("cuda"))


def test_exhausted_memory_is_told_apart(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    session = OPENERS["torch"](package)
    huge = torch.zeros(1).expand(1, 1, 1 << 20, 1 << 16, 1 << 14)  # more than there are addresses

    with pytest.raises(OutOfMemoryError):
        session.run(0, huge)
    assert session.run(0, tiles(package)).shape == (2, 3, 16, 24, 24)


# ---- real images --------------------------------------------------------------------------------


@pytest.mark.data
def test_engines_agree_on_a_real_ct_tile(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    import nibabel

    path = unpacked("totalsegmentator_ct.tar.xz") / "tests/reference_files/example_ct.nii.gz"
    ct = np.asarray(nibabel.load(path).dataobj, np.float32).T
    sizes = [min(48, n - n % 4) for n in ct.shape]
    tile = ct[
        tuple(slice((n - size) // 2, (n - size) // 2 + size) for n, size in zip(ct.shape, sizes, strict=True))
    ]
    assert tile.std() > 50  # HU: not air alone
    given = torch.from_numpy((np.clip(tile, -1000, 1000) / 300).copy())[None, None]
    package = unet(tmp_path / "package")

    found = [opened(package).run(0, given).softmax(1).clone() for opened in OPENERS.values()]

    wanted = expected("3d", given).softmax(1)
    for probability in found:
        assert float((probability - wanted).abs().max()) < 1e-4
