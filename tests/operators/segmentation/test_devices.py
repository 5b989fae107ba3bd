"""Which device computes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from operators.errors import SegmentationRefusal
from operators.segmentation.devices import cuda_obstacle, driver_devices, resolve_device


def test_cpu_is_cpu():
    assert resolve_device("cpu") == "cpu"


def test_auto_takes_cuda_only_where_it_works():
    assert resolve_device("auto") == ("cuda" if cuda_obstacle() is None else "cpu")


@pytest.mark.skipif(cuda_obstacle() is None, reason="CUDA works here")
def test_cuda_that_does_not_work_is_refused_with_the_reason():
    with pytest.raises(SegmentationRefusal) as caught:
        resolve_device("cuda")
    assert caught.value.code == "DEVICE_UNAVAILABLE"
    assert cuda_obstacle() in caught.value.sentence


@pytest.mark.parametrize("name", ["", "gpu", "CUDA", "cuda:0"])
def test_other_names_are_refused(name):
    with pytest.raises(SegmentationRefusal) as caught:
        resolve_device(name)
    assert caught.value.code == "DEVICE_UNKNOWN"


@pytest.mark.skipif(driver_devices() > 0, reason="there is an NVIDIA device")
def test_auto_without_a_driver_does_not_import_torch():
    code = (
        "import sys; from operators.segmentation.devices import resolve_device; "
        "assert resolve_device('auto') == 'cpu'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
