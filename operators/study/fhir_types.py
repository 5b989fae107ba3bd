"""What is read of FHIR resources (R4 and R5), as types that check it.

Elements that are not named here are passed over; those that are have limits of their own. Names are FHIR's,
with underscores; where R4 and R5 name one thing differently it has one name here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Text = Annotated[str, Field(max_length=1024)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Part(BaseModel):
    """A part of a resource."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, alias_generator=to_camel)


class Coding(Part):
    system: Text | None = None
    code: Text | None = None
    display: Text | None = None


class Concept(Part):
    """A CodeableConcept."""

    coding: list[Coding] = Field(default=[], max_length=64)
    text: Text | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """Its text and the displays of its codes."""
        found = (self.text, *(coding.display for coding in self.coding))
        return tuple(words for words in found if words)


class Reference(Part):
    reference: Text | None = None
    display: Text | None = None


class CodeableReference(Part):
    """Of R5."""

    concept: Concept = Concept()
    reference: Reference = Reference()


class Identifier(Part):
    value: Text | None = None


class Quantity(Part):
    value: Number | None = None
    comparator: Text | None = None
    unit: Text | None = None
    system: Text | None = None
    code: Text | None = None


class Period(Part):
    start: Text | None = None


class Resource(Part):
    """What every resource may have."""

    id: Text | None = None
    modifier_extension: list[object] = Field(default=[], max_length=64)
    implicit_rules: Text | None = None

    @property
    def has_rules_of_its_own(self) -> bool:
        """Whether it may mean something else than it seems to (FHIR, Extensibility, modifierExtension)."""
        return bool(self.modifier_extension or self.implicit_rules)


class Patient(Resource):
    identifier: list[Identifier] = Field(default=[], max_length=256)
    birth_date: Text | None = None
    gender: Text | None = None


class OfPatient(Resource):
    """A resource about a patient."""

    subject: Reference | None = None


class Event(OfPatient):
    """A resource about something that was done at a time."""

    status: Text
    date_time: Text | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "effectiveDateTime",
            "effectiveInstant",
            "performedDateTime",
            "occurrenceDateTime",
            "occurenceDateTime",  # R5 spells it so for medications
        ),
    )
    period: Period = Field(
        default=Period(),
        validation_alias=AliasChoices(
            "effectivePeriod", "performedPeriod", "occurrencePeriod", "occurencePeriod"
        ),
    )


class Stage(Part):
    summary: Concept = Concept()
    type: Concept = Concept()


class Condition(OfPatient):
    code: Concept = Concept()
    clinical_status: Concept = Concept()
    verification_status: Concept = Concept()
    stage: list[Stage] = Field(default=[], max_length=64)


class Observation(Event):
    code: Concept = Concept()
    value_quantity: Quantity | None = None
    value_integer: int | None = Field(default=None, ge=0, le=10**6)


class Dosage(Part):
    dose: Quantity | None = None


class MedicationAdministration(Event):
    medication_codeable_concept: Concept = Concept()
    medication_reference: Reference = Reference()
    medication: CodeableReference = CodeableReference()
    dosage: Dosage = Dosage()

    @property
    def code(self) -> Concept:
        """What was given, in words too where only a reference names it."""
        named = (self.medication_codeable_concept, self.medication.concept)
        shown = (self.medication_reference.display, self.medication.reference.display)
        text = next((words for words in shown if words), None)
        return next((concept for concept in named if concept.words), Concept(text=text))


class Procedure(Event):
    code: Concept = Concept()
    category: Concept | list[Concept] = []
    """One in R4, a list in R5."""
