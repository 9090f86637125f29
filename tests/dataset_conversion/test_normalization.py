"""Normalisation of whole scans, slab by slab."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dataset_conversion.normalization import Normalization, Statistics, normalization_of
from nnunet_ext.errors import InputError

RNG = np.random.default_rng(0)
SCANS = {
    "uint8": RNG.integers(0, 256, (7, 9, 11)).astype(np.uint8),
    "uint16": np.linspace(0, 65535, 7 * 9 * 11).reshape(7, 9, 11).astype(np.uint16),
    "int16": RNG.integers(-1000, 3000, (7, 9, 11)).astype(np.int16),
    "float32": RNG.random((7, 9, 11)).astype(np.float32) * 5 - 2,
}


def slabs(scan, thickness=2):
    return [scan[start : start + thickness] for start in range(0, len(scan), thickness)]


@pytest.mark.parametrize("name", SCANS)
def test_zscore_has_mean_0_and_deviation_1_over_the_whole_scan(name):
    scan = SCANS[name]
    result = normalization_of("zscore", slabs(scan)).apply(scan)
    assert result.dtype == np.float32
    expected = (scan.astype(np.float64) - scan.mean(dtype=np.float64)) / scan.std(dtype=np.float64)
    assert np.abs(result - expected).max() < 1e-6


@pytest.mark.parametrize("name", SCANS)
def test_rescale_runs_from_0_to_1(name):
    scan = SCANS[name]
    result = normalization_of("rescale_to_0_1", slabs(scan)).apply(scan)
    assert (result.min(), result.max()) == (0, 1)


def test_rgb_divides_by_255():
    scan = SCANS["uint8"]
    assert np.abs(normalization_of("rgb_to_0_1", slabs(scan)).apply(scan) - scan / 255).max() < 1e-6


def test_rgb_refuses_values_that_are_none():
    with pytest.raises(InputError, match=r"0…255, found 0…65535"):
        normalization_of("rgb_to_0_1", slabs(SCANS["uint16"]))


@pytest.mark.parametrize("name", SCANS)
def test_no_norm_keeps_values_and_type(name):
    scan = SCANS[name]
    normalization = normalization_of("noNorm", iter(()))
    assert normalization.output_dtype(scan.dtype) == scan.dtype
    assert np.array_equal(normalization.apply(scan), scan)


@pytest.mark.parametrize("scheme", ["zscore", "rescale_to_0_1"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_constant_image_becomes_zeros(scheme, dtype):
    scan = np.full((3, 4, 5), 7, dtype=dtype)
    assert np.array_equal(normalization_of(scheme, slabs(scan)).apply(scan), np.zeros(scan.shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("scheme", ["zscore", "noNorm"])
def test_nan_and_infinity_are_refused_with_their_count(scheme, bad):
    scan = np.ones((2, 3, 4), dtype=np.float32)
    scan[1, 1, 1] = bad
    with pytest.raises(InputError, match="1 voxels are NaN or infinite"):
        normalization_of(scheme, slabs(scan)).apply(scan)


def test_an_unknown_scheme_is_named():
    with pytest.raises(InputError, match="'minmax'"):
        normalization_of("minmax", iter(()))


@given(
    arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e4, 1e4, width=32)),
    st.integers(1, 39),
)
def test_statistics_of_parts_merge_to_those_of_the_whole(values, cut):
    whole, merged = Statistics.of(values), Statistics.of(values[:cut]).merged(Statistics.of(values[cut:]))
    assert merged.count == whole.count
    assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9)
    assert merged.squares == pytest.approx(whole.squares, rel=1e-7, abs=1e-4)
    assert (merged.minimum, merged.maximum) == (whole.minimum, whole.maximum)


def test_a_value_maps_alike_in_scan_and_crop():
    scan = SCANS["float32"]
    normalization = normalization_of("zscore", slabs(scan))
    assert np.array_equal(normalization.apply(scan)[2:4], normalization.apply(scan[2:4]))


def test_table_and_direct_computation_agree():
    normalization = Normalization("zscore", 100.25, 33.3)
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(normalization.apply(values), normalization.apply(values.astype(np.int32)))
