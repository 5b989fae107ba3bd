"""The network classes that a package may name, and how one is built from plain arguments.

A package's ``architecture`` is a name of `ARCHITECTURES` and JSON. Nothing is imported by a name that
comes from a file: arguments pass an allow-list of keys, and the class names that nnU-Net's plans hold
(``torch.nn.modules.conv.Conv3d``) go through a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from operators.segmentation.package import unet
from operators.segmentation.package.types import Architecture

MAX_STAGES = 12
MAX_NUMBER = 8192
"""Largest number of channels or voxels that an argument may ask for."""
MAX_BLOCKS = 64
"""Most layers, blocks or units in a row: each is an object, and thousands take minutes to make."""


class ArchitectureError(ValueError):
    """The architecture is not of the allow-list, or its arguments are not what it takes."""


def build_network(
    architecture: Architecture, channels_in: int, channels_out: int, dimensions: int
) -> nn.Module:
    """Build a network with random weights, in evaluation mode.

    Parameters
    ----------
    architecture : Architecture
    channels_in, channels_out : int
    dimensions : int
        2 or 3.

    Returns
    -------
    Module
        (n, channels_in, [z,] y, x) → (n, channels_out, [z,] y, x). The keys of its state dictionary are
        those of the framework that the architecture comes from.

    Raises
    ------
    ArchitectureError
        Unknown name or argument, or arguments that contradict one another.
    """
    entry = ARCHITECTURES.get(architecture.name)
    if entry is None:
        raise ArchitectureError(
            f"the architecture {architecture.name!r} is not one of {', '.join(sorted(ARCHITECTURES))}"
        )
    if dimensions not in {2, 3}:
        raise ArchitectureError(f"a network has 2 or 3 dimensions, not {dimensions}")
    arguments = dict(architecture.arguments)
    _check(architecture.name, arguments, entry)
    try:
        network = entry.build(arguments, channels_in, channels_out, dimensions)
    except (TypeError, ValueError, AttributeError, LookupError, AssertionError, RuntimeError) as error:
        # what a framework's own constructor says of arguments that do not fit one another
        raise ArchitectureError(f"{architecture.name}: {error}") from error
    return network.eval()


@dataclass(frozen=True, slots=True)
class Entry:
    """One architecture of the allow-list."""

    build: Callable[[Mapping[str, Any], int, int, int], nn.Module]
    required: frozenset[str]
    optional: frozenset[str]


def _check(name: str, arguments: Mapping[str, Any], entry: Entry) -> None:
    unknown = sorted(arguments.keys() - entry.required - entry.optional)
    if unknown:
        raise ArchitectureError(f"{name} takes no argument {', '.join(unknown)}")
    absent = sorted(entry.required - arguments.keys())
    if absent:
        raise ArchitectureError(f"{name} needs the argument {', '.join(absent)}")
    for key, value in arguments.items():
        _check_plain(f"{name}'s {key}", value)


def _check_plain(where: str, value: Any, depth: int = 0) -> None:
    """Raise unless a value is JSON of sane size."""
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int | float) and abs(value) <= MAX_NUMBER:
        return
    if isinstance(value, list | tuple) and len(value) <= 64 and depth < 4:
        for item in value:
            _check_plain(where, item, depth + 1)
        return
    if isinstance(value, Mapping) and len(value) <= 16 and depth < 4:
        for item in value.values():
            _check_plain(where, item, depth + 1)
        return
    raise ArchitectureError(f"{where} is not a plain value of sane size")


# -- nnU-Net ---------------------------------------------------------------------------------------

_CONVOLUTIONS = {
    f"torch.nn{module}.Conv{n}d": n for n in (2, 3) for module in ("", ".modules.conv", ".modules")
}
_NORMS: dict[str, type[nn.Module]] = {
    f"torch.nn{module}.{kind.__name__}": kind
    for module, kinds in (
        ("", (nn.InstanceNorm2d, nn.InstanceNorm3d, nn.BatchNorm2d, nn.BatchNorm3d)),
        (".modules.instancenorm", (nn.InstanceNorm2d, nn.InstanceNorm3d)),
        (".modules.batchnorm", (nn.BatchNorm2d, nn.BatchNorm3d)),
    )
    for kind in kinds
}
_DROPOUTS: dict[str, type[nn.Module]] = {
    f"torch.nn{module}.{kind.__name__}": kind
    for module in ("", ".modules.dropout")
    for kind in (nn.Dropout, nn.Dropout2d, nn.Dropout3d)
}
_NONLINEARITIES: dict[str, type[nn.Module]] = {
    f"torch.nn{module}.{kind.__name__}": kind
    for module in ("", ".modules.activation")
    for kind in (nn.LeakyReLU, nn.ReLU, nn.ELU, nn.GELU, nn.SiLU)
}
_KEYWORDS = {
    "norm_op_kwargs": frozenset({"eps", "momentum", "affine", "track_running_stats"}),
    "dropout_op_kwargs": frozenset({"p", "inplace"}),
    "nonlin_kwargs": frozenset({"inplace", "negative_slope", "alpha", "approximate"}),
}
_UNET_OPTIONAL = frozenset(
    {"conv_op", "conv_bias", "norm_op", "dropout_op", "nonlin", "deep_supervision", *_KEYWORDS}
)
_UNET_REQUIRED = frozenset(
    {"n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder"}
)


def _nnunet(blocks: str, arguments: Mapping[str, Any], dimensions: int) -> tuple[unet.Plan, unet.Parts]:
    """Read nnU-Net's ``arch_kwargs``."""
    convolution = arguments.get("conv_op")
    if convolution is not None and _CONVOLUTIONS.get(convolution) != dimensions:
        raise ArchitectureError(f"conv_op {convolution!r} is no {dimensions}D convolution of the allow-list")
    stages = arguments["n_stages"]
    if not isinstance(stages, int) or not 2 <= stages <= MAX_STAGES:
        raise ArchitectureError(f"n_stages is {stages!r}, not 2 to {MAX_STAGES}")
    plan = unet.Plan(
        features=_numbers(arguments, "features_per_stage", stages),
        kernels=_vectors(arguments, "kernel_sizes", stages, dimensions),
        strides=_vectors(arguments, "strides", stages, dimensions),
        encoder_blocks=_numbers(arguments, blocks, stages, MAX_BLOCKS),
        decoder_blocks=_numbers(arguments, "n_conv_per_stage_decoder", stages - 1, MAX_BLOCKS),
    )
    parts = unet.Parts(
        dimensions=dimensions,
        bias=_flag(arguments, "conv_bias"),
        norm=_layer(arguments, "norm_op", _NORMS),
        norm_arguments=_keywords(arguments, "norm_op_kwargs"),
        dropout=_layer(arguments, "dropout_op", _DROPOUTS),
        dropout_arguments=_keywords(arguments, "dropout_op_kwargs"),
        nonlinearity=_layer(arguments, "nonlin", _NONLINEARITIES),
        nonlinearity_arguments=_keywords(arguments, "nonlin_kwargs"),
    )
    if parts.norm is not None and not parts.norm.__name__.endswith(f"{dimensions}d"):
        raise ArchitectureError(f"norm_op {arguments['norm_op']!r} is not for {dimensions} dimensions")
    return plan, parts


def _plain_conv_unet(
    arguments: Mapping[str, Any], channels_in: int, channels_out: int, dimensions: int
) -> nn.Module:
    plan, parts = _nnunet("n_conv_per_stage", arguments, dimensions)
    first = _flag(arguments, "nonlin_first")
    encoder = unet.PlainEncoder(channels_in, plan, parts, first=first)
    return unet.UNet(encoder, channels_out, plan, parts, first=first)


def _residual_encoder_unet(
    arguments: Mapping[str, Any], channels_in: int, channels_out: int, dimensions: int
) -> nn.Module:
    plan, parts = _nnunet("n_blocks_per_stage", arguments, dimensions)
    stem = arguments.get("stem_channels")
    stem = plan.features[0] if stem is None else int(stem)
    return unet.UNet(unet.ResidualEncoder(channels_in, plan, parts, stem=stem), channels_out, plan, parts)


def _numbers(arguments: Mapping[str, Any], key: str, count: int, most: int = MAX_NUMBER) -> tuple[int, ...]:
    """Read one whole number for each stage, or one for all of them."""
    value = arguments[key]
    numbers = [value] * count if isinstance(value, int) else value
    if (
        not isinstance(numbers, list | tuple)
        or len(numbers) != count
        or not all(isinstance(number, int) and 0 < number <= most for number in numbers)
    ):
        raise ArchitectureError(f"{key} must be {count} whole numbers of 1 to {most}, not {value!r}")
    return tuple(numbers)


def _vectors(
    arguments: Mapping[str, Any], key: str, count: int, dimensions: int
) -> tuple[tuple[int, ...], ...]:
    """Read one small vector for each stage; a number stands for all axes, and for all stages."""
    value = arguments[key]
    rows = [value] * count if isinstance(value, int) else value
    if not isinstance(rows, list | tuple) or len(rows) != count:
        raise ArchitectureError(f"{key} must have {count} entries, not {value!r}")
    read = tuple(tuple([row] * dimensions if isinstance(row, int) else row) for row in rows)
    if any(
        len(row) != dimensions or not all(isinstance(n, int) and 0 < n <= 64 for n in row) for row in read
    ):
        raise ArchitectureError(f"{key} must be vectors of {dimensions} small whole numbers, not {value!r}")
    return read


def _layer(
    arguments: Mapping[str, Any], key: str, table: Mapping[str, type[nn.Module]]
) -> type[nn.Module] | None:
    name = arguments.get(key)
    if name is None:
        return None
    if name not in table:
        raise ArchitectureError(f"{key} {name!r} is not of the allow-list")
    return table[name]


def _keywords(arguments: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    keywords = arguments.get(key) or {}
    if not isinstance(keywords, Mapping) or keywords.keys() - _KEYWORDS[key]:
        raise ArchitectureError(f"{key} may hold {', '.join(sorted(_KEYWORDS[key]))} only")
    return dict(keywords)


def _flag(arguments: Mapping[str, Any], key: str) -> bool:
    value = arguments.get(key, False)
    if not isinstance(value, bool):
        raise ArchitectureError(f"{key} must be true or false, not {value!r}")
    return value


# -- MONAI -----------------------------------------------------------------------------------------


def _monai(
    class_name: str, arguments: Mapping[str, Any], channels_in: int, channels_out: int, dimensions: int
) -> nn.Module:
    """Build a MONAI network; its layer names are keys of MONAI's own factories, not imports."""
    from monai.networks import nets  # noqa: PLC0415  optional, and slow to import

    for key in _BLOCK_COUNTS & arguments.keys():
        if not _within(arguments[key], MAX_BLOCKS):
            raise ArchitectureError(f"{class_name}'s {key} asks for more than {MAX_BLOCKS}")
    ours = {"spatial_dims": dimensions, "in_channels": channels_in, "out_channels": channels_out}
    for key, value in ours.items():
        if arguments.get(key, value) != value:
            raise ArchitectureError(
                f"{class_name}'s {key} is {arguments[key]!r}, but the package's stage says {value}"
            )
    network: nn.Module = getattr(nets, class_name)(**{**_tuples(arguments), **ours})
    return network


def _within(counts: Any, most: int) -> bool:
    """Whether a number, or all numbers of a list, are at most so large."""
    return all(count <= most for count in (counts if isinstance(counts, list | tuple) else (counts,)))


def _tuples(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give JSON's lists as the tuples that MONAI documents."""

    def tupled(value: Any) -> Any:
        return tuple(tupled(item) for item in value) if isinstance(value, list) else value

    return {key: tupled(value) for key, value in arguments.items()}


_BLOCK_COUNTS = frozenset({"num_res_units", "blocks_down", "blocks_up"})
_SHAPE = frozenset({"spatial_dims", "in_channels", "out_channels"})
ARCHITECTURES: Mapping[str, Entry] = {
    "PlainConvUNet": Entry(
        _plain_conv_unet, _UNET_REQUIRED | {"n_conv_per_stage"}, _UNET_OPTIONAL | {"nonlin_first"}
    ),
    "ResidualEncoderUNet": Entry(
        _residual_encoder_unet, _UNET_REQUIRED | {"n_blocks_per_stage"}, _UNET_OPTIONAL | {"stem_channels"}
    ),
    "UNet": Entry(
        partial(_monai, "UNet"),
        frozenset({"channels", "strides"}),
        _SHAPE
        | {
            "kernel_size",
            "up_kernel_size",
            "num_res_units",
            "act",
            "norm",
            "dropout",
            "bias",
            "adn_ordering",
        },
    ),
    "DynUNet": Entry(
        partial(_monai, "DynUNet"),
        frozenset({"kernel_size", "strides", "upsample_kernel_size"}),
        _SHAPE
        | {"filters", "dropout", "norm_name", "act_name", "deep_supervision", "deep_supr_num", "res_block"}
        | {"trans_bias"},
    ),
    "SegResNet": Entry(
        partial(_monai, "SegResNet"),
        frozenset(),
        _SHAPE
        | {"init_filters", "dropout_prob", "act", "norm", "num_groups", "use_conv_final", "blocks_down"}
        | {"blocks_up", "upsample_mode"},
    ),
}
"""The allow-list."""
