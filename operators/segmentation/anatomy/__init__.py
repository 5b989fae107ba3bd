"""Organs by rules, from CT and PET or PET alone: what reference regions lie in where a site has no organ model.

``find`` is the entry. Everything happens on one grid along the patient's axes (``grid``, ``scene``); each organ
has a module; ``evidence`` turns what was found into a confidence and a doubt. The liver comes first: without it
nothing else is looked for.
"""
