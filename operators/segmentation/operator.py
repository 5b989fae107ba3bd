"""The segmentation step's operator."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from operators.relay import relay
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite
from operators.trace import Trace


class SegmentOperator(Operator):
    """Named input: ``volumes``. Named output: ``segmented``."""

    def __init__(
        self, fragment: Fragment, *args: Any, site: SegmentationSite, trace: Trace, **kwargs: Any
    ) -> None:
        self._site, self._trace = site, trace
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("volumes")
        spec.output("segmented")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        volumes = op_input.receive("volumes")
        segmented = relay(self._trace, "segment", volumes, lambda v: segment(v, self._site))
        op_output.emit(segmented, "segmented")
