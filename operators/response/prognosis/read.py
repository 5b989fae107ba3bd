"""Outcome models at the door: ``outcome.json`` against schema and itself, its files against their digests.

What comes in was written by others. Nothing in it is executed or imported, and whatever the schema does not
know is refused.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from jsonschema import Draft202012Validator

from operators.response.prognosis.check import check_consistent
from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.form import OUTCOME_FILE, model_of
from operators.response.prognosis.network import check_network
from operators.response.prognosis.types import File, OutcomeModel
from operators.segmentation.package.read import sha256_of
from operators.strict_json import JsonFaultError, pointer_of, read_json

SIZE_LIMIT_BYTES = 2**20


def models_in(folder: Path) -> tuple[OutcomeModel | OutcomeModelError, ...]:
    """Read every outcome model of a folder, in the order of their names.

    Parameters
    ----------
    folder : Path
        Holds a folder for each model. Hidden folders and those without ``outcome.json`` (segmentation
        packages, say) are passed over; an absent folder holds none.

    Returns
    -------
    tuple of OutcomeModel or OutcomeModelError
        A model that cannot be used is its error, and hides none of the others.
    """
    if not folder.is_dir():
        return ()
    found = sorted(
        each for each in folder.iterdir() if not each.name.startswith(".") and (each / OUTCOME_FILE).is_file()
    )
    return tuple(_model_or_error(each) for each in found)


def read_model(folder: Path) -> OutcomeModel:
    """Read a model; every file of it is read to compare its SHA-256, and a network is looked into.

    Parameters
    ----------
    folder : Path
        The model's own folder, which has its name.

    Raises
    ------
    OutcomeModelError
        For a fault of ``outcome.json``, with the JSON pointer (RFC 6901) of it.
    """
    try:
        return _read(folder)
    except OSError as error:
        fault = f"a file of it cannot be read ({error.strerror})."
        raise OutcomeModelError(folder.name, "OUTCOME_MODEL_FILE", fault) from error


def _read(folder: Path) -> OutcomeModel:
    path = folder / OUTCOME_FILE
    if not path.is_file():
        fault = f"there is no file {OUTCOME_FILE} in {folder}."
        raise OutcomeModelError(folder.name, "OUTCOME_MODEL_MISSING", fault)
    try:
        content = read_json(path, SIZE_LIMIT_BYTES)
    except JsonFaultError as error:
        raise _invalid(folder, f"{OUTCOME_FILE} cannot be used: {error}") from error
    first = next(iter(_validator().iter_errors(content)), None)
    if first is not None:
        pointer = pointer_of(first) or "the whole"
        raise _invalid(folder, f"{pointer} of {OUTCOME_FILE}: {first.message[:200]}")
    model = model_of(content, folder)
    if model.name != folder.name:
        fault = f"it lies in the folder {folder.name}; the folder must have the model's name."
        raise OutcomeModelError(model.name, "OUTCOME_MODEL_INCONSISTENT", fault)
    check_consistent(model)
    for file in model.files:
        _check_file(model, file)
    if model.network is not None:
        _check_file(model, model.network.file)
        check_network(model, model.network)
    return model


def _model_or_error(folder: Path) -> OutcomeModel | OutcomeModelError:
    try:
        return read_model(folder)
    except OutcomeModelError as error:
        return error


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(files(__package__).joinpath("outcome.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def _invalid(folder: Path, fault: str) -> OutcomeModelError:
    return OutcomeModelError(folder.name, "OUTCOME_MODEL_INVALID", f"{fault}.")


def _check_file(model: OutcomeModel, file: File) -> None:
    path = model.folder / file.path
    if not path.is_file() or not path.resolve().is_relative_to(model.folder.resolve()):
        fault = f"its file {file.path} is not there, or is no regular file inside the model's folder"
    elif path.stat().st_size != file.size or sha256_of(path) != file.sha256:
        fault = f"{file.path} is not the file that belongs to it: its size or SHA-256 differs"
    else:
        return
    raise OutcomeModelError(model.name, "OUTCOME_MODEL_FILE", f"{fault}.")
