"""What the network sees and says: inputs, labels, grid. Training, folds and the package all read it here."""

from __future__ import annotations

from pathlib import Path

from models.petct_lesion.training.simulator.types import VOXEL_MM
from models.petct_lesion.training.simulator.types import Label as Class
from models.petct_lesion.training.simulator.uptake import TRACERS
from operators.domain import Code
from operators.segmentation.package.types import (
    Activation,
    Crop,
    Input,
    Interpolation,
    Label,
    Layout,
    Modality,
    Normalisation,
    Order,
    Origin,
    Package,
    Resampled,
    Resampling,
    Scheme,
    Stage,
    Task,
    Tile,
    Weighting,
    Weights,
)

NAME = "petct_lesion"
SPACING_MM = VOXEL_MM
TILE = (96, 96, 96)
"""Near the patches of the training: what is normalised is normalised over a tile."""
LESION = int(Class.LESION)


def _organ(value: Class, name: str, code: str, meaning: str) -> Label:
    return Label(int(value), name, Code(code, "SCT", meaning), physiological=True)


LABELS = (
    Label(LESION, "lesion", Code("52988006", "SCT", "Lesion")),
    _organ(Class.BRAIN, "brain", "12738006", "Brain"),
    _organ(Class.HEAD_NECK, "head and neck glands and mucosa", "69536005", "Head"),
    _organ(Class.HEART, "heart and blood pool", "80891009", "Heart"),
    _organ(Class.LIVER, "liver", "10200004", "Liver"),
    _organ(Class.SPLEEN, "spleen", "78961009", "Spleen"),
    _organ(Class.KIDNEY, "kidneys", "64033007", "Kidney"),
    _organ(Class.URINARY, "urinary tract", "122489005", "Urinary system"),
    _organ(Class.GUT, "gastrointestinal tract", "122865005", "Gastrointestinal tract"),
    Label(int(Class.OTHER), "other physiological uptake", None, physiological=True),
)

PET = Input("PET", Modality.PET, "g/ml{SUVbw}", Normalisation(Scheme.LOG1P))
# what lies beyond an image and what is not there are zero, so air is zero too
CT = Input(
    "CT",
    Modality.CT,
    "[hnsf'U]",
    Normalisation(Scheme.RANGE, low=-1000.0, high=1000.0, to_low=0.0, to_high=2.0, clip=True),
    optional=True,
)
LINEAR = Resampling(Interpolation.LINEAR)


def stage_of(weights: tuple[Weights, ...]) -> Stage:
    """The one stage of the package."""
    return Stage(
        name="lesion_4mm",
        dimensions=3,
        channels_in=2,
        channels_out=1 + len(LABELS),
        orientation="LPS",
        transpose=(0, 1, 2),
        spacing_mm=(SPACING_MM, SPACING_MM, SPACING_MM),
        crop=Crop.NONE,
        image_resampling=LINEAR,
        output_resampling=LINEAR,
        resampled=Resampled.LOGITS,
        tile=Tile(TILE, step=0.5, layout=Layout.EVEN, weighting=Weighting.NNUNET_GAUSSIAN),
        mirror_axes=(2,),
        activation=Activation.SOFTMAX,
        channel_labels=tuple(range(1 + len(LABELS))),
        weights=weights,
        order=Order.RESAMPLE_FIRST,
    )


def draft(folder: Path, weights: tuple[Weights, ...] = (Weights("all"),)) -> Package:
    """The package without its papers: enough to prepare images as the engine will."""
    return Package(
        folder=folder,
        name=NAME,
        version="1.0.0",
        title="Lesions and physiological uptake on PET/CT",
        task=Task.LESIONS,
        description="",
        licence="",
        training_data="",
        citation="",
        tracers=("fdg",),
        simulated_tracers=TRACERS[1:],
        inputs=(PET, CT),
        grid=Modality.PET,
        labels=LABELS,
        stages=(stage_of(weights),),
        quality=(),
        int8_dice_loss=None,
        origin=Origin("theramap", "0" * 64, "theramap"),
        digest="",
    )
