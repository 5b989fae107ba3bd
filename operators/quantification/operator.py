"""The quantification step's operator."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from operators.quantification.quantify import quantify
from operators.relay import relay
from operators.trace import Trace


class QuantifyOperator(Operator):
    """Named input: ``segmented``. Named output: ``quantified``."""

    def __init__(self, fragment: Fragment, *args: Any, trace: Trace, **kwargs: Any) -> None:
        self._trace = trace
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("segmented")
        spec.output("quantified")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        segmented = op_input.receive("segmented")
        op_output.emit(relay(self._trace, "quantify", segmented, quantify), "quantified")
