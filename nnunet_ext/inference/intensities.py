"""nnU-Net's normalization schemes as rules that act voxel by voxel, given the statistics of the whole image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nnunet_ext.inference.survey import ChannelStatistics, Survey

Z_SCORE = "ZScoreNormalization"
CT = "CTNormalization"
NONE = "NoNormalization"
RESCALE = "RescaleTo01Normalization"
RGB = "RGBTo01Normalization"
SCHEMES = (Z_SCORE, CT, NONE, RESCALE, RGB)
"""Names in the plans of the schemes that are known here."""

_SMALLEST_DIVISOR = 1e-8
_RGB_MAXIMUM = 255.0
_CT_PROPERTIES = ("percentile_00_5", "percentile_99_5", "mean", "std")
_STOCK = "nnUNetv2_predict, which holds the whole image in memory, can predict with this model"


@dataclass(frozen=True)
class IntensityRule:
    """Normalize voxels: clip, then subtract, then divide, each step where it is given.

    Parameters
    ----------
    clip
        Lowest and highest value that are kept.
    subtract, divide
        Subtrahend and divisor.
    """

    clip: tuple[float, float] | None = None
    subtract: float | None = None
    divide: float | None = None

    def apply(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the normalized voxels.

        Parameters
        ----------
        voxels
            Any shape, integers or real numbers; they are not changed.

        Returns
        -------
        numpy.ndarray
            Same shape, its own memory. Every step is computed in float32, in nnU-Net's order: the same bits.
        """
        normalized = voxels.astype(np.float32)
        if self.clip is not None:
            lower, upper = (np.float32(bound) for bound in self.clip)
            np.clip(normalized, lower, upper, out=normalized)
        if self.subtract is not None:
            normalized -= np.float32(self.subtract)
        if self.divide is not None:
            normalized /= np.float32(self.divide)
        return normalized


def needs_statistics(schemes: Sequence[str]) -> bool:
    """Return whether a scheme looks at the image's intensities; CT takes the plans' numbers, no normalization none."""
    return any(scheme in (Z_SCORE, RESCALE, RGB) for scheme in schemes)


def check_schemes(schemes: Sequence[str], use_mask_for_norm: Sequence[bool]) -> None:
    """Refuse what cannot be done voxel by voxel.

    Parameters
    ----------
    schemes, use_mask_for_norm
        ``normalization_schemes`` and ``use_mask_for_norm`` of the configuration in the plans, one entry per channel.

    Raises
    ------
    InputError
        If a scheme is none of ``SCHEMES``, or a z-score is to be computed within the mask of non-zero voxels: to
        fill its holes takes the whole image. The other schemes of nnU-Net 2.8.1 do not look at the mask.
    """
    if len(schemes) != len(use_mask_for_norm):
        message = (
            f"the plans hold {len(schemes)} normalization_schemes and {len(use_mask_for_norm)} use_mask_for_norm, "
            "expected one of each per channel"
        )
        raise InputError(message)
    problems = []
    for channel, (scheme, use_mask) in enumerate(zip(schemes, use_mask_for_norm, strict=True)):
        if scheme not in SCHEMES:
            problems.append(
                f"channel {channel}: normalization scheme {scheme}, expected one of {', '.join(SCHEMES)}: "
                "what another one computes from the whole image is not known here"
            )
        elif scheme == Z_SCORE and use_mask:
            problems.append(
                f"channel {channel}: {scheme} with use_mask_for_norm true, expected false: "
                "the holes of its mask of non-zero voxels can be filled in the whole image only"
            )
    if problems:
        message = f"{'; '.join(problems)}. {_STOCK}."
        raise InputError(message)


def intensity_rules(
    schemes: Sequence[str],
    use_mask_for_norm: Sequence[bool],
    foreground_intensity_properties_per_channel: Mapping[str, Mapping[str, float]],
    survey: Survey,
) -> tuple[IntensityRule, ...]:
    """Return the rule of each channel of an image.

    Parameters
    ----------
    schemes, use_mask_for_norm
        As for ``check_schemes``.
    foreground_intensity_properties_per_channel
        As in the plans: numbers by channel ("0", "1", …) and name. Only CT looks at them.
    survey
        Of the image; with statistics if ``needs_statistics``.

    Returns
    -------
    tuple of IntensityRule
        Given the same mean and deviation, the results are nnU-Net's, bit for bit. Its own are sums in float32, so
        that z-scores differ by their rounding. That is tiny, but for a constant image, which becomes 0 here and may
        become anything near 1 there.

    Raises
    ------
    InputError
        As ``check_schemes``; also if the number of channels or the statistics do not fit, the plans lack a number,
        or a channel for RGB has values outside 0 to 255.
    """
    check_schemes(schemes, use_mask_for_norm)
    _check_survey(schemes, survey)
    rules = []
    for channel, scheme in enumerate(schemes):
        if scheme == CT:
            rules.append(_ct(channel, foreground_intensity_properties_per_channel.get(str(channel), {})))
        elif scheme == NONE or survey.statistics is None:
            rules.append(IntensityRule())
        elif scheme == Z_SCORE:
            found = survey.statistics[channel]
            rules.append(IntensityRule(subtract=found.mean, divide=max(found.std, _SMALLEST_DIVISOR)))
        elif scheme == RESCALE:
            rules.append(_rescale(survey.statistics[channel]))
        else:
            rules.append(_rgb(_name(survey, channel), survey.statistics[channel]))
    return tuple(rules)


def _ct(channel: int, properties: Mapping[str, float]) -> IntensityRule:
    wrong = {name: properties.get(name) for name in _CT_PROPERTIES if not _is_number(properties.get(name))}
    if wrong:
        found = ", ".join(f"{name}: {value}" for name, value in wrong.items())
        message = (
            f"channel {channel}: {CT} takes {', '.join(_CT_PROPERTIES)} of foreground_intensity_properties_per_channel "
            f"in the plans, found {found}, expected finite numbers"
        )
        raise InputError(message)
    lower, upper, mean, std = (float(properties[name]) for name in _CT_PROPERTIES)
    return IntensityRule(clip=(lower, upper), subtract=mean, divide=max(std, _SMALLEST_DIVISOR))


def _rescale(found: ChannelStatistics) -> IntensityRule:
    # The divisor is the largest of the differences, and each of them is rounded to float32.
    spread = float(np.float32(found.maximum) - np.float32(found.minimum))
    return IntensityRule(subtract=found.minimum, divide=max(spread, _SMALLEST_DIVISOR))


def _rgb(name: str, found: ChannelStatistics) -> IntensityRule:
    if found.minimum < 0 or found.maximum > _RGB_MAXIMUM:
        message = (
            f"{name}: values from {found.minimum:g} to {found.maximum:g}, "
            f"expected values within 0 to 255, as the model's {RGB} is for colours"
        )
        raise InputError(message)
    return IntensityRule(divide=_RGB_MAXIMUM)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _check_survey(schemes: Sequence[str], survey: Survey) -> None:
    if survey.statistics is None:
        if needs_statistics(schemes):
            message = f"survey without statistics given, expected those that {', '.join(schemes)} need"
            raise InputError(message)
    elif len(survey.statistics) != len(schemes):
        files = ", ".join(map(str, survey.files))
        message = f"{files or 'image'}: {len(survey.statistics)} channels, expected {len(schemes)} by the plans"
        raise InputError(message)


def _name(survey: Survey, channel: int) -> str:
    return str(survey.files[channel]) if survey.files else f"channel {channel}"
