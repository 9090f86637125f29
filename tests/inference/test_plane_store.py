from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nnunet_ext.errors import InputError, OutputError
from nnunet_ext.inference import plane_store
from nnunet_ext.inference.plane_store import LABELS, PROBABILITIES, STATE, PlaneStore
from tests.inference.full_disk import no_space

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = {"model": {"plans.json": "ab12"}, "step_size": 0.5, "planes": [2, 9]}
RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 250, (7, 3, 4), dtype=np.uint8)
CHANCES = RNG.random((2, 7, 3, 4)).astype(np.float16)


def store(folder: Path, *, heads: int = 0, identity: dict[str, Any] = IDENTITY, dtype: str = "uint8") -> PlaneStore:
    return PlaneStore(folder, identity, 2, 9, (3, 4), np.dtype(dtype), heads)


def test_planes_come_back_in_order(tmp_path):
    kept = store(tmp_path / "case")
    for start, stop in ((0, 1), (1, 4), (4, 7)):
        assert not kept.is_complete
        kept.append(PLANES[start:stop])
    assert kept.is_complete
    np.testing.assert_array_equal(kept.labels(), PLANES)


def test_labels_are_kept_in_the_type_of_the_store(tmp_path):
    kept = store(tmp_path, dtype="uint16")
    kept.append(PLANES.astype(np.int64) + 300)
    assert kept.labels().dtype == np.uint16
    np.testing.assert_array_equal(kept.labels(), PLANES.astype(int) + 300)


def test_probabilities_are_kept_plane_by_plane(tmp_path):
    kept = store(tmp_path, heads=2)
    kept.append(PLANES[:3], CHANCES[:, :3])
    kept.append(PLANES[3:], CHANCES[:, 3:])
    np.testing.assert_array_equal(kept.probabilities(), np.moveaxis(CHANCES, 0, 1))


def test_a_store_that_is_opened_again_goes_on_after_the_last_finished_plane(tmp_path):
    store(tmp_path).append(PLANES[:3])
    again = store(tmp_path)
    assert (again.first, again.closed, again.last) == (2, 5, 9)
    again.append(PLANES[3:])
    np.testing.assert_array_equal(again.labels(), PLANES)


def test_planes_that_were_written_but_not_counted_are_written_again(tmp_path, monkeypatch):
    first = store(tmp_path, heads=2)
    first.append(PLANES[:3], CHANCES[:, :3])
    with monkeypatch.context() as patched:
        patched.setattr(plane_store, "write_json", no_space)
        with pytest.raises(OutputError):
            first.append(PLANES[3:5], CHANCES[:, 3:5])
    assert (tmp_path / LABELS).stat().st_size == 5 * 12
    again = store(tmp_path, heads=2)
    assert again.closed == 5
    again.append(PLANES[3:], CHANCES[:, 3:])
    np.testing.assert_array_equal(again.labels(), PLANES)
    np.testing.assert_array_equal(again.probabilities(), np.moveaxis(CHANCES, 0, 1))


def test_half_a_plane_is_cut_off(tmp_path):
    store(tmp_path).append(PLANES[:3])
    with (tmp_path / LABELS).open("ab") as file:
        file.write(b"\1\2\3")
    again = store(tmp_path)
    again.append(PLANES[3:])
    np.testing.assert_array_equal(again.labels(), PLANES)


@pytest.mark.parametrize("name", [LABELS, PROBABILITIES])
def test_planes_that_are_missing_are_not_taken_for_zeros(tmp_path, name):
    store(tmp_path, heads=2).append(PLANES[:3], CHANCES[:, :3])
    with (tmp_path / name).open("r+b") as file:
        file.truncate(30)
    with pytest.raises(InputError, match=rf"{name}: 30 bytes, expected (36|144) at least.*--overwrite"):
        store(tmp_path, heads=2)


def test_planes_of_something_else_are_refused_and_what_differs_is_named(tmp_path):
    store(tmp_path).append(PLANES[:3])
    other = {**IDENTITY, "step_size": 0.25, "image": "cd34"}
    with pytest.raises(InputError) as caught:
        store(tmp_path, identity=other)
    message = str(caught.value)
    assert str(tmp_path / STATE) in message
    assert "image was None, is cd34; step_size was 0.5, is 0.25" in message
    assert "model" not in message
    assert store(tmp_path).closed == 5


def test_an_identity_is_the_same_after_the_way_through_json(tmp_path):
    identity = {**IDENTITY, "spacing": [0.1, 1 / 3, 2e-7], "folds": ["0", "all"], "mirroring": True}
    store(tmp_path, identity=identity).append(PLANES[:1])
    assert store(tmp_path, identity=json.loads(json.dumps(identity))).closed == 3


def test_no_planes_are_complete_at_once(tmp_path):
    kept = PlaneStore(tmp_path, IDENTITY, 4, 4, (3, 4), np.dtype(np.uint8), 2)
    assert kept.is_complete
    assert kept.labels().shape == (0, 3, 4)
    assert kept.probabilities().shape == (0, 2, 3, 4)


def test_a_full_disk_is_named_and_what_was_finished_stays(tmp_path, monkeypatch):
    kept = store(tmp_path)
    kept.append(PLANES[:3])
    with monkeypatch.context() as patched:
        patched.setattr(plane_store.os, "fsync", no_space)
        with pytest.raises(OutputError, match=rf"{LABELS}: no space left on the disk, 0\.00 GB needed"):
            kept.append(PLANES[3:])
    again = store(tmp_path)
    assert again.closed == 5
    np.testing.assert_array_equal(np.fromfile(tmp_path / LABELS, np.uint8).reshape(-1, 3, 4), PLANES[:3])
