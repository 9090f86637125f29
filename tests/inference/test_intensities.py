"""Rules computed from a survey give the bits of nnU-Net's own preprocessor."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization, ZScoreNormalization
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_ext.errors import InputError
from nnunet_ext.imageio import Geometry, create_volume, open_volume
from nnunet_ext.inference.intensities import (
    CT,
    NONE,
    RESCALE,
    RGB,
    SCHEMES,
    Z_SCORE,
    IntensityRule,
    check_schemes,
    intensity_rules,
    needs_statistics,
)
from nnunet_ext.inference.survey import ChannelStatistics, Survey, survey

# Through JSON, as the plans; no number is one of float32.
PROPERTIES = json.loads(
    json.dumps(
        {
            str(channel): {
                "max": 250.0,
                "mean": 31.4159265358979 + channel,
                "median": 30.0,
                "min": -20.0,
                "percentile_00_5": 2.3333333333333335,
                "percentile_99_5": 87.12345678901234,
                "std": 17.1717171717171717,
            }
            for channel in range(3)
        }
    )
)
BITWISE = (CT, NONE, RESCALE, RGB)


def with_border(dtype: str, seed: int = 0) -> np.ndarray:
    array = np.zeros((6, 9, 8), dtype)
    inside = np.random.default_rng(seed).uniform(0, 120, (4, 6, 7))
    array[1:5, 2:8, 0:7] = inside if np.dtype(dtype).kind == "f" else np.rint(inside)
    return array


def images(dtype: str) -> dict[str, np.ndarray]:
    bordered = with_border(dtype)
    return {
        "border": bordered,
        "full": bordered[1:5, 2:8, 0:7] + np.array(1, dtype),
        "constant": np.full((3, 4, 5), 7, dtype),
        "zero": np.zeros((3, 4, 5), dtype),
    }


def write_case(folder: Path, channels: list[np.ndarray], ending: str) -> list[Path]:
    """Write each channel to a file of that ending, or to a folder of slices; uint8 and float32 need no other type."""
    paths = []
    for index, channel in enumerate(channels):
        path = folder / f"case_{index:04}{ending}"
        files = {path: channel}
        if ending == "":
            files = {path / f"{z:03}.tif": channel[z : z + 1] for z in range(len(channel))}
        for file, voxels in files.items():
            with create_volume(file, voxels.shape, voxels.dtype, Geometry()) as writer:
                writer.write(voxels)
        paths.append(path)
    return paths


def as_nnunet(
    channels: list[np.ndarray], schemes: list[str], use_mask: list[bool]
) -> tuple[list[list[int]], np.ndarray]:
    """Return crop and normalized voxels of nnU-Net's preprocessor, which resamples nothing here."""
    configuration = SimpleNamespace(
        spacing=[1, 1, 1],
        normalization_schemes=schemes,
        use_mask_for_norm=use_mask,
        resampling_fn_data=lambda data, *_: data,
        resampling_fn_seg=lambda data, *_: data,
    )
    plans = SimpleNamespace(transpose_forward=[0, 1, 2], foreground_intensity_properties_per_channel=PROPERTIES)
    properties = {"spacing": [1, 1, 1]}
    data, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        np.stack(channels), None, properties, plans, configuration, {}
    )
    return properties["bbox_used_for_cropping"], data


def as_here(paths: list[Path], schemes: list[str], use_mask: list[bool]) -> tuple[list[list[int]], np.ndarray]:
    """Return crop and normalized voxels as predicting does it: statistics first, then slab by slab."""
    volumes = [open_volume(path) for path in paths]
    found = survey(volumes, statistics=needs_statistics(schemes))
    rules = intensity_rules(schemes, use_mask, PROPERTIES, found)
    _, y, x = (slice(*side) for side in found.crop)
    data = [
        np.concatenate([rule.apply(volume.slab(z, z + 1)[:, y, x]) for z in range(*found.crop[0])])
        for rule, volume in zip(rules, volumes, strict=True)
    ]
    for volume in volumes:
        volume.close()
    return [list(side) for side in found.crop], np.stack(data)


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", ["border", "full", "constant", "zero"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("ending", [".tif", ".nii.gz", ""])
def test_a_case_becomes_what_nnunet_makes_of_it(tmp_path: Path, ending: str, dtype: str, kind: str) -> None:
    array = images(dtype)[kind]
    paths = write_case(tmp_path, [array], ending)
    for scheme in SCHEMES:
        crop, found = as_here(paths, [scheme], [False])
        expected_crop, expected = as_nnunet([array], [scheme], [False])
        assert crop == expected_crop
        if scheme in BITWISE:
            assert_same_bits(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_every_channel_has_its_own_rule(tmp_path: Path) -> None:
    channels = [with_border("int16", seed) for seed in range(3)]
    channels[2][0, 0, 0] = 5
    paths = write_case(tmp_path, channels, ".nii.gz")
    for schemes in ([CT, CT, RGB], [RESCALE, Z_SCORE, CT], [NONE, RESCALE, Z_SCORE]):
        crop, found = as_here(paths, schemes, [False] * 3)
        expected_crop, expected = as_nnunet(channels, schemes, [False] * 3)
        assert crop == expected_crop
        for channel, scheme in enumerate(schemes):
            if scheme in BITWISE:
                assert_same_bits(found[channel], expected[channel])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_negative_intensities_are_rescaled_and_clipped_as_nnunet_does(tmp_path: Path) -> None:
    array = (np.random.default_rng(0).normal(-300, 777, (5, 6, 7))).astype(np.float32)
    paths = write_case(tmp_path, [array], ".tif")
    for scheme in (CT, NONE, RESCALE):
        assert_same_bits(as_here(paths, [scheme], [False])[1], as_nnunet([array], [scheme], [False])[1])


@pytest.mark.parametrize("largest", [1e-6, 1e-9])
def test_hardly_any_contrast_is_divided_as_nnunet_does(tmp_path: Path, largest: float) -> None:
    array = np.linspace(0, largest, 60, dtype=np.float32).reshape(3, 4, 5)
    paths = write_case(tmp_path, [array], ".tif")
    assert_same_bits(as_here(paths, [RESCALE], [False])[1], as_nnunet([array], [RESCALE], [False])[1])
    found, expected = as_here(paths, [Z_SCORE], [False])[1], as_nnunet([array], [Z_SCORE], [False])[1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_plans_without_contrast_are_divided_as_nnunet_does() -> None:
    array = np.linspace(0, 50, 60, dtype=np.float32)
    flat = {**PROPERTIES["0"], "std": 0.0}
    (rule,) = intensity_rules([CT], [False], {"0": flat}, image_survey())
    assert_same_bits(rule.apply(array), CTNormalization(False, flat).run(array.copy()))


def test_a_z_score_has_nnunets_bits_given_its_numbers() -> None:
    array = np.random.default_rng(0).normal(1000, 3, (20, 30, 40)).astype(np.float32)
    same = ChannelStatistics(float(array.mean()), float(array.std()), 0, 0)
    (rule,) = intensity_rules([Z_SCORE], [False], {}, image_survey(same))
    assert_same_bits(rule.apply(array), ZScoreNormalization(False, {}).run(array.copy()))


@pytest.mark.parametrize("scheme", BITWISE)
def test_the_mask_changes_nothing_but_z_scores(tmp_path: Path, scheme: str) -> None:
    array = with_border("uint8")
    paths = write_case(tmp_path, [array], ".tif")
    assert_same_bits(as_here(paths, [scheme], [True])[1], as_nnunet([array], [scheme], [True])[1])


def image_survey(*statistics: ChannelStatistics, files: tuple[Path, ...] = ()) -> Survey:
    return Survey((1, 1, 1), ((0, 1), (0, 1), (0, 1)), "", statistics or None, files)


def test_a_rule_by_hand() -> None:
    rule = IntensityRule(clip=(1, 9), subtract=3, divide=2)
    voxels = np.array([[0, 5], [7, 200]], np.uint8)
    np.testing.assert_array_equal(rule.apply(voxels), np.array([[-1, 1], [2, 3]], np.float32))
    assert pickle.loads(pickle.dumps(rule)) == rule


@pytest.mark.parametrize("rule", [IntensityRule(), IntensityRule((1, 2), 1, 2)])
def test_a_rule_leaves_its_input_alone(rule: IntensityRule) -> None:
    voxels = np.full((2, 2), 5, np.float32)
    rule.apply(voxels)[...] = 9
    assert (voxels == 5).all()


def test_statistics_are_needed_by_what_looks_at_the_image() -> None:
    assert {scheme: needs_statistics([CT, scheme]) for scheme in SCHEMES} == {
        Z_SCORE: True,
        CT: False,
        NONE: False,
        RESCALE: True,
        RGB: True,
    }
    with pytest.raises(InputError, match="without statistics"):
        intensity_rules([RGB], [False], {}, image_survey())


def test_unknown_schemes_and_masked_z_scores_are_refused_together() -> None:
    check_schemes(SCHEMES, [False] * 5)
    check_schemes(SCHEMES[1:], [True] * 4)
    with pytest.raises(InputError) as caught:
        check_schemes([CT, Z_SCORE, "SoilNorm"], [True, True, False])
    message = str(caught.value)
    assert "channel 1: ZScoreNormalization with use_mask_for_norm true, expected false" in message
    assert "channel 2: normalization scheme SoilNorm, expected one of ZScoreNormalization, CTNorm" in message
    assert "nnUNetv2_predict" in message
    assert "channel 0" not in message
    with pytest.raises(InputError, match="SoilNorm"):
        intensity_rules(["SoilNorm"], [False], {}, image_survey())


def test_plans_with_unequal_lists_are_refused() -> None:
    with pytest.raises(InputError, match="hold 2 normalization_schemes and 1 use_mask_for_norm"):
        check_schemes([CT, CT], [False])


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 200.0), (0.0, 255.5)])
def test_values_that_are_no_colour_are_named(lowest: float, highest: float) -> None:
    found = image_survey(ChannelStatistics(9.0, 1.0, lowest, highest), files=(Path("a.png"),))
    with pytest.raises(InputError, match=rf"^a\.png: values from {lowest:g} to {highest:g}, expected .* 0 to 255"):
        intensity_rules([RGB], [False], {}, found)


def test_the_whole_range_of_colours_is_taken() -> None:
    (rule,) = intensity_rules([RGB], [False], {}, image_survey(ChannelStatistics(9.0, 1.0, 0.0, 255.0)))
    assert rule == IntensityRule(divide=255.0)


def test_ct_numbers_that_the_plans_lack_are_named() -> None:
    broken = {"1": {**PROPERTIES["1"], "std": float("nan"), "mean": None}}
    with pytest.raises(InputError, match=r"channel 1: CTNormalization .* found mean: None, std: nan, expected finite"):
        intensity_rules([NONE, CT], [False, False], broken, image_survey())
    with pytest.raises(InputError, match="channel 0"):
        intensity_rules([CT], [False], {}, image_survey())


def test_another_number_of_channels_than_planned_is_refused() -> None:
    one = ChannelStatistics(0.0, 1.0, 0.0, 1.0)
    with pytest.raises(InputError, match=r"a\.tif, b\.tif: 2 channels, expected 1 by the plans"):
        intensity_rules([Z_SCORE], [False], {}, image_survey(one, one, files=(Path("a.tif"), Path("b.tif"))))
