"""Prognosis and response prediction: models as data, what they are told, and what they say.

``types`` says what a model holds, ``read`` checks one at the door, ``predict`` asks it. A model is never
asked outside the population that it was made for.
"""
