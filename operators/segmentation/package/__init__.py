"""Model packages: what a model is, as data. ``types`` says what it holds, ``read`` checks one at the door."""
