"""Where physiological uptake lies: by an organ package, by a lesion package's second output, or by rules.

``sources`` asks them in this order; ``types`` is what each of them answers; ``network`` and ``rules`` are two
of them, ``frame`` and ``basins`` what the rules look at; ``uncertain`` says what stayed in
doubt of a lesion. The removal itself is ``organs.physiological``.
"""
