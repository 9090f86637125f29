"""Every class of a case is measured in its box as it would be in the whole volume."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from evaluation.components import COMPONENT_METRICS, count_components
from evaluation.fronts import front_distances, front_error
from evaluation.histogram import counts_of, joint_histogram
from evaluation.label_maps import LabelMaps, read_label_maps
from evaluation.labels import LabelSet, ScoredClass, choose_labels
from evaluation.measure import Request, diagonal, measure_classes
from evaluation.metrics import METRICS, choose_metrics
from evaluation.overlap import OVERLAP_METRICS, VOLUME_METRICS, Counts
from evaluation.surface import boundary_iou, surface_distances
from evaluation.surface_scores import SURFACE_METRICS, nsd
from nnunet_ext.errors import InputError
from tests.builders import SHARED_DATA
from tests.evaluation.label_folders import write_label

SPACING = (2.5, 1.0, 0.8)
LABELS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(0, 3))
PAIRS = LABELS.flatmap(lambda ref: st.tuples(st.just(ref), hnp.arrays(np.uint8, ref.shape, elements=st.integers(0, 3))))
ALL_METRICS = choose_metrics(["all"], (1.0, 3.0))


def label_set(*classes: ScoredClass, ignore: int | None = None) -> LabelSet:
    return LabelSet(classes, ignore, None, "test")


def maps_of(ref, pred, spacing=SPACING):
    ref, pred = np.asarray(ref), np.asarray(pred)
    return LabelMaps(joint_histogram(ref, pred), spacing, ref.shape, ref, pred)


def values_of_masks(ref, pred, *, ignored=None, spacing=SPACING):
    """Compute all metrics from masks of the whole volume, one by one."""
    counted = np.ones(ref.shape, bool) if ignored is None else ~ignored
    counts = Counts(
        *(int(np.count_nonzero(cell & counted)) for cell in (ref & pred, ~ref & pred, ref & ~pred, ~ref & ~pred))
    )
    pred = pred & counted
    planar = ref.shape[0] == 1
    sides = [size * step for size, step in zip(ref.shape, spacing, strict=True)]
    depth = 0.02 * math.hypot(*(sides[1:] if planar else sides))
    distances = surface_distances(pred, ref, spacing, ignored=ignored)
    components = count_components(pred, ref, spacing)
    return {
        **{name: function(counts) for name, function in OVERLAP_METRICS.items()},
        **{name: function(counts, math.prod(spacing)) for name, function in VOLUME_METRICS.items()},
        **{name: function(distances) for name, function in SURFACE_METRICS.items()},
        **{f"NSD_{tolerance}mm": nsd(distances, tolerance) for tolerance in (1, 3)},
        "boundary_IoU": boundary_iou(pred, ref, spacing, depth, ignored=ignored),
        **{name: function(components) for name, function in COMPONENT_METRICS.items()},
        "front_error": front_error(front_distances(pred, ref, spacing)),
    }


@settings(deadline=None)
@given(PAIRS)
def test_classes_and_regions_are_those_of_their_masks(pair):
    ref, pred = pair
    classes = (ScoredClass("one", (1,), line=True), ScoredClass("region", (1, 3), line=True))
    found = measure_classes(maps_of(ref, pred), label_set(*classes), Request(ALL_METRICS))
    for scored, scores in zip(classes, found, strict=True):
        expected = values_of_masks(np.isin(ref, scored.values), np.isin(pred, scored.values))
        assert scores.values == pytest.approx(expected, nan_ok=True)
        assert set(scores.values) == {metric.name for metric in ALL_METRICS}


@settings(deadline=None)
@given(PAIRS)
def test_ignored_voxels_count_nowhere(pair):
    ref, pred = pair
    classes = (ScoredClass("one", (1,), line=True), ScoredClass("two", (2,), line=True, not_annotated=frozenset({1})))
    found = measure_classes(maps_of(ref, pred), label_set(*classes, ignore=3), Request(ALL_METRICS))
    for scored, scores, ignored in zip(classes, found, ((3,), (1, 3)), strict=True):
        expected = values_of_masks(
            np.isin(ref, scored.values), np.isin(pred, scored.values), ignored=np.isin(ref, ignored)
        )
        assert scores.values == pytest.approx(expected, nan_ok=True)


@settings(deadline=None)
@given(PAIRS)
def test_large_and_negative_values_are_labels_too(pair):
    ref, pred = (np.array([0, -7, 70000, 2**33])[array] for array in pair)
    found = measure_classes(maps_of(ref, pred), label_set(ScoredClass("x", (-7, 2**33))), Request(ALL_METRICS))
    expected = values_of_masks(np.isin(ref, (-7, 2**33)), np.isin(pred, (-7, 2**33)))
    del expected["front_error"]
    assert found[0].values == pytest.approx(expected, nan_ok=True)


def test_one_dense_slice_is_measured_within_the_slice():
    """Beyond the slice nothing is known, so that it does not end the mask there."""
    ref = np.full((5, 9, 9), 2, np.uint8)
    ref[2] = 0
    ref[2, 2:7, 2:7] = 1
    pred = np.zeros_like(ref)
    pred[:, 2:7, 3:8] = 1
    (found,) = measure_classes(
        maps_of(ref, pred, (4.0, 1.0, 1.0)), label_set(ScoredClass("x", (1,)), ignore=2), Request(ALL_METRICS)
    )
    flat = values_of_masks(ref[2:3] == 1, pred[2:3] == 1, spacing=(4.0, 1.0, 1.0))
    assert {name: found.values[name] for name in SURFACE_METRICS} == {name: flat[name] for name in SURFACE_METRICS}
    assert found.values["HD"] == 1


def test_a_line_alone_has_a_front_error():
    ref = np.zeros((1, 12, 12), np.uint8)
    pred = ref.copy()
    ref[0, 5, :10], pred[0, 8, :10] = 1, 1
    classes = (ScoredClass("front", (1,), line=True), ScoredClass("same", (1,)))
    line, other = measure_classes(maps_of(ref, pred, (1.0, 7.0, 7.0)), label_set(*classes), Request(ALL_METRICS))
    assert line.values["front_error"] == pytest.approx(21.0)
    assert "front_error" not in other.values


def test_only_what_is_asked_for_is_measured():
    ref = np.ones((2, 3, 4), np.uint8)
    request = Request(choose_metrics(["HD95", "nsd"], (1.5,)))
    (found,) = measure_classes(maps_of(ref, ref), label_set(ScoredClass("x", (1,))), request)
    assert found.values == {"HD95": 0.0, "NSD_1.5mm": 1.0}
    assert (found.components, found.fronts) == (None, None)


def test_mesh_surfaces_and_the_depth_of_boundaries_are_passed_on():
    ref = np.zeros((8, 8, 8), np.uint8)
    ref[2:6, 2:6, 2:6] = 1
    pred = np.roll(ref, 1, 2)
    metrics = choose_metrics(["ASSD", "boundary_IoU"])
    maps, classes = maps_of(ref, pred), label_set(ScoredClass("x", (1,)))
    (mesh,) = measure_classes(maps, classes, Request(metrics, "mesh", 0.0))
    masks = (pred == 1, ref == 1, SPACING)
    assert mesh.values["ASSD"] == pytest.approx(SURFACE_METRICS["ASSD"](surface_distances(*masks, surface="mesh")))
    assert mesh.values["boundary_IoU"] == pytest.approx(boundary_iou(*masks, 0.0))
    (voxel,) = measure_classes(maps, classes, Request(metrics, "voxel", 2.0))
    assert voxel.values["ASSD"] != mesh.values["ASSD"]
    assert voxel.values["boundary_IoU"] != mesh.values["boundary_IoU"]


def test_the_diagonal_of_a_plane_has_no_depth():
    assert diagonal(maps_of(*[np.zeros((1, 3, 4))] * 2, spacing=(999.0, 2.0, 2.0))) == 10
    assert diagonal(maps_of(*[np.zeros((2, 3, 6))] * 2, spacing=(1.0, 1.0, 1.0))) == 7


def test_counts_need_no_voxels(tmp_path):
    ref, pred = (np.random.default_rng(seed).integers(0, 3, (4, 5, 6)).astype(np.uint8) for seed in (0, 1))
    paths = write_label(tmp_path / "r.mha", ref), write_label(tmp_path / "p.nrrd", pred)
    slim, full = (read_label_maps(*paths, keep_voxels=keep) for keep in (False, True))
    assert slim.reference is None
    assert slim.histogram == full.histogram == joint_histogram(ref, pred)
    assert slim.spacing == (3.0, 2.0, 1.0)
    np.testing.assert_array_equal(full.reference, ref)
    np.testing.assert_array_equal(full.prediction, pred)
    cheap = Request(choose_metrics(["overlap", "volume"]))
    assert not cheap.needs_voxels
    assert Request(choose_metrics(["Dice", "HD"])).needs_voxels
    (scores,) = measure_classes(slim, label_set(ScoredClass("x", (1,))), cheap)
    assert scores.counts == counts_of(slim.histogram, (1,))
    assert set(scores.values) == {*OVERLAP_METRICS, *VOLUME_METRICS}
    assert scores.values["volume_ref"] == 6 * np.count_nonzero(ref == 1)


def test_labels_stored_as_floating_point_numbers_are_whole(tmp_path):
    ref = np.arange(24, dtype=np.float32).reshape(2, 3, 4) % 3
    paths = write_label(tmp_path / "r.nii.gz", ref), write_label(tmp_path / "p.nii.gz", ref)
    maps = read_label_maps(*paths, keep_voxels=True)
    assert maps.reference.dtype.kind == "i"
    np.testing.assert_array_equal(maps.reference, ref)
    write_label(paths[1], ref + np.float32(0.25))
    with pytest.raises(InputError, match="whole numbers"):
        read_label_maps(*paths, keep_voxels=True)


def test_metrics_are_chosen_by_name_family_and_tolerance():
    names = [metric.name for metric in choose_metrics(["dice", "SURFACE", "Dice"], (2.0, 0.5))]
    assert names == ["Dice", "HD", "HD95", "HD95_pooled", "ASSD", "MASD", "NSD_0.5mm", "NSD_2mm"]
    assert [metric.name for metric in choose_metrics(["hd95"])] == ["HD95"]
    with pytest.raises(InputError, match=r"\['Hausdorff'\] are unknown, expected some of all, overlap"):
        choose_metrics(["Dice", "Hausdorff"])
    for tolerance in (-1.0, math.nan):
        with pytest.raises(InputError, match="tolerances"):
            choose_metrics(["NSD"], (1.0, tolerance))


def test_every_metric_is_computed_somewhere():
    computed = {*OVERLAP_METRICS, *VOLUME_METRICS, *SURFACE_METRICS, *COMPONENT_METRICS}
    assert {*METRICS} == computed | {"NSD", "boundary_IoU", "front_error"}


def known_answer(name):
    path = SHARED_DATA / "metrics" / "known_answers.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return next(entry for entry in json.loads(path.read_text()) if entry["id"] == name)


def square(size, *spans):
    array = np.zeros((1, size, size), np.uint8)
    for value, (rows, columns) in enumerate(spans, start=1):
        array[0, slice(*rows), slice(*columns)] = value
    return array


@pytest.mark.parametrize(("name", "span"), [("mr_sn2.10_pred1", (6, 8)), ("mr_sn2.10_pred2", (4, 10))])
def test_known_counts_of_metrics_reloaded(name, span):
    expected = known_answer(name)["expect"]
    maps = maps_of(square(14, ((5, 9), (5, 9))), square(14, (span, span)), (1.0, 1.0, 1.0))
    (found,) = measure_classes(maps, label_set(ScoredClass("x", (1,))), Request(ALL_METRICS))
    assert found.counts == Counts(*(expected[name] for name in ("tp", "fp", "fn", "tn")))
    assert found.values["Dice"] == pytest.approx(expected["dice"], abs=5e-5)
    assert found.values["MASD"] == pytest.approx(expected["masd"], abs=6e-3)


@pytest.mark.parametrize("name", ["pan_overpredicted", "pan_underpredicted"])
def test_known_overlap_and_volume_of_panoptica(name):
    expected, shapes = known_answer(name)["expect"], known_answer("pan_overpredicted")
    arrays = [np.array([shapes[role]], np.uint8) for role in ("ref", "pred")]
    if name == "pan_underpredicted":
        arrays.reverse()
    (found,) = measure_classes(
        maps_of(*arrays, (1.0, 1.0, 1.0)), label_set(ScoredClass("x", (1,))), Request(choose_metrics(["all"], (0.5,)))
    )
    assert found.values["Dice"] == pytest.approx(expected["dice"])
    assert found.values["relative_volume_difference"] == pytest.approx(expected["rvd"])
    if "nsd_05" in expected:
        distances = surface_distances(arrays[1] == 1, arrays[0] == 1, (1, 1, 1))
        shares = [np.mean(one <= 0.5) for one in (distances.to_reference, distances.to_prediction)]
        assert np.mean(shares) == pytest.approx(expected["nsd_05"])  # the mean of both directions, where ours pools
        assert found.values["NSD_0.5mm"] == pytest.approx(1 / 3)


def test_known_overlap_of_instances():
    """The file's Dice of each label and of one label with another; of all together it divides by sums of labels."""
    expected = known_answer("pan_multi_instances")["expect"]
    ref = square(30, ((1, 10), (1, 10)), ((11, 20), (11, 20)))
    pred = square(30, ((1, 3), (1, 3)), ((7, 13), (7, 13)))
    classes = label_set(ScoredClass("all", (1, 2)), ScoredClass("1", (1,)), ScoredClass("2", (2,)))
    both, *single = measure_classes(maps_of(ref, pred), classes, Request(ALL_METRICS))
    assert [scores.values["Dice"] for scores in single] == pytest.approx([expected["dice_1_1"], expected["dice_2_2"]])
    assert 2 * both.counts.tp / (ref.sum() + pred.sum()) == pytest.approx(expected["dice_binary"])
    assert both.values["Dice"] == pytest.approx(2 * 17 / (162 + 40))
    swapped = np.array([0, 2, 1], np.uint8)[pred]
    found = [scores.values["Dice"] for scores in measure_classes(maps_of(ref, swapped), classes, Request(ALL_METRICS))]
    assert found[1:] == pytest.approx([expected["dice_ref1_pred2"], expected["dice_ref2_pred1"]])


def test_empty_masks_follow_the_policy_and_not_that_of_others():
    """Of both empty, MetricsReloaded scores overlap with 1 and we with no value; distances are 0 for both of us."""
    assert known_answer("mr_both_empty")["expect"] == {
        **dict.fromkeys(("hd", "hd95", "masd", "assd"), 0),
        **dict.fromkeys(("nsd", "biou", "fbeta"), 1),
    }
    nothing, something = np.zeros((1, 8, 8), np.uint8), square(8, ((2, 5), (2, 5)))
    classes, request = label_set(ScoredClass("x", (1,), line=True)), Request(ALL_METRICS)
    both, missed, invented = (
        measure_classes(maps_of(ref, pred), classes, request)[0]
        for ref, pred in ((nothing, nothing), (something, nothing), (nothing, something))
    )
    assert (both.counts.empty, missed.counts.empty, invented.counts.empty) == ("both", "pred", "ref")
    of_volumes = {"volume_ref", "volume_pred", "relative_volume_difference", "specificity"}
    for metric in ALL_METRICS:
        if metric.name in of_volumes:
            continue
        values = [scores.values[metric.name] for scores in (both, missed, invented)]
        expected = [0, math.nan, math.nan] if metric.penalised else [math.nan, 0, 0]
        assert values == pytest.approx(expected, nan_ok=True), metric.name
    assert [s.values["relative_volume_difference"] for s in (both, missed, invented)] == pytest.approx(
        [math.nan, -1, math.nan], nan_ok=True
    )
    assert invented.values["specificity"] == pytest.approx(55 / 64)


def test_lines_are_those_of_tasks_without_deep_supervision(tmp_path):
    path = tmp_path / "dataset.json"
    labels = {"background": 0, "front/front": [3, 4, 5], "zones/rock": [1, 4], "zones/ice": [2, 5]}
    tasks = {"front": {"deep_supervision": False}, "zones": {}}
    path.write_text(json.dumps({"labels": labels, "tasks": tasks}))
    assert [scored.line for scored in choose_labels(declaration=path).classes] == [True, False, False]
    assert [s.line for s in choose_labels(declaration=path, lines=["ice"]).classes] == [False, False, True]
    assert [s.line for s in choose_labels(declaration=path, lines=["zones"]).classes] == [False, True, True]
    assert [s.line for s in choose_labels(declaration=path, lines=["front/front"]).classes] == [True, False, False]
    with pytest.raises(InputError, match=r"--lines: \['river'\] is not among the classes \['front/front'"):
        choose_labels(declaration=path, lines=["river", "ice"])


def test_the_histogram_is_that_of_the_maps():
    assert maps_of([[[0, 1]]], [[[1, 1]]]).histogram == Counter({(0, 1): 1, (1, 1): 1})


def plain_surface_distances(pred, ref, spacing):
    """The textbook way, over the whole of both masks: erosion and Euclidean distance transform."""
    ends = [(edges.min(), edges.max() + 1) for edges in np.nonzero(pred | ref)]
    pred, ref = (np.pad(mask[tuple(slice(*edge) for edge in ends)], 1) for mask in (pred, ref))
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (pred, ref)]
    maps = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return maps[1][surfaces[0]], maps[0][surfaces[1]]


def test_a_knee_and_its_prediction_are_measured_as_textbooks_do():
    folder = SHARED_DATA / "knee_pair"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    paths = folder / "9996098_R_segmentation.nii.gz", folder / "9996098.nii.gz"
    maps = read_label_maps(*paths, keep_voxels=True)
    assert maps.shape == (160, 384, 384)
    classes = label_set(ScoredClass("4", (4,)), ScoredClass("2", (2,)))
    found = measure_classes(maps, classes, Request(choose_metrics(["overlap", "surface"])))
    for scored, scores in zip(classes.classes, found, strict=True):
        pred, ref = maps.prediction == scored.values[0], maps.reference == scored.values[0]
        there, back = plain_surface_distances(pred, ref, maps.spacing)
        assert scores.values["HD"] == pytest.approx(max(there.max(), back.max()), rel=1e-4)
        assert scores.values["HD95"] == pytest.approx(max(np.percentile(one, 95) for one in (there, back)), rel=1e-4)
        assert scores.values["ASSD"] == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-4)
        assert scores.values["Dice"] == pytest.approx(2 * (pred & ref).sum() / (pred.sum() + ref.sum()))
        assert 0.8 < scores.values["Dice"] < 0.95
