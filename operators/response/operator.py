"""The response step's operator."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from operators.relay import relay
from operators.response.respond import Practice, respond
from operators.trace import Trace


class RespondOperator(Operator):
    """Named input: ``quantified``. Named output: ``assessed``."""

    def __init__(
        self, fragment: Fragment, *args: Any, practice: Practice, trace: Trace, **kwargs: Any
    ) -> None:
        self._practice, self._trace = practice, trace
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("quantified")
        spec.output("assessed")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        quantified = op_input.receive("quantified")
        assessed = relay(self._trace, "respond", quantified, lambda q: respond(q, self._practice))
        op_output.emit(assessed, "assessed")
