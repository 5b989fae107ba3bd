"""What a person at a terminal sees: the steps as they run, and the report as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from operators.trace import Listener, Trace

STEPS = ("load", "select", "volume", "segment", "quantify", "respond", "seg", "sr", "pictures")


@contextmanager
def progress() -> Iterator[Listener]:
    """Show the running step on a terminal; say nothing anywhere else."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _step, _event: None
        return
    with console.status("starting") as status:

        def listen(step: str, event: str) -> None:
            if event == "started" and step in STEPS:
                status.update(f"{step}  ({STEPS.index(step) + 1} of {len(STEPS)})")

        yield listen


def print_results(output: Path, trace: Trace) -> None:
    """Print every study's results.json as a table and where its files lie."""
    console = Console()
    paths = [outcome.results_json for outcome in trace.outcomes] or [output / "results.json"]
    for path in paths:
        _print_study(console, path.parent, json.loads(path.read_text(encoding="utf-8")))


def _print_study(console: Console, folder: Path, results: dict[str, Any]) -> None:
    if results["status"] == "refused":
        reason = results["reason"]
        tag = f" [dim]{escape(reason['tag'])}[/dim]" if reason.get("tag") else ""
        console.print(f"[bold red]refused[/bold red] {reason['code']}: {escape(reason['sentence'])}{tag}")
    else:
        console.print(_lesion_table(results))
        console.print(f"[bold]{results['totals']['withheld'] or 'Tumour totals are in results.json.'}[/bold]")
        for follow_up in results["follow_ups"]:
            console.print(escape(_change(follow_up)))
        decided = [
            each for each in results["findings"] if each["category"] or not results["totals"]["withheld"]
        ]
        if decided:
            console.print(_finding_table(decided))
        if undecided := len(results["findings"]) - len(decided):
            console.print(
                f"{undecided} published rules are indeterminate: the regions are uptake, not lesions."
            )
        for sentence in dict.fromkeys(map(_prediction, results["predictions"])):
            console.print(escape(sentence))
        for note in results["notes"]:
            console.print(f"[yellow]{note['code']}[/yellow] {escape(note['sentence'])}")
    # Names of files may be names of patients, and a terminal's output ends in logs: codes and counts only.
    for code, count in sorted(Counter(entry["code"] for entry in results["set_aside"]).items()):
        console.print(f"[dim]set aside: {count} {code}, listed in results.json[/dim]")
    for file in results.get("files", []):
        console.print(f"{file['kind']:>8}  {escape(str(folder / file['path']))}", soft_wrap=True)
    console.print(f" results  {escape(str(folder / 'results.json'))}", soft_wrap=True)


def _lesion_table(results: dict[str, Any]) -> Table:
    segmentation = results["segmentation"]
    parameters = ", ".join(
        f"{p['name']} {p['value']:g} {p['unit']}".removesuffix(" 1") for p in segmentation["parameters"]
    )
    table = Table(
        title=escape(f"{results['protocol']['title']}: {segmentation['claim']}"),
        caption=escape(f"{segmentation['title']} ({parameters}). {results['statement']}"),
    )
    for heading in (
        "",
        "SUVmax g/ml",
        "SUVmean g/ml",
        "SUVpeak local g/ml",
        "volume ml",
        "TLG g",
        "diameter mm",
    ):
        table.add_column(heading, justify="right")
    has_sites = any(lesion["site"] for lesion in results["lesions"])
    if has_sites:
        table.add_column("site")
    for lesion in results["lesions"]:
        numbers = (
            lesion["suv_max_g_ml"],
            lesion["suv_mean_g_ml"],
            lesion["suv_peak_local_g_ml"],
            lesion["volume_ml"],
            lesion["tlg_g"],
            lesion["longest_diameter_mm"],
        )
        site = [escape(_site(lesion["site"]))] if has_sites else []
        table.add_row(lesion["tracking_identifier"], *(f"{number:.2f}" for number in numbers), *site)
    return table


def _finding_table(findings: list[dict[str, Any]]) -> Table:
    """What rules say of the study; of a rule of lesions, how many have which category."""
    table = Table(title="By published rules (grounds and sources: results.json)")
    for heading in ("rule", "says", "because"):
        table.add_column(heading)
    for finding in findings:
        if finding["lesion"] is None:
            said = finding["category"] or "indeterminate"
            table.add_row(*map(escape, (finding["title"], said, finding["reason"])))
    of_lesions: dict[str, Counter[str]] = {}
    for finding in findings:
        if finding["lesion"] is not None:
            of_lesions.setdefault(finding["title"], Counter())[finding["category"] or "indeterminate"] += 1
    for title, counts in of_lesions.items():
        said = ", ".join(f"{count} x {category}" for category, count in sorted(counts.items()))
        table.add_row(*map(escape, (title, said, "lesion by lesion")))
    return table


def _change(follow_up: dict[str, Any]) -> str:
    fates = Counter(each["fate"] for each in follow_up["correspondences"])
    lesions = ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())) or "no lesion compared"
    taken = "accepted" if follow_up["registration"]["accepted"] else "rejected"
    days = "" if follow_up["days"] is None else f" {follow_up['days']:.0f} days before"
    return f"prior{days}: registration {taken}; {lesions}. {follow_up['registration']['reason']}"


def _prediction(prediction: dict[str, Any]) -> str:
    if prediction["value"] is None:
        return f"{prediction['title']}: withheld. {prediction['withheld']}"
    kind = prediction["kind"].replace("_", " ")
    return f"{prediction['title']}: {kind} {prediction['value']:.3g} ({prediction['outcome']})"


def _site(site: dict[str, Any] | None) -> str:
    if site is None:
        return ""
    return site["name"] if site["overlap"] else f"{site['distance_mm']:.0f} mm from {site['name']}"
