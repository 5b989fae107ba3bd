"""The volume step's operator."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from operators.relay import relay
from operators.trace import Trace
from operators.volume.build import build_volumes


class VolumeOperator(Operator):
    """Named input: ``selection``. Named output: ``volumes``."""

    def __init__(self, fragment: Fragment, *args: Any, trace: Trace, **kwargs: Any) -> None:
        self._trace = trace
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("selection")
        spec.output("volumes")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        selection = op_input.receive("selection")
        op_output.emit(relay(self._trace, "volume", selection, build_volumes), "volumes")
