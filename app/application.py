"""The graph, in reading order."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from monai.deploy.core import Application

from operators.domain import Protocol, ResultProfile
from operators.quantification.operator import QuantifyOperator
from operators.response.operator import RespondOperator
from operators.response.respond import Practice
from operators.results.fhir import write_fhir
from operators.results.hl7 import write_hl7
from operators.results.key_images import write_key_images
from operators.results.operator import ManifestOperator, ResultOperator, Writer
from operators.results.parametric_map import write_parametric_map
from operators.results.pdf import write_pdf
from operators.results.picture_files import write_pictures
from operators.results.regions import write_regions
from operators.results.rtstruct import write_rtstruct
from operators.results.seg import write_seg
from operators.results.sr import write_srs
from operators.segmentation.operator import SegmentOperator
from operators.segmentation.site import SegmentationSite
from operators.study.operator import LoadOperator, SelectOperator
from operators.trace import Trace
from operators.volume.operator import VolumeOperator

WRITERS: Mapping[str, Writer] = {
    "seg": write_seg,
    "sr": write_srs,
    "regions": write_regions,
    "key_images": write_key_images,
    "rtstruct": write_rtstruct,
    "pdf": write_pdf,
    "parametric_map": write_parametric_map,
    "fhir": write_fhir,
    "hl7": write_hl7,
    "pictures": write_pictures,
}


class TheramapApplication(Application):
    """A PET/CT study folder in; DICOM SEG, structured report, pictures and results.json out.

    Parameters
    ----------
    input_path, output_path : Path
        Folders of the studies and of their results.
    protocols : mapping of str to Protocol
        The tracers' rules.
    profile : ResultProfile
        How results present themselves.
    versions : mapping of str to str
        What results.json says of the software.
    site : SegmentationSite
        The site's models and device.
    practice : Practice
        What the response step has to know of the site.
    method : str or None
        Segmentation method in place of the job's and the protocol's.
    writers : mapping of str to callable
        What can be written, by operator name: :data:`WRITERS` or some of them. Each writes what is wanted.
    trace : Trace
        Takes times and outcomes.
    """

    def __init__(
        self,
        *,
        input_path: Path,
        output_path: Path,
        protocols: Mapping[str, Protocol],
        profile: ResultProfile,
        versions: Mapping[str, str],
        site: SegmentationSite,
        practice: Practice,
        method: str | None,
        writers: Mapping[str, Writer],
        trace: Trace,
    ) -> None:
        self._input, self._output = input_path, output_path
        self._protocols, self._profile, self._versions = protocols, profile, versions
        self._site, self._method, self._trace = site, method, trace
        self._writers, self._practice = writers, practice
        # Our own command line is not Holoscan's to read.
        super().__init__([sys.executable, "theramap"])

    def compose(self) -> None:
        """Load ▸ select ▸ volume ▸ segment ▸ quantify ▸ respond ▸ (SEG, SR, pictures) ▸ results.json."""
        trace, profile = self._trace, self._profile
        load = LoadOperator(
            self,
            name="load",
            input_path=self._input,
            output_path=self._output,
            method=self._method,
            trace=trace,
        )
        select = SelectOperator(self, name="select", protocols=self._protocols, trace=trace)
        volume = VolumeOperator(self, name="volume", trace=trace)
        segment = SegmentOperator(self, name="segment", site=self._site, trace=trace)
        quantify = QuantifyOperator(self, name="quantify", trace=trace)
        respond = RespondOperator(self, name="respond", practice=self._practice, trace=trace)
        manifest = ManifestOperator(
            self,
            name="manifest",
            results=tuple(self._writers),
            profile=profile,
            versions=self._versions,
            device=self._site.device,
            trace=trace,
        )
        self.add_flow(load, select, {("case", "case")})
        self.add_flow(select, volume, {("selection", "selection")})
        self.add_flow(volume, segment, {("volumes", "volumes")})
        self.add_flow(segment, quantify, {("segmented", "segmented")})
        self.add_flow(quantify, respond, {("quantified", "quantified")})
        for name, writer in self._writers.items():
            result = ResultOperator(self, name=name, writer=writer, profile=profile, trace=trace)
            self.add_flow(respond, result, {("assessed", "assessed")})
            self.add_flow(result, manifest, {("files", name)})
        self.add_flow(respond, manifest, {("assessed", "assessed")})
