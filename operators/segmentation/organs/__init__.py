"""What an organ model is for: physiological uptake, the lesions' sites, reference regions.

``find`` runs the model, ``use`` says what follows; ``physiological`` (with ``fieldofview``), ``references``
and ``sites`` are the three uses, ``boxes`` what they share.
"""
