"""Whether the parts of an outcome model agree with one another, beyond what a schema can say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, pairwise

import numpy as np

from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.features import FEATURES
from operators.response.prognosis.form import CARD_FILE, OUTCOME_FILE
from operators.response.prognosis.types import Form, Input, Kind, Network, OutcomeModel, Term, TermShape

KINDS = {
    Form.LOGISTIC: {Kind.PROBABILITY, Kind.LINEAR_PREDICTOR},
    Form.COX: {Kind.PROBABILITY, Kind.HAZARD_RATIO, Kind.LINEAR_PREDICTOR},
    Form.LINEAR: {Kind.HAZARD_RATIO, Kind.LINEAR_PREDICTOR},
    Form.ONNX: {Kind.PROBABILITY, Kind.LINEAR_PREDICTOR},
}
"""What each form can say."""

MOST_VOXELS = 2**22
"""Of a patch."""

Faults = Iterator[tuple[str, str]]


def check_consistent(model: OutcomeModel) -> None:
    """Check that a model's parts agree.

    Raises
    ------
    OutcomeModelError
        ``OUTCOME_MODEL_INCONSISTENT``, with the JSON pointer (RFC 6901) of the first contradiction.
    """
    parts = (_outputs(model), _inputs(model), _form(model), _terms(model), _files(model))
    for pointer, fault in chain(*parts):
        sentence = f"{pointer} of {OUTCOME_FILE}: {fault}."
        raise OutcomeModelError(model.name, "OUTCOME_MODEL_INCONSISTENT", sentence)


def _outputs(model: OutcomeModel) -> Faults:
    times = {point.years for point in model.baseline}
    for index, output in enumerate(model.outputs):
        pointer = f"/outputs/{index}"
        probability = output.kind is Kind.PROBABILITY
        if output.kind not in KINDS[model.form]:
            yield f"{pointer}/kind", f"a model of the form {model.form} has no {output.kind}"
        if output.horizon_years is not None and not probability:
            yield f"{pointer}/horizon_years", "only a probability has a horizon"
        if model.form is Form.COX and probability and output.horizon_years not in times:
            yield f"{pointer}/horizon_years", "there is no baseline survival for this time"
    if model.conformal is not None and not (model.event and model.no_event):
        yield "/event", "prediction sets need the names of both outcomes, event and no_event"
    if model.conformal is not None and all(each.kind is not Kind.PROBABILITY for each in model.outputs):
        yield "/conformal", "prediction sets need a probability"


def _inputs(model: OutcomeModel) -> Faults:
    names = [each.name for each in model.inputs]
    for name in {name for name in names if names.count(name) > 1}:
        yield "/inputs", f"the name {name} occurs twice"
    for index, each in enumerate(model.inputs):
        yield from _input(f"/inputs/{index}", each)


def _input(pointer: str, each: Input) -> Faults:
    feature = FEATURES.get(each.name)
    if feature is not None and feature.unit != each.unit:
        yield f"{pointer}/unit", f"{each.name} is measured in {feature.unit}, not in {each.unit or 'words'}"
    if each.categories:
        if each.low is not None or each.high is not None or each.reference is not None or each.unit:
            yield pointer, "an input of words has no range, no number for a reference and no unit"
        if each.reference_category not in each.categories:
            yield f"{pointer}/reference_category", "it is none of the categories"
    elif each.low is None or each.high is None or each.reference is None:
        yield pointer, "an input that is a number needs low, high and reference"
    elif not each.low <= each.reference <= each.high:
        yield f"{pointer}/reference", "low, reference and high are not in this order"
    elif not each.unit or each.reference_category is not None:
        yield pointer, "an input that is a number has a unit (1 for a plain number) and no reference_category"


def _form(model: OutcomeModel) -> Faults:
    network = model.form is Form.ONNX
    if network != (model.network is not None):
        yield "/network", "a model of the form onnx has it, and no other"
    if network and (model.terms or model.intercept or model.covariance):
        yield "/terms", "a network has no coefficients"
    if not network and not model.terms:
        yield "/terms", "there are none"
    if bool(model.baseline) and model.form is not Form.COX:
        yield "/baseline", "only a Cox model has a baseline"
    ordered = pairwise(model.baseline)
    if any(a.years >= b.years or a.survival < b.survival for a, b in ordered):
        yield "/baseline", "times must rise, and survival must not"
    if model.covariance:
        yield from _covariance(model)
    if model.network is not None:
        yield from _network(model, model.network)


def _covariance(model: OutcomeModel) -> Faults:
    size = 1 + len(model.terms)
    if len(model.covariance) != size or any(len(row) != size for row in model.covariance):
        yield "/covariance", f"it is not {size} by {size}: the intercept and each term"
        return
    matrix = np.array(model.covariance)
    if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix).min() < -1e-9 * np.trace(matrix):
        yield "/covariance", "it is no covariance matrix: symmetric, without negative eigenvalues"


def _network(model: OutcomeModel, network: Network) -> Faults:
    count = len(model.inputs)
    if any(each.categories for each in model.inputs):
        yield "/inputs", "a network takes numbers only"
    if (network.port is not None) != (count > 0):
        yield "/network/port", "the inputs need a port, and without inputs there is none"
    if network.port is None and network.patch is None:
        yield "/network", "it takes neither inputs nor a patch"
    if len(network.means) != count or len(network.sds) != count:
        yield "/network/means", f"means and sds must have {count} values, one for each input"
    if any(len(row) != count for row in network.background):
        yield "/network/background", f"each row must have {count} values, one for each input"
    if network.patch is not None and math.prod(network.patch.shape) > MOST_VOXELS:
        yield "/network/patch/shape", f"a patch has more than {MOST_VOXELS} voxels"
    if not network.file.path.endswith(".onnx"):
        yield "/network/file/path", "it does not end in .onnx"


def _terms(model: OutcomeModel) -> Faults:
    inputs = {each.name: each for each in model.inputs}
    for index, term in enumerate(model.terms):
        pointer = f"/terms/{index}"
        if term.input not in inputs:
            yield f"{pointer}/input", f"{term.input} is no input"
            continue
        yield from _term(pointer, term, inputs[term.input])
    if model.terms:
        for name in inputs.keys() - {term.input for term in model.terms}:
            yield "/inputs", f"no term uses {name}"


def _term(pointer: str, term: Term, given: Input) -> Faults:
    if (term.shape is TermShape.CATEGORY) != bool(given.categories):
        yield f"{pointer}/shape", "words need the shape category, and numbers another one"
    elif term.shape is TermShape.CATEGORY and term.category not in given.categories:
        yield f"{pointer}/category", "it is none of the input's categories"
    if (term.shape is TermShape.HINGE) != (term.knot is not None):
        yield f"{pointer}/knot", "a hinge has one, and no other shape"
    if term.shape is not TermShape.CATEGORY and term.category is not None:
        yield f"{pointer}/category", "only the shape category has one"
    if term.shape is TermShape.LOG and given.low is not None and given.low <= 0:
        yield f"{pointer}/shape", "a logarithm needs an input above 0"


def _files(model: OutcomeModel) -> Faults:
    files = (*model.files, *((model.network.file,) if model.network is not None else ()))
    paths = [file.path for file in files]
    if len(set(paths)) < len(paths):
        yield "/files", "a path occurs twice"
    if OUTCOME_FILE in paths:
        yield "/files", f"{OUTCOME_FILE} cannot hold its own digest"
    if CARD_FILE not in paths:
        yield "/files", f"the card {CARD_FILE} is not among them"
