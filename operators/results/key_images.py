"""Key images as DICOM: the rotating projection, each lesion, what else to see, and their list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import (
    Assessed,
    BurnedIn,
    Claim,
    Destination,
    Language,
    ResultFile,
    ResultKind,
    ResultProfile,
)
from operators.results import lesion_frames, mip_frames
from operators.results.captions import Words, words_of
from operators.results.forms import file_name, forms
from operators.results.head import ResultInstance, head
from operators.results.identity import Identity, identify
from operators.results.key_objects import KEY_OBJECT_CLASS_UID, KeyImage, write_key_objects
from operators.results.language import phrases
from operators.results.pictures import HU_WINDOW, SUV_WINDOW
from operators.results.secondary_capture import (
    COLOUR_CLASS_UID,
    GREY_CLASS_UID,
    Capture,
    pet_sources,
    write_capture,
)
from operators.results.summary_frames import summary_frames

MIP: Final = Code("113078", "DCM", "Maximum intensity projection")
REFORMATTED: Final = Code("113072", "DCM", "Multiplanar reformatting")

_PLACES: Final = {"mip": 1, "lesions": 2, "summary": 3, "key-objects": 4, "grey": 11}
"""Of the form that most want; see :meth:`~operators.domain.ResultProfile.series_number`. A series each."""

_TITLES: Final = {
    "mip": "Rotating MIP",
    "summary": "References, removed, course",
    "grey": "MIP in grey",
    "key-objects": "Key images",
}
_OTHER_PLACES: Final = 96
"""From here on the series of other forms are numbered."""


@dataclass(frozen=True, slots=True)
class Form:
    """What of a destination changes the bytes of key images."""

    language: Language
    burned_in: BurnedIn

    @property
    def name(self) -> str:
        """Of files; empty for the form that most want."""
        if (self.language, self.burned_in) == (Language.ENGLISH, BurnedIn.NONE):
            return ""
        return f"{self.language}-{self.burned_in}"

    @property
    def place(self) -> int:
        return tuple(Language).index(self.language) * len(BurnedIn) + tuple(BurnedIn).index(self.burned_in)


def form_of(destination: Destination) -> Form:
    """The form of key images that a destination gets."""
    return Form(destination.language, destination.burned_in)


def write_key_images(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the key images of each language and degree of identity that the job's destinations want.

    Parameters
    ----------
    assessed : Assessed
        The PET with its lesions, the CT if there is one, and what was measured before.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write. Of each form: ``key-images-mip.dcm``, the rotating projection;
        ``key-images-grey.dcm``, two still ones for stations without colour; ``key-images-lesions.dcm``, a
        frame for each lesion, where there are any; ``key-images-summary.dcm``, reference regions, removed
        uptake and the course over all studies, where there is any of these; ``key-objects.dcm``, the Key
        Object Selection that names them. Where there are several forms, all but the first (English, nothing
        of the patient) have theirs in the file's name.

    Returns
    -------
    tuple of ResultFile
        The projection first, the selection last; ``destination`` names the receivers.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    destinations = assessed.quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.KEY_IMAGES, profile, form_of)
    if not wanted:
        return ()
    identity = identify(assessed, profile)
    projections = mip_frames.project(assessed.quantified, identity.names)
    files: list[ResultFile] = []
    for form, receivers in wanted.items():
        maker = _Maker(assessed, profile, identity, form, len(wanted), projections, receivers, folder)
        files += maker.write()
    return tuple(files)


@dataclass(frozen=True, slots=True)
class _Maker:
    """One form of the key images in the making."""

    assessed: Assessed
    profile: ResultProfile
    identity: Identity
    form: Form
    forms: int
    projections: mip_frames.Projections
    receivers: str
    folder: Path

    def write(self) -> Iterator[ResultFile]:
        images = []
        for what, sop_class_uid in (
            ("mip", COLOUR_CLASS_UID),
            ("grey", GREY_CLASS_UID),
            ("lesions", COLOUR_CLASS_UID),
            ("summary", COLOUR_CLASS_UID),
        ):
            dataset = self._head(what, sop_class_uid, "OT")
            words = words_of(dataset, self.form.language, self.form.burned_in)
            capture = self._capture(what, words)
            if capture is not None:
                yield write_capture(self._path(f"key-images-{what}"), dataset, capture, self.receivers)
                uids = str(dataset.SeriesInstanceUID), sop_class_uid, str(dataset.SOPInstanceUID)
                images.append(KeyImage(*uids))
        yield write_key_objects(
            self._path("key-objects"),
            self._head("key-objects", KEY_OBJECT_CLASS_UID, "KO"),
            self.assessed.quantified,
            self.profile,
            images,
            phrases(self.form.language).text("research_only"),
            phrases(self.form.language).code,
            self.receivers,
        )

    def _head(self, what: str, sop_class_uid: str, modality: str) -> Dataset:
        role = f"key_images/{what}" if not self.form.name else f"key_images/{what}/{self.form.name}"
        place = _PLACES[what]
        if self.form.name:
            place = _OTHER_PLACES + self.form.place * len(_PLACES) + list(_PLACES).index(what)
        number = self.profile.series_number(place)
        instance = ResultInstance(sop_class_uid, modality, role, number, self._title(what))
        return head(self.assessed.quantified, self.profile, self.identity, instance)

    def _title(self, what: str) -> str:
        """Of the series: of lesions only where they may be called so, and of a CT only with one."""
        if what != "lesions":
            return _TITLES[what]
        segmented = self.assessed.quantified.segmented
        scans = "PET" if segmented.volumes.ct is None else "PET/CT"
        return f"{scans} of each {'lesion' if segmented.claim is Claim.LESION else 'region'}"

    def _path(self, stem: str) -> Path:
        return self.folder / file_name(stem, ".dcm", self.form.name, self.forms)

    def _capture(self, what: str, words: Words) -> Capture | None:
        """The frames with what they are; None where there is nothing to show."""
        return {"mip": self._mip, "grey": self._grey, "lesions": self._lesions, "summary": self._summary}[
            what
        ](words)

    def _mip(self, words: Words) -> Capture:
        return Capture(
            frames=mip_frames.colour_frames(self.projections, words),
            angles=mip_frames.ANGLES,
            sources=[pet_sources(self.assessed.quantified)],
            description="Maximum intensity projections of the PET about the head-foot axis, every 10 degrees "
            f"from the front to the patient's left. SUVbw 0 to {SUV_WINDOW:g} g/ml, white to black.",
            derivation=MIP,
            burned_in=bool(words.identity),
        )

    def _grey(self, words: Words) -> Capture:
        return Capture(
            frames=mip_frames.grey_frames(self.projections, words),
            angles=mip_frames.STILL_ANGLES,
            sources=[pet_sources(self.assessed.quantified)],
            description="Maximum intensity projections of the PET from the front and the patient's left. "
            f"SUVbw 0 to {SUV_WINDOW:g} g/ml, white to black.",
            derivation=MIP,
            burned_in=bool(words.identity),
        )

    def _lesions(self, words: Words) -> Capture | None:
        quantified = self.assessed.quantified
        shown = lesion_frames.shown_lesions(quantified)
        if not shown:
            return None
        low, high = HU_WINDOW
        fused = quantified.segmented.volumes.ct is not None
        on_ct = f" over the CT, {low:g} to {high:g} HU" if fused else ""
        return Capture(
            frames=tuple(
                lesion_frames.lesion_frames(quantified, self.identity.names, self.projections, words)
            ),
            labels=[self.identity.names[lesion.number].identifier for lesion in shown],
            sources=lesion_frames.lesion_sources(quantified),
            description="Axial slices through the hottest voxel of "
            f"{len(shown)} of {len(quantified.lesions)} regions, the hottest first: PET, "
            f"SUVbw 0 to {SUV_WINDOW:g} g/ml{on_ct}.",
            derivation=REFORMATTED,
            burned_in=bool(words.identity),
        )

    def _summary(self, words: Words) -> Capture | None:
        shown = summary_frames(self.assessed, words)
        if not shown:
            return None
        return Capture(
            frames=[frame for _, frame in shown],
            labels=[label for label, _ in shown],
            sources=[pet_sources(self.assessed.quantified)],
            description="Reference regions in slices of the PET, removed physiological uptake in its maximum "
            "intensity projections, and the course over all studies, where there are any of these.",
            burned_in=bool(words.identity),
        )
