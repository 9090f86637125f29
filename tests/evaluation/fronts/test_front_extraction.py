"""Fronts of zones and of masks: the examples of the specification, the failures of the reference, invariants."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from evaluation.front_extraction import clean_zones, front_of_mask, front_of_zones, longest_paths
from nnunet_ext.caffe.grey_levels import ZONES, to_indices
from nnunet_ext.errors import InputError

N, R, G, O = range(4)  # noqa: E741 - as in the specification
ZONE_MAPS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))
MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def zones(text):
    return np.array([["NRGO".index(letter) for letter in line] for line in text.split()])


def front(text, **options):
    return front_of_zones(zones(text), resolution=7, min_length=0, **options)


def pixels(mask):
    return [tuple(map(int, at)) for at in np.argwhere(mask)]


def glacier_beside_ocean(rows, columns=20):
    """Return zones whose front is column 10 of all rows."""
    found = np.full((rows, columns), G)
    found[:, 10:] = O
    return found


# Fronts of zones


def test_the_example_of_the_specification():
    grey = np.array([[127, 127, 0], [127, 254, 254], [0, 254, 64]])
    found = front_of_zones(to_indices(grey, ZONES)[0], resolution=20, min_length=0)
    assert pixels(found) == [(1, 1)]


def test_the_example_of_the_specification_as_the_benchmark_does_it():
    assert pixels(front("GGN GOO NOR", compat=True)) == [(1, 1)]


def test_the_front_lies_in_the_ocean():
    assert pixels(front("GGOO GGOO")) == [(0, 2), (1, 2)]


def test_diagonal_contact_is_no_front():
    assert pixels(front("GR RO")) == []


def test_the_edge_of_the_image_is_no_front():
    # Padding or wrapping around would make one of the outermost columns a front.
    assert pixels(front("OOOG OOOG")) == [(0, 2), (1, 2)]
    assert not front("OO OO").any()


def test_rock_and_na_have_no_front():
    assert not front("RRO NNO").any()


def test_a_strait_does_not_flood_the_glacier():
    assert pixels(front("GORR")) == [(0, 1)]


def test_the_benchmark_floods_the_smaller_side_of_a_strait():
    assert not front("GORR", compat=True).any()


# Islands and lakes


def test_an_island_becomes_ocean():
    found = clean_zones(zones("GOOOO GOGOO GOOOO GGGGG"))
    assert found.tolist() == zones("GOOOO GOOOO GOOOO GGGGG").tolist()


def test_a_rock_on_the_edge_stays():
    text = "GOOR GOOO"
    assert clean_zones(zones(text)).tolist() == zones(text).tolist()
    assert clean_zones(zones(text), compat=True).tolist() == zones("GOOO GOOO").tolist()


def test_a_lake_becomes_glacier():
    found = clean_zones(zones("GGGGO GOGGO GGGGO"))
    assert found.tolist() == zones("GGGGO GGGGO GGGGO").tolist()


def test_a_second_bay_at_the_edge_keeps_its_front():
    text = "OGGOO OGGOO"
    assert pixels(front(text)) == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert pixels(front(text, compat=True)) == [(0, 3), (1, 3)]


def test_ocean_that_ends_at_na_is_no_lake():
    # The part of the image beyond the swath of the satellite is N/A.
    text = "GGGGO GONGO GGGGO"
    assert clean_zones(zones(text)).tolist() == zones(text).tolist()


def test_the_only_ocean_is_no_lake_and_the_only_land_no_island():
    for text in ("GGG GOG GGG", "OOO OGO OOO"):
        assert clean_zones(zones(text)).tolist() == zones(text).tolist()


def test_ocean_is_connected_over_corners():
    # A fjord that goes to the edge in diagonal steps alone.
    text = "GGGO GGOG GOGG GGGG"
    assert clean_zones(zones(text)).tolist() == zones(text).tolist()


@given(ZONE_MAPS)
def test_a_front_is_ocean_beside_glacier_of_the_cleaned_zones(found):
    for compat in (False, True):
        clean = clean_zones(found, compat=compat)
        expected = [
            (y, x)
            for y, x in pixels(clean == O)
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            if 0 <= y + dy < clean.shape[0] and 0 <= x + dx < clean.shape[1] and clean[y + dy, x + dx] == G
        ]
        assert pixels(front_of_zones(found, resolution=1, min_length=0, compat=compat)) == sorted(set(expected))


@given(ZONE_MAPS)
def test_the_benchmark_keeps_one_part_of_ocean_at_most(found):
    clean = clean_zones(found, compat=True)
    assert ndimage.label(clean == O, np.ones((3, 3)))[1] <= 1


@given(ZONE_MAPS)
def test_cleaning_leaves_the_given_zones_alone_and_finds_nothing_to_clean_afterwards(found):
    before = found.copy()
    clean = clean_zones(found, compat=True)
    assert (found == before).all()
    assert (clean_zones(clean, compat=True) == clean).all()


# Length


@pytest.mark.parametrize(("metres", "dropped"), [(20, 37), (7, 107), (6, 125), (12, 62), (17, 44)])
def test_a_front_of_750_metres_is_dropped_and_a_longer_one_kept(metres, dropped):
    assert not front_of_zones(glacier_beside_ocean(dropped), resolution=metres).any()
    assert front_of_zones(glacier_beside_ocean(dropped + 1), resolution=metres).sum() == dropped + 1
    for rows in (dropped, dropped + 1):
        mask = np.zeros((rows, 5), bool)
        mask[:, 2] = True
        assert front_of_mask(mask, resolution=metres).sum() == rows * (rows > dropped)


def test_parts_of_a_front_that_touch_at_corners_are_one():
    found = np.full((40, 60), O)
    for y in range(40):
        found[y, : y + 5] = G
    # One pixel in each row, which meets the next one at a corner.
    assert front_of_zones(found, resolution=20).sum() == 40
    assert not front_of_zones(found, resolution=18).any()


def test_the_minimum_length_is_an_option():
    assert front_of_zones(glacier_beside_ocean(37), resolution=20, min_length=739).sum() == 37
    assert not front_of_zones(glacier_beside_ocean(37), resolution=20, min_length=740).any()


def test_a_gap_of_one_pixel_divides_a_front_unless_it_is_bridged():
    found = glacier_beside_ocean(60)
    found[30, 8:12] = R
    assert not front_of_zones(found, resolution=20).any()
    bridged = front_of_zones(found, resolution=20, bridged_gap=1)
    assert bridged.sum() == 59
    assert not bridged[30].any()


@pytest.mark.parametrize("gap", [1, 2, 3, 4])
def test_gaps_up_to_the_given_number_of_pixels_are_bridged(gap):
    mask = np.zeros((3, 80), bool)
    mask[1, :30] = mask[1, 30 + gap : 60] = True
    for bridged in range(6):
        found = front_of_mask(mask, resolution=20, bridged_gap=bridged)
        assert found.any() == (bridged >= gap)


def test_the_box_comes_after_the_length():
    # 10 pixels in the box, of a front that is long enough.
    found = front_of_zones(glacier_beside_ocean(60), resolution=20, box=(slice(5, 15), slice(0, 20)))
    assert pixels(found) == [(y, 10) for y in range(5, 15)]


# Straits


def test_a_narrow_strait_has_a_front_unless_its_width_is_given():
    found = np.full((9, 30), G)
    found[:, 20:] = O
    found[3:5, :] = O
    assert front_of_zones(found, resolution=7, min_length=0)[3:5, :20].all()
    assert front_of_zones(found, resolution=7, min_length=0, strait_width=1)[3:5, :20].all()
    for width in (2, 3):
        closed = front_of_zones(found, resolution=7, min_length=0, strait_width=width)
        assert pixels(closed) == [(y, 20) for y in range(9)]


def test_ocean_at_the_edge_of_the_image_is_no_strait():
    found = np.full((9, 9), G)
    found[:, 8] = O
    assert front_of_zones(found, resolution=7, min_length=0, strait_width=3)[:, 8].all()


# Fronts of masks


def test_a_wide_line_is_thinned():
    mask = np.zeros((60, 21), bool)
    mask[:, 8:13] = True
    found = front_of_mask(mask, resolution=20)
    assert found[5:-5, 10].all()
    assert (found.sum(axis=1) <= 1).all()


def test_the_skeleton_is_that_of_the_whole_mask_and_not_of_the_part_in_the_box():
    # A wide line that leaves the box at a slant: cut first, its skeleton has spurs along the cut.
    slanted = np.zeros((120, 120), bool)
    for y in range(120):
        slanted[y, max(0, y - 12) : y + 13] = True
    box = (slice(30, 90), slice(40, 80))
    whole = front_of_mask(slanted, resolution=20)
    found = front_of_mask(slanted, resolution=20, box=box)
    assert (found[box] == whole[box]).all()
    assert found.sum() == whole[box].sum() > 0
    cut = np.zeros_like(slanted)
    cut[box] = slanted[box]
    assert (front_of_mask(cut, resolution=20) != found).any()


def test_branches_are_dropped():
    mask = np.zeros((61, 61), bool)
    mask[30, :] = True
    mask[10:30, 20] = True
    found = front_of_mask(mask, resolution=20)
    assert found[30, :19].all()
    assert found[30, 22:].all()
    assert not found[:29].any()


def test_each_part_has_a_path_of_its_own():
    mask = np.zeros((80, 80), bool)
    mask[10, :] = mask[40, :] = mask[70, 50:] = True
    found = front_of_mask(mask, resolution=20)
    assert (found[10].all(), found[40].all(), found[70].any()) == (True, True, False)


def test_compat_extracts_the_same_front_of_a_mask():
    mask = np.random.default_rng(0).random((80, 80)) < 0.5
    mask = ndimage.binary_closing(mask, np.ones((3, 3)))
    assert (front_of_mask(mask, resolution=20, compat=True) == front_of_mask(mask, resolution=20)).all()


def test_an_empty_mask_has_no_front():
    assert not front_of_mask(np.zeros((9, 9), bool), resolution=20).any()


@given(MASKS)
def test_parts_are_thinned_as_the_whole_image_is(mask):
    from skimage.morphology import skeletonize

    found = front_of_mask(mask, resolution=1, min_length=0)
    assert (found == longest_paths(skeletonize(mask))).all()
    assert not (found & ~mask).any()


# Longest paths


def test_the_longest_path_of_a_tree_goes_between_its_farthest_ends():
    lines = np.zeros((30, 30), bool)
    lines[15, 2:28] = True
    lines[5:15, 20] = True
    lines[16:19, 8] = True
    found = longest_paths(lines)
    # From the left end to the top of the branch: 18 + 10 steps, but 25 to the right end.
    assert found[15, 2:19].all()
    assert found[5:14, 20].all()
    assert not found[15, 22:].any()
    assert not found[17:19].any()


def test_diagonal_steps_are_longer():
    lines = np.zeros((21, 21), bool)
    lines[10, :11] = True
    for step in range(1, 8):
        lines[10 + step, 10 + step] = True  # 7 steps, 9.9 pixels
    for column in range(11, 20):
        lines[9, column] = True  # 9 steps of which one is diagonal, 9.4 pixels
    found = longest_paths(lines)
    assert found[17, 17]
    assert not found[9, 13:].any()


@given(MASKS)
def test_a_path_is_the_longest_of_the_shortest_ones_in_lines_without_loops(mask):
    from scipy.sparse.csgraph import dijkstra

    from evaluation.front_extraction import _neighbours

    parts, number = ndimage.label(mask, np.ones((3, 3)))
    paths = longest_paths(mask)
    assert not (paths & ~mask).any()
    for part in range(1, number + 1):
        points, path = np.argwhere(parts == part), np.argwhere(paths & (parts == part))
        graph = _neighbours(parts == part, points)
        longest = dijkstra(graph).max()
        along = dijkstra(_neighbours(paths & (parts == part), path)).max()
        assert along <= longest + 1e-6
        if graph.nnz // 2 == len(points) - 1:
            assert along == pytest.approx(longest)


def test_ten_thousand_pixels_take_less_than_a_second():
    lines = np.zeros((1000, 1000), bool)
    lines[::100] = True
    lines[:, 5] = True
    assert lines.sum() > 10_000
    start = time.perf_counter()
    found = longest_paths(lines)
    assert time.perf_counter() - start < 1
    # From the right end of the first row to that of the last one; corners are cut.
    assert 2 * 990 + 900 <= found.sum() <= 2 * 995 + 901


# What is refused


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": 0}, "resolution is 0"),
        ({"resolution": float("nan")}, "resolution is nan"),
        ({"resolution": 7, "min_length": -1}, "minimum length is -1"),
        ({"resolution": 7, "bridged_gap": -2}, "-2 pixels"),
    ],
)
def test_numbers_out_of_range_are_refused(options, expected):
    for extract in (front_of_zones, front_of_mask):
        with pytest.raises(InputError, match=expected):
            extract(np.zeros((3, 3), np.uint8), **options)


def test_grey_levels_are_no_class_indices():
    with pytest.raises(InputError, match=r"\[127, 254\] found, expected class indices 0 \(na\), 1 \(rock\)"):
        front_of_zones(np.array([[127, 254]]), resolution=7)


def test_volumes_and_probabilities_are_refused():
    for wrong in (np.zeros((1, 3, 3), np.uint8), np.zeros((3, 3))):
        with pytest.raises(InputError, match="expected whole numbers"):
            front_of_zones(wrong, resolution=7)
