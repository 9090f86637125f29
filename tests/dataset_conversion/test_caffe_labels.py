"""Label maps of calving fronts as pure functions: what the network learns, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dataset_conversion.caffe_labels import dilated, predicted_maps, training_label, zone_boundary, zones_below_front
from dataset_conversion.caffe_tasks import TASKS, task_by_classes, task_by_name
from nnunet_ext.errors import InputError

NA, ROCK, GLACIER, OCEAN, FRONT = range(5)
WITH_LABELS = [task for task in TASKS.values() if task.parts]
zone_maps = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))
fused_maps = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4))


def columns(*values: int, rows: int = 6) -> np.ndarray:
    """Return a map whose columns have these values."""
    return np.tile(np.array(values, np.uint8), (rows, 1))


def test_the_table_has_the_ids_of_the_reference():
    ids = {name: task.dataset_id for name, task in TASKS.items()}
    assert ids == {
        "fused": 500,
        "front": 501,
        "zones": 502,
        "mtl": 503,
        "mtl_recon": 504,
        "mtl_boundary": 505,
        "inference": None,
    }
    assert len({task.dataset_name for task in WITH_LABELS}) == 6


def test_lines_are_learned_at_the_full_resolution_only():
    supervised = {task.name: task.deep_supervision for task in TASKS["mtl_boundary"].layers}
    assert supervised == {"front": False, "zones": True, "boundary": False}


def test_an_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="'mlt'; expected one of fused, front, zones, mtl"):
        task_by_name("mlt")


def test_tasks_are_found_by_their_numbers_of_classes():
    found = {counts: task_by_classes(counts) for counts in [(5,), (2,), (4,), (2, 4), (2, 4, 2), (3,)]}
    names = {counts: task.name if task else None for counts, task in found.items()}
    assert names == {(5,): "fused", (2,): "front", (4,): "zones", (2, 4): "mtl", (2, 4, 2): "mtl_boundary", (3,): None}


def test_a_line_in_column_4_becomes_columns_2_to_6():
    line = np.zeros((9, 9), np.uint8)
    line[:, 4] = 1
    np.testing.assert_array_equal(dilated(line, 5), columns(0, 0, 1, 1, 1, 1, 1, 0, 0, rows=9))
    np.testing.assert_array_equal(dilated(line, 1), line)


def test_a_single_pixel_in_the_corner_becomes_3_by_3():
    line = np.zeros((9, 9), np.uint8)
    line[0, 0] = 1
    expected = np.zeros((9, 9), bool)
    expected[:3, :3] = True
    np.testing.assert_array_equal(dilated(line, 5), expected)


def test_the_boundary_is_glacier_beside_any_other_zone_and_never_the_image_border():
    zones = np.full((7, 7), GLACIER, np.uint8)
    assert not zone_boundary(zones).any()
    for other in (NA, ROCK, OCEAN):
        zones[3, 3] = other
        assert np.argwhere(zone_boundary(zones)).tolist() == [[2, 3], [3, 2], [3, 4], [4, 3]]


def test_ocean_beside_rock_is_no_boundary():
    assert not zone_boundary(columns(ROCK, OCEAN, NA)).any()


def test_the_dilated_boundary_of_a_straight_edge():
    zones = columns(*[GLACIER] * 6, *[OCEAN] * 4)
    label = training_label(TASKS["mtl_boundary"], np.zeros_like(zones), zones, front_width=5)
    boundary = predicted_maps(TASKS["mtl_boundary"], label)["boundary"]
    np.testing.assert_array_equal(boundary, columns(0, 0, 0, 1, 1, 1, 1, 1, 0, 0))


def test_fused_paints_the_dilated_front_over_the_zones():
    zones = columns(ROCK, GLACIER, ROCK, GLACIER, OCEAN, OCEAN, NA, OCEAN, NA)
    front = columns(0, 0, 0, 0, 1, 0, 0, 0, 0)
    label = training_label(TASKS["fused"], front, zones, front_width=5)
    np.testing.assert_array_equal(label, columns(ROCK, GLACIER, *[FRONT] * 5, OCEAN, NA))


def test_joint_labels_of_every_combination():
    zones = columns(NA, ROCK, GLACIER, OCEAN, NA, ROCK, GLACIER, OCEAN, rows=1)
    front = columns(0, 0, 0, 0, 1, 1, 1, 1, rows=1)
    for name in ("mtl", "mtl_recon"):
        assert training_label(TASKS[name], front, zones, front_width=1).tolist() == [list(range(8))]


def test_a_task_gets_only_the_label_maps_that_it_needs():
    zones = columns(GLACIER, OCEAN)
    np.testing.assert_array_equal(training_label(TASKS["zones"], None, zones, front_width=5), zones)
    with pytest.raises(InputError, match=r"'mtl' needs the label maps .* not given: \['front'\]"):
        training_label(TASKS["mtl"], None, zones, front_width=5)


@pytest.mark.parametrize("task", [task for task in WITH_LABELS if not task.is_fused], ids=lambda task: task.name)
@given(zones=zone_maps, data=st.data())
def test_what_was_put_together_comes_apart_again(task, zones, data):
    front = data.draw(hnp.arrays(np.uint8, zones.shape, elements=st.integers(0, 1)))
    label = training_label(task, front, zones, front_width=3)
    expected = {"front": dilated(front, 3), "zones": zones, "boundary": dilated(zone_boundary(zones), 3)}
    found = predicted_maps(task, label)
    assert label.dtype == np.uint8
    assert tuple(found) == task.parts
    for part, indices in found.items():
        np.testing.assert_array_equal(indices, expected[part])


def test_the_front_goes_to_the_nearer_zone_and_in_the_middle_to_the_ocean():
    fused = columns(GLACIER, GLACIER, *[FRONT] * 5, OCEAN, OCEAN)
    np.testing.assert_array_equal(zones_below_front(fused), columns(*[GLACIER] * 4, *[OCEAN] * 5))


def test_fused_and_back_gives_the_zones_that_a_straight_front_was_drawn_on():
    zones = columns(*[GLACIER] * 6, *[OCEAN] * 8)
    front = columns(*[0] * 6, 1, *[0] * 7)  # the front is ocean beside glacier
    label = training_label(TASKS["fused"], front, zones, front_width=5)
    np.testing.assert_array_equal(predicted_maps(TASKS["fused"], label)["zones"], zones)


def test_distances_are_euclidean():
    fused = np.full((6, 6), FRONT, np.uint8)
    fused[0, 0], fused[5, 2] = GLACIER, OCEAN
    zones = zones_below_front(fused)
    assert zones[2, 2] == GLACIER  # 2 steps along each axis, that is sqrt(8), to the glacier; 3 steps to the ocean
    assert zones[3, 2] == OCEAN  # sqrt(13) to the glacier, 2 to the ocean


def test_rock_and_not_available_stay_as_they_are_and_get_no_front_pixel():
    fused = np.array([[ROCK, FRONT, NA, FRONT, GLACIER, ROCK, OCEAN]], np.uint8)
    assert zones_below_front(fused).tolist() == [[ROCK, GLACIER, NA, GLACIER, GLACIER, ROCK, OCEAN]]


@pytest.mark.parametrize(
    ("others", "expected"), [([GLACIER], GLACIER), ([OCEAN], OCEAN), ([ROCK], OCEAN), ([FRONT], OCEAN)]
)
def test_a_front_without_one_or_both_of_the_zones(others, expected):
    fused = np.array([[FRONT, FRONT, *others]], np.uint8)
    assert zones_below_front(fused)[0, :2].tolist() == [expected, expected]


@given(fused_maps)
def test_the_way_back_is_that_of_all_distances(fused):
    found = zones_below_front(fused)
    kept = fused != FRONT
    np.testing.assert_array_equal(found[kept], fused[kept])
    squares = [
        {zone: min((sum((here - p) ** 2) for p in np.argwhere(fused == zone)), default=10**9) for zone in (2, 3)}
        for here in np.argwhere(~kept)
    ]
    assert found[~kept].tolist() == [GLACIER if d[GLACIER] < d[OCEAN] else OCEAN for d in squares]


def test_a_fused_label_that_is_none():
    with pytest.raises(InputError, match="labels from 0 to 5 found, expected 0 to 4"):
        zones_below_front(np.array([[0, 5]], np.uint8))


def test_an_image_without_front_has_an_empty_front():
    found = predicted_maps(TASKS["fused"], columns(GLACIER, OCEAN))
    assert not found["front"].any()
    np.testing.assert_array_equal(found["zones"], columns(GLACIER, OCEAN))
