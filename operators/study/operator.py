"""The first two rooms of the graph: load and select."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.deploy.conditions import BooleanCondition
from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from operators.domain import Case, Protocol
from operators.errors import InputRefusal, Refused
from operators.relay import relay
from operators.study.load import load_cases
from operators.study.select import select
from operators.trace import Trace


class LoadOperator(Operator):
    """Emits the studies of the input folder one by one.

    Named output: ``case``, a :class:`~operators.domain.Case` or :class:`~operators.domain.Refused`.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        input_path: Path,
        output_path: Path,
        method: str | None,
        trace: Trace,
        **kwargs: Any,
    ) -> None:
        self._input, self._output, self._trace = input_path, output_path, trace
        self._method = method
        self._waiting: list[Case | Refused] | None = None
        self._more = BooleanCondition(fragment, name="more_studies", enable_tick=True)
        super().__init__(fragment, self._more, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.output("case")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        if self._waiting is None:
            self._waiting = self._load()
        if self._waiting:
            op_output.emit(self._waiting.pop(0), "case")
        if not self._waiting:
            self._more.disable_tick()

    def _load(self) -> list[Case | Refused]:
        with self._trace.step("load") as folders:
            try:
                cases = load_cases(self._input, self._output, self._method)
            except InputRefusal as refusal:
                # No study to carry the refusal through the graph: the runner writes it.
                self._trace.input_refusal = refusal
                return []
            folders += [case.output if isinstance(case, Case) else case.case.output for case in cases]
        return list(cases)


class SelectOperator(Operator):
    """Named input: ``case``. Named output: ``selection``."""

    def __init__(
        self, fragment: Fragment, *args: Any, protocols: Mapping[str, Protocol], trace: Trace, **kwargs: Any
    ) -> None:
        self._protocols, self._trace = protocols, trace
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("case")
        spec.output("selection")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        case = op_input.receive("case")
        op_output.emit(relay(self._trace, "select", case, lambda c: select(c, self._protocols)), "selection")
