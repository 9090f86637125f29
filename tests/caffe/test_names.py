"""Names of the CaFFe benchmark."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.caffe.names import CaffeName, parse_caffe_name
from nnunet_ext.errors import InputError
from tests.builders import SHARED_DATA

NAME = "COL_2011-11-13_TDX_7_1_092"


def of(glacier, month):
    return parse_caffe_name(f"{glacier}_2011-{month:02}-13_TDX_7_1_092")


def test_a_name_is_taken_apart():
    found = parse_caffe_name(NAME)
    assert found == CaffeName("COL", datetime.date(2011, 11, 13), "TDX", 7, 1, "092")


@pytest.mark.parametrize("suffix", ["_front", "_zone", "_zones", "_boundary"])
def test_fronts_and_zones_have_the_name_of_their_image(suffix):
    assert parse_caffe_name(NAME + suffix) == parse_caffe_name(NAME)


@pytest.mark.parametrize("resolution", ["6", "7", "12", "17", "20", "12.5", "7.0"])
def test_every_pixel_size_is_kept(resolution):
    assert parse_caffe_name(f"Crane_2003-01-31_ENVISAT_{resolution}_3_017").resolution == float(resolution)


@pytest.mark.parametrize("glacier", ["COL", "JAC"])
def test_winter_in_the_north_is_september_to_march(glacier):
    winter = {month for month in range(1, 13) if of(glacier, month).season == "winter"}
    assert winter == {9, 10, 11, 12, 1, 2, 3}
    assert {of(glacier, month).season for month in set(range(1, 13)) - winter} == {"summer"}


@pytest.mark.parametrize("glacier", ["Mapple", "Crane", "Jorum", "DBE", "SI"])
def test_winter_in_the_south_is_april_to_august(glacier):
    winter = {month for month in range(1, 13) if of(glacier, month).season == "winter"}
    assert winter == {4, 5, 6, 7, 8}
    assert {of(glacier, month).season for month in set(range(1, 13)) - winter} == {"summer"}


def test_another_glacier_has_no_known_season():
    assert of("Petermann", 1).season == "unknown"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "case_001",
        "COL_2011-11-13_TDX_7_1",
        "COL_2011-11-13_TDX_7_1_092_mask",
        "COL_2011-11-13_TDX_7_1_092.png",
        "COL_20111113_TDX_7_1_092",
        "COL_2011-11-13_TDX_7m_1_092",
        "COL_2011-11-13_TDX_-7_1_092",
        "_2011-11-13_TDX_7_1_092",
        "COL_2011-13-01_TDX_7_1_092",
        "COL_2011-02-30_TDX_7_1_092",
        "COL_2011-11-13_TDX_0_1_092",
        "COL_2011-11-13_TDX_7_1_092_front_front",
    ],
)
def test_other_names_are_refused_with_the_name_and_what_was_expected(name):
    with pytest.raises(InputError) as raised:
        parse_caffe_name(name)
    assert repr(name) in str(raised.value)
    assert "<glacier>_<YYYY-MM-DD>_<satellite>_<metres per pixel>_<quality>_<orbit>" in str(raised.value)


WORDS = st.text("ABCXYZabc019-", min_size=1, max_size=6)


@given(
    WORDS,
    st.dates(),
    WORDS,
    st.integers(1, 100) | st.sampled_from([2.5, 12.5]),
    st.integers(0, 9),
    WORDS,
    st.sampled_from(["", "_front", "_zone", "_zones"]),
)
def test_what_is_put_together_is_taken_apart(glacier, date, satellite, resolution, quality, orbit, suffix):
    name = f"{glacier}_{date.isoformat()}_{satellite}_{resolution}_{quality}_{orbit}{suffix}"
    assert parse_caffe_name(name) == CaffeName(glacier, date, satellite, resolution, quality, orbit)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no real data here")
def test_names_of_real_files():
    files = list((SHARED_DATA / "caffe" / "data_raw").rglob("*.png"))
    assert len({parse_caffe_name(path.stem) for path in files}) == 3 <= len(files)
