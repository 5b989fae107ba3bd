"""How operators hand over: records, refusals and times."""

from __future__ import annotations

from pathlib import Path

from operators.domain import Case, Job, SeriesDecision, Study
from operators.errors import Refused, SelectionRefusal
from operators.relay import relay
from operators.trace import Outcome, Trace


def a_case(folder: Path) -> Case:
    return Case(Study("1.2.3", "patient", ()), Job(), (), folder)


def test_a_refusal_becomes_a_record_that_keeps_what_was_decided(tmp_path: Path) -> None:
    line = SeriesDecision("1.2", "CT", "scout", 1, None, "SCOUT", "is a scout")

    def refuse(case: Case) -> Case:
        raise SelectionRefusal("NO_PET", "There is no PET.", None, (line,))

    trace = Trace()
    refused = relay(trace, "select", a_case(tmp_path), refuse)
    assert isinstance(refused, Refused)
    assert refused.refusal.code == "NO_PET"
    assert refused.decisions == (line,)
    assert set(trace.timings_s(tmp_path)) == {"select"}


def test_a_refused_study_passes_through_untouched(tmp_path: Path) -> None:
    refused = Refused(a_case(tmp_path), SelectionRefusal("NO_PET", "There is no PET."))
    trace = Trace()
    assert relay(trace, "volume", refused, lambda _: None) is refused  # type: ignore[arg-type, return-value]
    assert trace.timings_s(tmp_path) == {}


def test_the_trace_tells_its_listener_and_keeps_studies_apart(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []
    trace = Trace(lambda step, event: heard.append((step, event)))
    with trace.step("load") as folders:
        folders += [tmp_path / "a", tmp_path / "b"]
    with trace.step("select", tmp_path / "a"):
        pass
    trace.finish(Outcome("completed", tmp_path / "a" / "results.json"))
    assert heard == [
        ("load", "started"),
        ("load", "ended"),
        ("select", "started"),
        ("select", "ended"),
        ("a", "completed"),
    ]
    assert set(trace.timings_s(tmp_path / "a")) == {"load", "select"}
    assert set(trace.timings_s(tmp_path / "b")) == {"load"}
    assert trace.peaks_mib["select"] > 10
