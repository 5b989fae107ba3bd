"""The peer: the SDK's stock operators on one PET series, from folder to SEG, with a threshold for a model.

Run as ``python -m tests.benchmarks.stock_chain FOLDER OUT THRESHOLD``; prints one line of JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from app.run import prepare_holoscan
from operators.trace import peak_memory_mib

prepare_holoscan()

import numpy as np
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Image, Operator, OperatorSpec
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import (
    DICOMSegmentationWriterOperator,
    SegmentDescription,
)
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from pydicom.sr.codedict import codes

RULES = '{"selections": [{"name": "PET", "conditions": {"Modality": "PT"}}]}'


class ThresholdOperator(Operator):
    """Stands where the inference operator would."""

    def __init__(self, fragment: Any, *args: Any, threshold: float, **kwargs: Any) -> None:
        self._threshold = threshold
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("image")
        spec.output("seg_image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        image = op_input.receive("image")
        mask = (image.asnumpy() >= self._threshold).astype(np.uint8)
        op_output.emit(Image(mask, image.metadata()), "seg_image")


class StockApplication(Application):
    def __init__(self, folder: Path, output: Path, threshold: float) -> None:
        self._folder, self._out, self._threshold = folder, output, threshold
        super().__init__([sys.executable, "stock"])

    def compose(self) -> None:
        load = DICOMDataLoaderOperator(self, CountCondition(self, 1), input_folder=self._folder, name="load")
        select = DICOMSeriesSelectorOperator(self, rules=RULES, name="select")
        volume = DICOMSeriesToVolumeOperator(self, name="volume")
        threshold = ThresholdOperator(self, threshold=self._threshold, name="threshold")
        description = SegmentDescription(
            segment_label="uptake",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_name="threshold",
            algorithm_family=codes.DCM.ArtificialIntelligence,
            algorithm_version="1",
        )
        writer = DICOMSegmentationWriterOperator(
            self, segment_descriptions=[description], output_folder=self._out, name="seg"
        )
        series = "study_selected_series_list"
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, volume, {(series, series)})
        self.add_flow(select, writer, {(series, series)})
        self.add_flow(volume, threshold, {("image", "image")})
        self.add_flow(threshold, writer, {("seg_image", "seg_image")})


def main() -> None:
    folder, output, threshold = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    logging.disable(logging.INFO)
    imports_mib = peak_memory_mib()
    start = time.perf_counter()
    StockApplication(folder, output, threshold).run()
    wall_s = time.perf_counter() - start
    print(json.dumps({"wall_s": wall_s, "imports_mib": imports_mib, "peak_mib": peak_memory_mib()}))


if __name__ == "__main__":
    main()
