"""Organs by rules, from CT and PET or PET alone: where reference regions lie without an organ model.

``find`` is the entry. Everything happens on one grid along the patient's axes (``grid``, ``scene``); each
organ has a module; ``evidence`` turns what was found into a confidence and a doubt. The liver comes first:
without it nothing else is looked for.
"""
