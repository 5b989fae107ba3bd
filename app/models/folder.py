"""Where this site's model packages lie."""

from __future__ import annotations

import os
from pathlib import Path

import app
from app.settings import Models

VARIABLE = "HOLOSCAN_MODEL_PATH"
"""Names the MAP's folder of models."""

SHIPPED = Path(app.__file__).resolve().parent.parent / "models"
"""The folder that a checkout and the MAP hold beside the program; an installed wheel has none."""


def models_folder(settings: Models, of_map: Path | None = None) -> Path | None:
    """Return the folder of model packages; never one that the working directory happens to hold.

    Parameters
    ----------
    settings : Models
        Their folder wins.
    of_map : Path, optional
        The MAP's folder (``-m``); by default that of ``HOLOSCAN_MODEL_PATH``.

    Returns
    -------
    Path or None
        What the settings or the MAP name need not be there. Else the folder beside the program, when it holds
        a package; else None.
    """
    if settings.folder is not None:
        return settings.folder
    named = of_map or os.environ.get(VARIABLE)
    if named:
        return Path(named)
    return SHIPPED if any(SHIPPED.glob("*/model.json")) else None
