"""The volume step: geometry, pixels and SUV of the selected series, from headers to quantities.

A PET becomes a :class:`~operators.domain.Volume` of SUVbw, a CT one of Hounsfield units. Each refusal
has a code of its own; what is only doubtful becomes a note in the report.
"""
