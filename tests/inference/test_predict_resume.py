"""Runs of `nnunet_ext predict` that end before their time go on where they stopped, to the same bytes."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_ext.errors import BadCasesError, InputError, OutputExistsError
from nnunet_ext.imageio import read_volume, write_volume
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.inference.merge_parts import merge_parts
from nnunet_ext.inference.plane_store import PlaneStore
from nnunet_ext.inference.predict import Predicted, predict
from tests.builders import ROOT
from tests.inference.predict_runs import SMALL, copied, edit, force_scratch, names, voxels, write_image
from tests.inference.trained_model import write_trained_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (30, 28, 24)
WINDOWS = 5 * 4 * 4


class Killed(BaseException):
    """Stands in for the end of the process: nothing in the package catches it."""


@dataclass(frozen=True)
class Lab:
    """A model, an image, and what an undisturbed run makes of them."""

    model: Path
    images: Path
    undisturbed: Path

    def predict(self, output: Path, **more: Any) -> Predicted:
        return predict(self.images, output, self.model, device="cpu", **more)

    def is_same(self, output: Path) -> bool:
        """Return whether a folder holds what the undisturbed run left, to the byte, and nothing else."""
        return {path.name: path.read_bytes() for path in output.iterdir()} == {
            path.name: path.read_bytes() for path in self.undisturbed.iterdir()
        }


MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "folds, resampled, turned": {"folds": 2, "spacing": (1.2, 0.9, 1.1), "transpose": (2, 0, 1)},
    "2D": {"patch": (12, 10)},
}


def make_lab(folder: Path, **settings: Any) -> Lab:
    model = write_trained_model(folder / "model", **{**SMALL, **settings})
    images = write_image(folder / "images", "a_0000.nii.gz", shape=SHAPE).parent
    lab = Lab(model, images, folder / "undisturbed")
    lab.predict(lab.undisturbed)
    return lab


@pytest.fixture(scope="module")
def labs(tmp_path_factory) -> Callable[[str], Lab]:
    made: dict[str, Lab] = {}

    def get(name: str) -> Lab:
        if name not in made:
            made[name] = make_lab(tmp_path_factory.mktemp("lab"), **MODELS[name])
        return made[name]

    return get


@pytest.fixture
def lab(labs) -> Lab:
    return labs("plain")


def after_calls(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: int, end: Callable[[], None]) -> None:
    """Do something in place of a later call of a method."""
    original, count = getattr(owner, name), 0

    def counted(*arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            end()
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, counted)


def killed() -> None:
    raise Killed


def interrupt(lab: Lab, output: Path, windows: int, **more: Any) -> None:
    """Begin a run, or go on with it, and end it after so many windows."""
    with pytest.MonkeyPatch.context() as patched:
        after_calls(patched, nnUNetPredictor, "_internal_maybe_mirror_and_predict", windows, killed)
        with pytest.raises(Killed):
            lab.predict(output, **more)


def closed(output: Path, run: str = "whole", case: str = "a") -> int:
    return int(json.loads((output / "predict_state" / run / case / "state.json").read_text())["closed"])


@pytest.mark.parametrize("scratch", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_ends_several_times_in_the_middle_comes_to_the_same_bytes(
    labs, tmp_path, monkeypatch, model, scratch
):
    lab, output = labs(model), tmp_path / "out"
    if scratch:
        force_scratch(monkeypatch)
    total = windows_of(lab, tmp_path / "counted")
    interrupt(lab, output, total * 3 // 4)
    first = closed(output)
    interrupt(lab, output, total // 4, resume=True)
    assert 0 < first <= closed(output)
    assert not (output / "a.nii.gz").exists()
    lab.predict(output, resume=True)
    assert lab.is_same(output)


def windows_of(lab: Lab, output: Path) -> int:
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1

    with pytest.MonkeyPatch.context() as patched:
        after_calls(patched, nnUNetPredictor, "_internal_maybe_mirror_and_predict", 0, counted)
        lab.predict(output)
    return count


def test_what_is_finished_is_not_predicted_again(lab, tmp_path):
    interrupt(lab, tmp_path / "out", WINDOWS - 1)
    assert closed(tmp_path / "out") == 20
    # Planes 20 to 30 are touched by the last two rows but the first 5 of them.
    interrupt(lab, tmp_path / "out", 2 * 16 - 1, resume=True)
    lab.predict(tmp_path / "out", resume=True)
    assert lab.is_same(tmp_path / "out")


@pytest.mark.parametrize("appends", [0, 1, 2])
def test_planes_that_were_not_counted_yet_are_written_again(lab, tmp_path, monkeypatch, appends):
    with monkeypatch.context() as patched:
        # The store saves once as it is opened.
        after_calls(patched, PlaneStore, "_save", 1 + appends, killed)
        with pytest.raises(Killed):
            lab.predict(tmp_path / "out")
    lab.predict(tmp_path / "out", resume=True)
    assert lab.is_same(tmp_path / "out")


def test_probabilities_are_the_same_after_an_end_in_the_middle(lab, tmp_path):
    import blosc2

    lab.predict(tmp_path / "whole", save_probabilities=True)
    interrupt(lab, tmp_path / "out", 60, save_probabilities=True)
    lab.predict(tmp_path / "out", save_probabilities=True, resume=True)
    expected, found = (blosc2.open(str(tmp_path / name / "a.b2nd"))[:] for name in ("whole", "out"))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found.astype(np.float32).sum(axis=0), 1, atol=2e-3)
    assert names(tmp_path / "out") == ["a.b2nd", "a.nii.gz", "dataset.json", "plans.json"]


def test_a_part_goes_on_and_parts_make_up_the_whole(lab, tmp_path):
    output = tmp_path / "parts"
    for part, windows in enumerate((10, 40, 40)):
        interrupt(lab, output, windows, part=part, parts=3)
    assert [closed(output, f"part00{part}of003") for part in range(3)] == [0, 10, 20]
    assert names(output / "predict_state") == [f"part00{part}of003" for part in range(3)]
    for part in range(3):
        lab.predict(output, part=part, parts=3, resume=True)
    assert names(output) == ["a.parts", "dataset.json", "plans.json"]
    merge_parts(output, tmp_path / "merged")
    assert lab.is_same(tmp_path / "merged")


def test_more_parts_than_rows_make_up_the_whole_as_well(lab, tmp_path):
    for part in range(8):
        lab.predict(tmp_path / "parts", part=part, parts=8)
    merge_parts(tmp_path / "parts", tmp_path / "merged")
    assert lab.is_same(tmp_path / "merged")


# Runs that may not go on


def test_an_unfinished_run_is_not_begun_anew_by_accident(lab, tmp_path):
    interrupt(lab, tmp_path / "out", 60)
    with pytest.raises(OutputExistsError, match=r"an unfinished run; go on with it \(--resume\) or begin anew"):
        lab.predict(tmp_path / "out")
    assert closed(tmp_path / "out") > 0


def test_an_unfinished_run_is_begun_anew_where_that_is_asked_for(lab, tmp_path):
    other = write_trained_model(tmp_path / "other", **SMALL, seed=7)
    interrupt(Lab(other, lab.images, lab.undisturbed), tmp_path / "out", 60)
    lab.predict(tmp_path / "out", overwrite=True)
    assert lab.is_same(tmp_path / "out")


def another_model(lab: Lab, folder: Path) -> tuple[Lab, dict[str, Any]]:
    return Lab(write_trained_model(folder / "other", **SMALL, seed=7), lab.images, lab.undisturbed), {}


def other_plans(lab: Lab, folder: Path) -> tuple[Lab, dict[str, Any]]:
    model = copied(lab.model, folder / "other")
    edit(model / "plans.json", lambda plans: plans.update(plans_name="other"))
    return Lab(model, lab.images, lab.undisturbed), {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (another_model, "model (-m, -chk)"),
        (other_plans, "model (-m, -chk)"),
        (lambda lab, _: (lab, {"step_size": 0.25}), "step size (-step_size)"),
        (lambda lab, _: (lab, {"disable_tta": True}), "mirroring (--disable_tta)"),
        (lambda lab, _: (lab, {"save_probabilities": True}), "what is saved (--save-probabilities)"),
    ],
)
def test_a_run_does_not_go_on_with_something_else(lab, tmp_path, change, named):
    output = tmp_path / "out"
    interrupt(lab, output, 60)
    before = closed(output)
    other, more = change(lab, tmp_path)
    with pytest.raises(InputError, match=rf"run.json: the unfinished run differs in {re.escape(named)}; give the same"):
        other.predict(output, resume=True, **more)
    assert closed(output) == before
    lab.predict(output, resume=True)
    assert lab.is_same(output)


def test_a_run_does_not_go_on_with_fewer_folds(labs, tmp_path):
    lab = labs("folds, resampled, turned")
    interrupt(lab, tmp_path / "out", 40)
    with pytest.raises(InputError, match=r"differs in folds \(-f\), model \(-m"):
        lab.predict(tmp_path / "out", resume=True, folds=[0])
    with pytest.raises(InputError, match=r"differs in folds \(-f\); give"):
        lab.predict(tmp_path / "out", resume=True, folds=[1, 0])


@pytest.mark.parametrize(("spacing", "seed", "named"), [(1.0, 1, "image was"), (1.5, 0, "spacing was")])
def test_a_case_does_not_go_on_with_another_image(lab, tmp_path, spacing, seed, named):
    output = tmp_path / "out"
    interrupt(lab, output, 60)
    (tmp_path / "images").mkdir()
    image = voxels(SHAPE, seed)
    write_volume(tmp_path / "images" / "a_0000.nii.gz", image, Geometry((spacing, 1.0, 1.0)))
    found = Lab(lab.model, tmp_path / "images", lab.undisturbed).predict(output, resume=True)
    assert "another image or other settings" in found.failed["a"]
    assert named in found.failed["a"]
    assert not (output / "a.nii.gz").exists()


# Cases that are finished


@pytest.fixture
def three(lab, tmp_path) -> Lab:
    """Three images, of which the first is that of the lab."""
    images = tmp_path / "three"
    shutil.copytree(lab.images, images)
    for seed, case in enumerate("bc", 1):
        write_image(images, f"{case}_0000.nii.gz", seed=seed, shape=SHAPE)
    return Lab(lab.model, images, lab.undisturbed)


def test_finished_cases_are_skipped(three, tmp_path):
    output = tmp_path / "out"
    interrupt(three, output, WINDOWS + 60)
    assert names(output) == ["a.nii.gz", "dataset.json", "plans.json", "predict_state"]
    stamp = (output / "a.nii.gz").stat().st_mtime_ns
    found = three.predict(output, resume=True)
    assert (found.skipped, list(found.files), found.failed) == (["a"], ["b", "c"], {})
    assert (output / "a.nii.gz").stat().st_mtime_ns == stamp
    assert (output / "a.nii.gz").read_bytes() == (three.undisturbed / "a.nii.gz").read_bytes()


def test_where_everything_is_finished_there_is_nothing_to_do(three, tmp_path):
    three.predict(tmp_path / "out")
    before = names(tmp_path / "out")
    found = three.predict(tmp_path / "out", resume=True)
    assert (found.skipped, found.files) == (["a", "b", "c"], {})
    assert names(tmp_path / "out") == before


def test_a_run_may_be_begun_with_resume(lab, tmp_path):
    lab.predict(tmp_path / "out", resume=True)
    assert lab.is_same(tmp_path / "out")


def test_predictions_are_not_replaced_unless_asked_for(lab, tmp_path):
    lab.predict(tmp_path / "out")
    with pytest.raises(OutputExistsError, match=r"a\.nii\.gz"):
        lab.predict(tmp_path / "out")
    (tmp_path / "out" / "a.nii.gz").write_text("?")
    lab.predict(tmp_path / "out", overwrite=True)
    assert lab.is_same(tmp_path / "out")


def test_probabilities_are_not_replaced_unless_asked_for(lab, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.b2nd").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"a\.b2nd"):
        lab.predict(tmp_path / "out", save_probabilities=True)
    assert names(tmp_path / "out") == ["a.b2nd"]


def test_a_finished_case_without_the_probabilities_that_are_asked_for_is_named(lab, tmp_path):
    lab.predict(tmp_path / "out")
    with pytest.raises(BadCasesError, match=r"a\.nii\.gz: is there without a\.b2nd"):
        lab.predict(tmp_path / "out", save_probabilities=True, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_predictions_of_two_models_do_not_come_into_one_folder(three, tmp_path, resume):
    three.predict(tmp_path / "out")
    plans = (tmp_path / "out" / "plans.json").read_bytes()
    write_image(three.images, "d_0000.nii.gz", seed=4)
    other, _ = other_plans(three, tmp_path)
    if not resume:
        for case in "abc":
            (three.images / f"{case}_0000.nii.gz").unlink()
    with pytest.raises(OutputExistsError, match=r"plans\.json: of another model or dataset"):
        other.predict(tmp_path / "out", resume=resume)
    assert (tmp_path / "out" / "plans.json").read_bytes() == plans


def test_a_replacing_run_that_ends_does_not_take_old_predictions_for_its_own(three, tmp_path):
    output = tmp_path / "out"
    other = write_trained_model(tmp_path / "other", **SMALL, seed=7)
    Lab(other, three.images, three.undisturbed).predict(output)
    with pytest.MonkeyPatch.context() as patched:
        after_calls(patched, nnUNetPredictor, "_internal_maybe_mirror_and_predict", WINDOWS + 60, killed)
        with pytest.raises(Killed):
            three.predict(output, overwrite=True)
    found = three.predict(output, resume=True)
    assert (found.skipped, list(found.files)) == (["a"], ["b", "c"])
    three.predict(tmp_path / "expected")
    assert names(output) == names(tmp_path / "expected")
    for case in "abc":
        assert (output / f"{case}.nii.gz").read_bytes() == (tmp_path / "expected" / f"{case}.nii.gz").read_bytes()


def test_a_case_that_failed_is_tried_again(three, tmp_path):
    output = tmp_path / "out"
    broken = three.images / "b_0000.nii.gz"
    image, geometry = read_volume(broken)
    write_volume(
        broken, np.where(np.indices(SHAPE)[0] == 5, np.inf, image).astype(np.float32), geometry, overwrite=True
    )
    found = three.predict(output)
    assert list(found.failed) == ["b"]
    write_volume(broken, image, geometry, overwrite=True)
    found = three.predict(output, resume=True)
    assert (found.skipped, list(found.files), found.failed) == (["a", "c"], ["b"], {})
    assert not (output / "predict_state").exists()


# Killed processes

KILLED = """
import os, signal, sys
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunet_ext.cli import main
from nnunet_ext.imageio import VolumeWriter
from nnunet_ext.inference import case_prediction
from tests.inference.test_predict_resume import after_calls
import pytest

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

where, calls, scratch = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "scratch"
patched = pytest.MonkeyPatch()
if scratch:
    from tests.inference.predict_runs import force_scratch
    force_scratch(patched)
owner, name = {
    "window": (nnUNetPredictor, "_internal_maybe_mirror_and_predict"),
    "final file": (VolumeWriter, "check_complete"),
    "after the final file": (case_prediction.shutil, "rmtree"),
}[where]
after_calls(patched, owner, name, calls, kill)
sys.exit(main(sys.argv[4:]))
"""


def run_killed(lab: Lab, output: Path, where: str, calls: int, *, scratch: bool = False) -> None:
    """Run the command in a process of its own, which gets SIGKILL in place of a later call."""
    paths = ["-i", lab.images, "-o", output, "-m", lab.model, "-device", "cpu"]
    held = "scratch" if scratch else "memory"
    process = subprocess.run(
        [sys.executable, "-c", KILLED, where, str(calls), held, "predict", *map(str, paths)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_a_killed_process_leaves_no_scratch_files_and_goes_on(lab, tmp_path):
    output = tmp_path / "out"
    run_killed(lab, output, "window", 60, scratch=True)
    assert 0 < closed(output) < SHAPE[0]
    assert list(output.rglob("*.sums"))
    lab.predict(output, resume=True)
    assert lab.is_same(output)


def test_a_process_killed_while_it_writes_the_final_file_leaves_none(lab, tmp_path):
    output = tmp_path / "out"
    run_killed(lab, output, "final file", 0)
    assert len(list(output.glob(".partial-*-a.nii.gz"))) == 1
    assert not (output / "a.nii.gz").exists()
    lab.predict(output, resume=True)
    assert lab.is_same(output)


def test_a_process_killed_after_the_final_file_has_only_to_clean_up(lab, tmp_path, monkeypatch):
    output = tmp_path / "out"
    # The first call clears the way for the run.
    run_killed(lab, output, "after the final file", 1)
    assert (output / "a.nii.gz").exists()
    monkeypatch.setattr(nnUNetPredictor, "_internal_maybe_mirror_and_predict", lambda *_: killed())
    lab.predict(output, resume=True)
    assert lab.is_same(output)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_process_killed_at_ten_moments_comes_to_the_same_bytes(labs, tmp_path, model):
    lab = labs(model)
    total = windows_of(lab, tmp_path / "counted")
    moments = sorted(random.Random(0).sample(range(total), 10))
    after_closing = 0
    for moment in moments:
        output = tmp_path / f"out{moment}"
        run_killed(lab, output, "window", moment, scratch=moment % 2 == 0)
        after_closing += closed(output) > 0
        lab.predict(output, resume=True)
        assert lab.is_same(output), moment
    assert after_closing >= 3
