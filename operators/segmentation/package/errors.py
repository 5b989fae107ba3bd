"""Refusal of a model package: it always names the package."""

from __future__ import annotations

from operators.errors import SegmentationRefusal


class PackageError(SegmentationRefusal):
    """A model package cannot be used.

    Parameters
    ----------
    package : str
        Name of the package, or of its folder where the name itself cannot be read.
    code : str
        ``MODEL_MISSING``, ``MODEL_INVALID`` (its ``model.json`` is no JSON or not of the schema),
        ``MODEL_INCONSISTENT`` (parts of it contradict one another), ``MODEL_FILE_MISSING``,
        ``MODEL_FILE_UNSAFE``, ``MODEL_FILE_CHANGED`` (size or SHA-256), ``MODEL_CHANNELS_WRONG``,
        ``MODEL_ONNX_REFUSED``, ``MODEL_WEIGHTS_WRONG`` (a state dictionary that is none of its network).
    sentence : str
        What is wrong and what to do; the package's name is put before it.
    """

    def __init__(self, package: str, code: str, sentence: str) -> None:
        # names of folders and of files come from others: nothing in them may move a terminal's cursor
        words = "".join(letter if letter.isprintable() else "?" for letter in f"{package}: {sentence}")
        super().__init__(code, f"Model package {words}")
        self.package = package
