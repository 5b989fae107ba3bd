"""nnU-Net itself as the peer: results folders with random weights, and nnUNetPredictor run on them.

Nothing here reads or writes nnU-Net's data folders; all runs in this process on the CPU.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.conftest import missing
from tests.nnunet_models import (
    ANISOTROPIC,
    CASCADE,
    EVERY,
    FLAT,
    FOLDS,
    LOW,
    PET_CT,
    PLAIN,
    REGIONS,
    RESIDUAL,
    Model,
    dataset_of,
    plans_of,
)

__all__ = [
    "ANISOTROPIC",
    "CASCADE",
    "EVERY",
    "FLAT",
    "FOLDS",
    "LOW",
    "PET_CT",
    "PLAIN",
    "REGIONS",
    "RESIDUAL",
    "Model",
    "dataset_of",
    "plans_of",
    "predict",
    "predictor_of",
    "preprocess",
    "write_results",
]

# ---- writing -------------------------------------------------------------------------------------


def write_results(folder: Path, model: Model, seed: int = 0) -> Path:
    """Write what training would leave.

    Parameters
    ----------
    folder : Path
        Receives ``DatasetNNN_name/nnUNetTrainer__nnUNetPlans__CONFIGURATION``, of a cascade both stages.
    model : Model
    seed : int
        Of the weights.

    Returns
    -------
    Path
        The configuration's folder; its parent is the dataset's.
    """
    require_nnunet()
    dataset = folder / f"Dataset900_{model.name}"
    stages = [model.previous, model] if model.previous is not None else [model]
    plans, described = plans_of(stages), dataset_of(model)
    for place, stage in enumerate(stages):
        target = dataset / f"nnUNetTrainer__nnUNetPlans__{stage.configuration}"
        target.mkdir(parents=True)
        (target / "plans.json").write_text(json.dumps(plans, indent=1))
        (target / "dataset.json").write_text(json.dumps(described, indent=1))
        for number, fold in enumerate(stage.folds):
            torch.manual_seed(1000 * seed + 100 * place + number)
            write_checkpoint(target / f"fold_{fold}", stage, plans, described)
    return target


def write_checkpoint(folder: Path, stage: Model, plans: dict[str, Any], described: dict[str, Any]) -> None:
    """Write a fold with random weights, as nnUNetTrainer.save_checkpoint does."""
    network, _, _ = network_of(plans, stage.configuration, described)
    fold = folder.name.removeprefix("fold_")
    folder.mkdir()
    torch.save(
        {
            "network_weights": network.state_dict(),
            "optimizer_state": {},
            "grad_scaler_state": None,
            "logging": {},
            "_best_ema": None,
            "current_epoch": 1000,
            "init_args": {
                "plans": plans,
                "configuration": stage.configuration,
                "fold": fold if fold == "all" else int(fold),
                "dataset_json": described,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": stage.mirroring,
        },
        folder / "checkpoint_final.pth",
    )


def network_of(plans: dict[str, Any], configuration: str, described: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The network as nnUNetTrainer builds it, whose own module needs more than prediction does.

    Returns
    -------
    network : torch.nn.Module
    plans : PlansManager
    configuration : ConfigurationManager
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(copy.deepcopy(plans))
    chosen = manager.get_configuration(configuration)
    network = get_network_from_plans(
        chosen.network_arch_class_name,
        chosen.network_arch_init_kwargs,
        chosen.network_arch_init_kwargs_req_import,
        determine_num_input_channels(manager, chosen, described),
        manager.get_label_manager(described).num_segmentation_heads,
        allow_init=True,
        deep_supervision=False,
    )
    return network, manager, chosen


# ---- running -------------------------------------------------------------------------------------


def require_nnunet() -> None:
    """Skip, or fail in CI, where nnU-Net is not installed."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, os.devnull)
    try:
        import nnunetv2  # noqa: F401
    except ImportError:
        missing("nnunetv2")


def predictor_of(folder: Path, *, mirroring: bool = False, step: float = 0.5, single: bool = False) -> Any:
    """An nnUNetPredictor with every fold of a configuration's folder.

    With `single`, its own tiles, weights and networks are summed in single precision. As it is, it sums in
    half, which moves its own softmax by up to 0.2 where the weights of tiles' corners are tiny.
    """
    require_nnunet()
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    class InSinglePrecision(nnUNetPredictor):  # type: ignore[misc,unused-ignore]
        def _internal_predict_sliding_window_return_logits(
            self, data: torch.Tensor, slicers: Any, do_on_device: bool = True
        ) -> torch.Tensor:
            from nnunetv2.inference.sliding_window_prediction import compute_gaussian

            size = tuple(self.configuration_manager.patch_size)
            weights = compute_gaussian(size, 1.0 / 8, value_scaling_factor=10, device=torch.device("cpu"))
            logits = torch.zeros((self.label_manager.num_segmentation_heads, *data.shape[1:]))
            sums = torch.zeros(data.shape[1:])
            for place in slicers:
                tile = data[place][None].contiguous()
                logits[place] += self._internal_maybe_mirror_and_predict(tile)[0] * weights
                sums[place[1:]] += weights
            return logits / sums

    predictor = (InSinglePrecision if single else nnUNetPredictor)(
        tile_step_size=step,
        use_gaussian=True,
        use_mirroring=mirroring,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    checkpoints = [
        torch.load(one / "checkpoint_final.pth", weights_only=True) for one in sorted(folder.glob("fold_*"))
    ]
    plans = json.loads((folder / "plans.json").read_text())
    described = json.loads((folder / "dataset.json").read_text())
    network, manager, configuration = network_of(
        plans, checkpoints[0]["init_args"]["configuration"], described
    )
    predictor.manual_initialization(
        network,
        manager,
        configuration,
        [one["network_weights"] for one in checkpoints],
        described,
        checkpoints[0]["trainer_name"],
        checkpoints[0]["inference_allowed_mirroring_axes"],
    )
    return predictor


def predict(
    folder: Path,
    image: np.ndarray[Any, Any],
    spacing: tuple[float, float, float],
    *,
    mirroring: bool = False,
    former: np.ndarray[Any, Any] | None = None,
    single: bool = False,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """nnUNetPredictor's label map and probabilities.

    Parameters
    ----------
    folder : Path
        Of a configuration, as `write_results` returns it. A cascade's first stage is run before.
    image : ndarray of float32, shape (channel, z, y, x)
    spacing : tuple of float
        mm along (z, y, x).
    mirroring : bool
    former : ndarray, shape (z, y, x), optional
        Label map of the first stage, instead of running it.
    single : bool
        Sums in single precision.

    Returns
    -------
    labels : ndarray, shape (z, y, x)
    probabilities : ndarray, shape (class, z, y, x)
    """
    predictor = predictor_of(folder, mirroring=mirroring, single=single)
    previous = predictor.configuration_manager.previous_stage_name
    if previous is not None and former is None:
        before = folder.parent / f"nnUNetTrainer__nnUNetPlans__{previous}"
        former, _ = predict(before, image, spacing, mirroring=mirroring, single=single)
    labels, probabilities = predictor.predict_single_npy_array(
        image,
        {"spacing": list(spacing)},
        None if former is None else former[None].astype(np.int8),
        None,
        save_or_return_probabilities=True,
    )
    return np.asarray(labels), np.asarray(probabilities)


def preprocess(
    folder: Path,
    image: np.ndarray[Any, Any],
    spacing: tuple[float, float, float],
    former: np.ndarray[Any, Any] | None = None,
) -> np.ndarray[Any, Any]:
    """What nnU-Net's own preprocessor gives the network, shape (channel, z, y, x)."""
    require_nnunet()
    from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy

    predictor = predictor_of(folder)
    adapter = PreprocessAdapterFromNpy(
        [image],
        [None if former is None else former[None].astype(np.int8)],
        [{"spacing": list(spacing)}],
        None,
        predictor.plans_manager,
        predictor.dataset_json,
        predictor.configuration_manager,
        num_threads_in_multithreaded=1,
        verbose=False,
    )
    return np.asarray(next(adapter)["data"])
