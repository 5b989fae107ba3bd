"""What an organ model is for: physiological uptake, the lesions' sites, reference regions.

``find`` runs the model, ``use`` says what follows; ``physiological`` (with ``coverage`` and ``fieldofview``),
``references`` and ``sites`` are the three uses, ``boxes`` what they share.
"""
