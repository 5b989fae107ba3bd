"""What was tried and seen on the way to the recipe, for the record: measured on two cores of a processor.

Dice of single folds and of patients that a network was trained on are no figures of the package.
"""

from __future__ import annotations

REMARKS = (
    "Weights of the loss: while lesions of patients counted by their diameter, as simulated ones do, "
    "contours lay a voxel too far out: 692 ml for 366, 899 for 585, 1216 for 726 and 401 for 169 in four "
    "patients. With voxels that weigh alike, 813 ml for 821, 172 for 200, 37 for 61 and 321 for 337 in "
    "four others.",
    "Fold 0 of the five is a hard one. 1200 steps on patients alone, weakly augmented, gave a mean Dice "
    "of 0.702 in its eight patients and 0.779 in seven patients of fold 1, whom that network had been "
    "trained on; fully augmented 0.701 and 0.756. Outlines from MR lie beside the mass that PET and CT "
    "show in some patients (seen in STS_005, STS_011 and STS_022); how much of the gap that explains was "
    "not measured.",
    "A control on fold 0, a plain residual U-Net of 16 to 128 channels at 4 mm with instance norm, from "
    "nothing, weakly augmented, 1200 steps of two patches of 64 voxels a side: 0.732 on the cropped "
    "images as they are, no patient below 0.5 (0.793 in the seven it had seen). But in the five whose "
    "tumours stay whole when 32 mm more are cut from each side, 0.687 for 0.774: it had learnt that a "
    "tumour lies 5 cm from the border of these images. The recipe cuts borders at random. Packed to 8 mm "
    "0.699 (0.737) in less than half the time; with the full augmentation and fading tumours 0.628 "
    "(0.603), too much for so few steps.",
    "Size of the tile, for what is normalised is normalised over a tile. Fold 0: 0.663 with tiles of 128 "
    "voxels a side, 0.673 with 96, 0.685 with 96 x 64 x 64, the size of the training's patches. Six "
    "simulated bodies: physiological uptake called lesion 271 ml with 128, 98 ml with 96, 87 ml with 96 x "
    "64 x 64; lesions of at least 1 ml found 66, 65 and 61 of 75. Hence 96.",
    "A U-Net (packed, 32 to 128 channels, instance norm, weakly augmented, patches of 64, borders cut, "
    "tumours faded) on top of the networks that simulated bodies have taught, which were kept as they "
    "were. Adding to their bounded logits, 1500 steps of two: 0.677 on fold 0 (0.631 padded to 128), 0.18 "
    "in the tumour of least uptake, to which these networks give a probability of 0.05. Deciding alone, "
    "with their probabilities as inputs, 1900 steps of one: 0.676 with tiles of 64, but 1 to 4 litres of "
    "physiological uptake called lesion in each of four simulated bodies, and so no more of it.",
    "Lesion, background and organs in one softmax, the U-Net's logit being against background alone, "
    "beside organs of the network that simulated bodies have taught: 0.54 on fold 2 and 232 ml "
    "elsewhere in the real whole body after 1200 steps, for that network takes 3 to 77 % of the "
    "tumours' voxels for organs. With the organs of the tuned network and 400 more steps, tiles of 64: "
    "0.702 on fold 0 and 0.694 on fold 2 (what ships: 0.674 and 0.696), whole body 0.713 and 145 ml "
    "(0.672 and 102 ml), F1 in 16 simulated bodies 0.65 (0.68). What ships, with tiles of 64: 0.694 and "
    "0.702, but 209 ml in the whole body.",
    "Weights between those before the tuning and those after it: all the way 0.734 over the folds and 102 "
    "ml called lesion elsewhere in the real whole body; 0.7 of the way 0.718 and 49 ml, half of it 0.676 "
    "and 25 ml. All the way is what ships. In five simulated bodies of FDG the F1 is 0.79 before the "
    "tuning and 0.76 after it: most false lesions there are not the tuning's.",
    "At inference, with an earlier network on fold 0 (Dice 0.696): mirrored as well 0.694; holes filled "
    "0.696; closed by 12 mm 0.697; probability from 0.3 on 0.690; the largest region alone 0.709, which "
    "is not done, for a patient may have several lesions.",
    "Small regions, of the shipped weights in 16 simulated bodies of FDG and PSMA: up to 0.26 ml 15 of 96 "
    "touch a lesion, to 0.5 ml 5 of 19, to 1 ml 13 of 29, to 2 ml 22 of 34, beyond 65 of 107. So "
    "theramap's protocol for FDG leaves out what is below 0.25 ml; the figures of this card leave out "
    "nothing.",
)
