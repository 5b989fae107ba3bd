"""Names of engines and precisions, apart from what computes: settings must not load torch."""

from __future__ import annotations

from enum import StrEnum


class EngineName(StrEnum):
    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    """ONNX Runtime's TensorRT provider: it builds its own engine for minutes, so only by name."""
    TORCH = "torch"


class Precision(StrEnum):
    AUTO = "auto"
    """Single on a CPU; half with single accumulation on a GPU; int8 where the package allows it and the
    engine is OpenVINO is taken only when asked for by name."""
    SINGLE = "single"
    HALF = "half"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
