"""What was tried and seen on the way to the recipe, for the record: measured on two cores of a processor.

Dice of single folds and of patients that a network was trained on are no figures of the package.
"""

from __future__ import annotations

REMARKS = (
    "Weights of the loss: while lesions of patients counted by their diameter, as simulated ones do, "
    "contours lay a voxel too far out: 692 ml for 366, 899 for 585, 1216 for 726 and 401 for 169 in "
    "four patients. With voxels that weigh alike, 813 ml for 821, 172 for 200, 37 for 61 and 321 for "
    "337 in four others.",
    "Fold 0 of the five is a hard one. 1200 steps on patients alone, weakly augmented, gave a mean Dice"
    " of 0.702 in its eight patients and 0.779 in seven patients of fold 1, whom that network had been "
    "trained on; fully augmented 0.701 and 0.756. Outlines from MR lie beside the mass that PET and CT "
    "show in some patients (seen in STS_005, STS_011 and STS_022); how much of the gap that explains was "
    "not measured.",
    "A control on fold 0, a plain residual U-Net of 16 to 128 channels at 4 mm with instance norm, from "
    "nothing, weakly augmented, 1200 steps of two patches of 64 voxels a side: 0.731, no patient below 0.5 "
    "(0.793 in the seven it had seen). Packed to 8 mm: 0.699 (0.737) in less than half the time; with the "
    "full augmentation and fading tumours 0.628 (0.603), which is too much for so few steps.",
    "At inference, with an earlier network on fold 0 (Dice 0.696): mirrored as well 0.694; holes filled"
    " 0.696; closed by 12 mm 0.697; probability from 0.3 on 0.690; the largest region alone 0.709, "
    "which is not done, for a patient may have several lesions.",
)
