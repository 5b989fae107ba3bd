"""The packages of a folder: each in a folder of its own name."""

from __future__ import annotations

from pathlib import Path

from operators.errors import SegmentationRefusal
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.form import MODEL_FILE, NAME
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Package


def packages_in(folder: Path) -> tuple[Package | PackageError, ...]:
    """Read the ``model.json`` of every package of a folder, in the order of their names.

    Parameters
    ----------
    folder : Path
        Holds a folder for each package. Hidden folders, folders without ``model.json`` (training code, say)
        and files are passed over; an absent folder holds none.

    Returns
    -------
    tuple of Package or PackageError
        A package that cannot be used is its error, and hides none of the others. Weights are not read.

    Raises
    ------
    SegmentationRefusal
        ``MODELS_UNREADABLE``: the folder cannot be listed.
    """
    try:
        if not folder.is_dir():
            return ()
        folders = sorted(each for each in folder.iterdir() if _is_package(each))
    except OSError as error:
        raise SegmentationRefusal(
            "MODELS_UNREADABLE", f"The folder of model packages {folder} cannot be read ({error.strerror})."
        ) from error
    return tuple(_package_or_error(each) for each in folders)


def find_package(folder: Path, name: str, *, verify: bool = True) -> Package:
    """Read the package of a name.

    Raises
    ------
    PackageError
        ``MODEL_MISSING`` with the names that there are, or what :func:`read_package` finds.
    SegmentationRefusal
        ``MODELS_UNREADABLE``: the folder cannot be listed.
    """
    if not NAME.fullmatch(name) or not (folder / name).is_dir():
        there = ", ".join(_name(each) for each in packages_in(folder)) or "none"
        raise PackageError(name, "MODEL_MISSING", f"it is not in {folder}; packages there: {there}.")
    return _of_its_name(folder / name, verify)


def _is_package(folder: Path) -> bool:
    """Whether a folder means to be a package: it has a ``model.json``, be it one that cannot be read."""
    if not folder.is_dir() or folder.name.startswith("."):
        return False
    try:
        (folder / MODEL_FILE).lstat()
    except FileNotFoundError:
        return False
    except OSError:  # whoever reads it will say what is wrong
        return True
    return True


def _package_or_error(folder: Path) -> Package | PackageError:
    try:
        return _of_its_name(folder, verify=False)
    except PackageError as error:
        return error


def _of_its_name(folder: Path, verify: bool) -> Package:
    package = read_package(folder, verify=verify)
    if package.name != folder.name:
        fault = f"it lies in the folder {folder.name}; the folder must have the package's name"
        raise PackageError(package.name, "MODEL_INCONSISTENT", f"{fault}.")
    return package


def _name(each: Package | PackageError) -> str:
    return each.name if isinstance(each, Package) else each.package
