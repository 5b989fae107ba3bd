"""Fit outcome models to a table of patients, judge them honestly, and write them as packages.

``table`` reads what is given, ``fit`` and ``validate`` are the protocol, ``card`` and ``figures`` tell of it,
``train`` puts it together. Needs the extra ``train`` (scikit-learn, matplotlib); predictions do not.
"""
