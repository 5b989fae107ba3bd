"""What the page calls numbers, the same in each of its parts."""

from __future__ import annotations

from operators.domain import Claim, Quantified
from operators.results.language import Phrases


def uptake_label(quantified: Quantified, said: Phrases) -> str:
    """What SUVmean times volume is called: only the uptake of FDG by lesions is their glycolysis."""
    is_fdg = quantified.selection.tracer.protocol == "fdg"
    is_lesion = quantified.segmented.claim is Claim.LESION
    return said.text("label_tlg" if is_fdg and is_lesion else "label_total_uptake")
