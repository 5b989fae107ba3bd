"""From a mask to numbers: the lesions that it is made of, their uptake and extent, and their totals.

Read in this order: ``quantify``, ``lesions``, then what these use: ``intensity``, ``peak`` and ``extent`` of
a lesion; ``backgrounds`` and ``heterogeneity`` of its uptake; ``totals`` and ``sites`` of them all;
``scales``, the SUVs beside SUVbw.
"""
