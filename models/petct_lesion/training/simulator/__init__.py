"""A domain-randomised simulator of whole-body PET/CT: bodies, tracers, lesions and scanners of every kind."""

from models.petct_lesion.training.simulator.body import simulate_body
from models.petct_lesion.training.simulator.types import Body, Label, Tumour

__all__ = ["Body", "Label", "Tumour", "simulate_body"]
