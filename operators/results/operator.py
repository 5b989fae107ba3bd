"""The results' operators: one for each kind of object, and the manifest that closes the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from operators.domain import Assessed, ResultFile, ResultProfile, RunFacts
from operators.errors import Refused
from operators.relay import relay
from operators.results.manifest import write_results
from operators.trace import Outcome, Trace, peak_memory_mib

Writer = Callable[[Assessed, ResultProfile, Path], tuple[ResultFile, ...]]
"""Writes one kind of result into a folder."""


class ResultOperator(Operator):
    """Writes one kind of result: SEG, SR or pictures.

    Named input: ``assessed``. Named output: ``files``, a tuple of :class:`~operators.domain.ResultFile`.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        writer: Writer,
        profile: ResultProfile,
        trace: Trace,
        **kwargs: Any,
    ) -> None:
        self._writer, self._profile, self._trace = writer, profile, trace
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("assessed")
        spec.output("files")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        assessed = op_input.receive("assessed")
        files = relay(
            self._trace,
            self.name,
            assessed,
            lambda each: self._writer(each, self._profile, each.quantified.selection.case.output),
        )
        op_output.emit(files, "files")


class ManifestOperator(Operator):
    """Writes ``results.json`` last, so that its presence says that the study is done.

    Named inputs: ``assessed`` and one port for each result operator.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        results: tuple[str, ...],
        profile: ResultProfile,
        versions: Mapping[str, str],
        device: str,
        trace: Trace,
        **kwargs: Any,
    ) -> None:
        self._results, self._profile, self._trace = results, profile, trace
        self._versions, self._device = versions, device
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("assessed")
        for name in self._results:
            spec.input(name)

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        outcome: Assessed | Refused = op_input.receive("assessed")
        files: list[ResultFile] = []
        for name in self._results:
            written = op_input.receive(name)
            if isinstance(written, Refused):
                outcome = written
            else:
                files += written
        case = outcome.case if isinstance(outcome, Refused) else outcome.quantified.selection.case
        if isinstance(outcome, Refused):
            _discard(files)
            files = []
        device = (
            self._device if isinstance(outcome, Refused) else outcome.quantified.segmented.algorithm.device
        )
        facts = RunFacts(self._versions, device, self._trace.timings_s(case.output), peak_memory_mib())
        path = write_results(outcome, tuple(files), facts, self._profile, case.output)
        self._trace.finish(Outcome("refused" if isinstance(outcome, Refused) else "completed", path))


def _discard(files: list[ResultFile]) -> None:
    """Remove what was written before a later result was refused: a refused study leaves no DICOM."""
    for file in files:
        file.path.unlink(missing_ok=True)
