"""What is uncertain of a lesion."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from operators.domain import UncertainRegion
from operators.segmentation.physiological.uncertain import uncertain_of


def test_a_lesion_takes_the_reasons_of_the_regions_that_it_shares_voxels_with():
    def region(start, reason):
        box = (slice(start, start + 2),) * 3
        return UncertainRegion("bowel", box, np.ones((2, 2, 2), bool), reason)

    regions = (region(0, "One."), region(1, "Two."), region(6, "Far."))
    segmented = SimpleNamespace(uncertain=regions)
    lesion = SimpleNamespace(box=(slice(1, 3),) * 3, mask=np.ones((2, 2, 2), bool))
    assert uncertain_of(segmented, lesion) == "One. Two."
    lesion.mask[0, 0, 0] = False  # the only voxel shared with the first
    assert uncertain_of(segmented, lesion) == "Two."
    elsewhere = SimpleNamespace(box=(slice(4, 5),) * 3, mask=np.ones((1, 1, 1), bool))
    assert uncertain_of(segmented, elsewhere) is None
