"""What `nnunet_ext predict` does when something is wrong: with its arguments, the model, images, the disk."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from PIL import Image

from nnunet_ext.cli import main
from nnunet_ext.imageio import read_volume, write_volume
from nnunet_ext.imageio.geometry import Geometry
from tests.inference.full_disk import no_space, small_disk
from tests.inference.predict_runs import SMALL, copied, edit, force_scratch, names, voxels, write_image
from tests.inference.trained_model import write_trained_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """Exit status and what was said."""

    status: int
    error: str


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_trained_model(tmp_path_factory.mktemp("faults") / "model", **SMALL)


@pytest.fixture
def images(tmp_path) -> Path:
    return write_image(tmp_path / "images", "a_0000.nii.gz").parent


@pytest.fixture
def run(tmp_path, model, images, capfd) -> Callable[..., Outcome]:
    def predict(*more: object, images: Path = images, model: Path = model, output: Path = tmp_path / "out") -> Outcome:
        paths = ["-i", images, "-o", output, "-m", model, "-device", "cpu"]
        status = main(["predict", *map(str, [*paths, *more])])
        return Outcome(status, capfd.readouterr().err)

    return predict


def configured(model: Path, target: Path, **changes: Any) -> Path:
    """Copy a model and change its configuration in the plans."""
    copied(model, target)
    edit(target / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(changes))
    return target


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", 3, "--parts", 3], "--part 3 --parts 3: expected a part from 0 to 2"),
        (["--part", -1, "--parts", 3], "--part -1 --parts 3: expected a part from 0 to 2"),
        (["--part", 0, "--parts", 0], "--part 0 --parts 0: expected at least one part"),
        (["--part", 1], "--part I and --parts N belong together"),
        (["--parts", 2], "--part I and --parts N belong together"),
        (["--memory", "abc"], "--memory abc: expected a size such as 8G or 500M"),
        (["--format", ".xyz"], "--format .xyz: expected one of .nii.gz"),
        (["--format", ".png"], "22 slices of uint8 given, PNG holds one slice"),
        (["-step_size", 0], "-step_size 0.0: expected a number above 0 and up to 1"),
        (["-step_size", 1.5], "-step_size 1.5: expected"),
        (["-f", 3], "fold 3 with checkpoint_final.pth expected, found: 0 (-f, -chk)"),
        (["-chk", "checkpoint_best.pth"], "with checkpoint_best.pth in it (-chk)"),
        (["--resume", "--overwrite"], "--resume and --overwrite"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_anything_is_written(run, tmp_path, arguments, message):
    outcome = run(*arguments)
    assert outcome.status == 1
    assert message in outcome.error
    assert not (tmp_path / "out").exists()


def test_too_little_memory_is_named_with_what_would_do(run, tmp_path):
    outcome = run("--memory", "1M")
    assert outcome.status == 1
    assert "failed: a: 0.00 GB of memory is too little, expected" in outcome.error
    assert not (tmp_path / "out" / "a.nii.gz").exists()
    assert run("--resume").status == 0


def test_a_device_that_is_not_there_is_named(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = run("-device", "cuda")
    assert outcome.status == 1
    assert "-device cuda: not available on this machine, expected one of cpu" in outcome.error


def test_an_output_that_lies_in_a_file_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("?")
    outcome = run(output=tmp_path / "file" / "out")
    assert outcome.status == 1
    assert f"{tmp_path / 'file'}: is no folder" in outcome.error


def test_an_output_that_cannot_be_written_is_refused(run, tmp_path):
    with small_disk(tmp_path / "disk", 2**20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        outcome = run(output=disk / "out")
    assert outcome.status == 1
    assert f"{disk}: may not be written" in outcome.error


def test_predictions_do_not_go_into_the_folder_of_the_images(run, images):
    (images / "a_0000.nii.gz").rename(images / "a.nii.gz")
    before = (images / "a.nii.gz").read_bytes()
    for more in ((), ("--overwrite",), ("--resume",)):
        outcome = run(*more, output=images)
        assert outcome.status == 1
        assert "is the folder of the images" in outcome.error
    assert names(images) == ["a.nii.gz"]
    assert (images / "a.nii.gz").read_bytes() == before


@pytest.mark.parametrize("more", [(), ("--overwrite",), ("--resume",)])
def test_a_prediction_does_not_replace_the_only_image(run, images, more):
    scan = (images / "a_0000.nii.gz").rename(images / "a.nii.gz")
    before = scan.read_bytes()
    outcome = run(*more, images=scan, output=images)
    assert outcome.status == 1
    assert f"{scan}: is an image, which the prediction would replace" in outcome.error
    assert scan.read_bytes() == before
    assert names(images) == ["a.nii.gz"]


def test_a_link_to_an_image_is_not_replaced_either(run, images, tmp_path):
    (images / "a_0000.nii.gz").rename(images / "a.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.nii.gz").symlink_to(images / "a.nii.gz")
    outcome = run("--overwrite")
    assert outcome.status == 1
    assert "is an image, which the prediction would replace" in outcome.error


# The model


def test_a_missing_model_is_named(run, tmp_path):
    outcome = run(model=tmp_path / "nothing")
    assert outcome.status == 1
    assert f"{tmp_path / 'nothing'}: no such folder, expected a trained model" in outcome.error


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
@pytest.mark.parametrize(
    ("content", "said"), [("{", "not a JSON file"), ("[]", "expected a JSON object"), (None, "no")]
)
def test_broken_files_of_a_model_are_named(run, model, tmp_path, name, content, said):
    broken = copied(model, tmp_path / "broken")
    (broken / name).unlink()
    if content is not None:
        (broken / name).write_text(content)
    outcome = run(model=broken)
    assert outcome.status == 1
    assert f"{broken / name}: {said}" in outcome.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "where", "key"),
    [
        *(("plans.json", (), key) for key in ("configurations", "transpose_forward", "image_reader_writer")),
        ("plans.json", (), "foreground_intensity_properties_per_channel"),
        *(
            ("plans.json", ("configurations", "3d_fullres"), key)
            for key in ("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm", "resampling_fn_data")
        ),
        *(("dataset.json", (), key) for key in ("labels", "channel_names", "file_ending")),
    ],
)
def test_what_is_missing_in_plans_or_dataset_ends_in_a_message(run, model, tmp_path, name, where, key):
    broken = copied(model, tmp_path / "broken")

    def remove(content: dict[str, Any]) -> None:
        for step in where:
            content = content[step]
        del content[key]

    edit(broken / name, remove)
    outcome = run(model=broken)
    assert outcome.status == 1
    assert f"{broken}: " in outcome.error
    assert key in outcome.error
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_or_cannot_be_read_are_named(run, model, tmp_path):
    for content in (b"no weights", (model / "fold_0" / "checkpoint_final.pth").read_bytes()[:500]):
        broken = copied(model, tmp_path / f"broken{len(content)}")
        (broken / "fold_0" / "checkpoint_final.pth").write_bytes(content)
        outcome = run(model=broken)
        assert outcome.status == 1
        assert f"{broken}: the model cannot be loaded" in outcome.error


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preprocessor_name": "MyPreprocessor"}, "preprocessor MyPreprocessor"),
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "resample_torch_fornnunet"),
        ({"resampling_fn_probabilities": "my_resampling"}, "my_resampling"),
        ({"normalization_schemes": ["MyNormalization"]}, "MyNormalization"),
        ({"use_mask_for_norm": [True]}, "use_mask_for_norm true"),
    ],
)
def test_what_cannot_be_done_plane_by_plane_is_refused_with_the_command_that_can(run, model, tmp_path, changes, said):
    outcome = run(model=configured(model, tmp_path / "other", **changes))
    assert outcome.status == 1
    assert f"{tmp_path / 'other'}: " in outcome.error
    assert said in outcome.error
    assert "nnUNetv2_predict" in outcome.error
    assert not (tmp_path / "out").exists()


def test_the_older_name_for_channels_is_taken(run, model, tmp_path):
    old = copied(model, tmp_path / "old")
    edit(old / "dataset.json", lambda dataset: dataset.update(modality=dataset.pop("channel_names")))
    assert run(model=old).status == 0


# Images


def test_a_wrong_number_of_channels_is_named_for_all_cases(run, images, tmp_path):
    for name in ("a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz"):
        write_image(images, name)
    outcome = run()
    assert outcome.status == 1
    assert "2 problems found" in outcome.error
    assert "a_0000.nii.gz: case 'a' has 2 channels, the model expects 1 (image)" in outcome.error
    assert "case 'b' has 2 channels" in outcome.error
    assert not (tmp_path / "out").exists()


def test_a_missing_channel_is_named(run, images):
    for name in ("a_0001.nii.gz", "b_0000.nii.gz"):
        write_image(images, name)
    outcome = run()
    assert outcome.status == 1
    assert "case 'b' has the channels [0], expected [0, 1]" in outcome.error


def test_channels_of_different_shapes_are_named(run, tmp_path):
    two = write_trained_model(tmp_path / "two", channels=("first", "second"), **SMALL)
    folder = tmp_path / "pairs"
    write_image(folder, "a_0000.nii.gz")
    write_image(folder, "a_0001.nii.gz", shape=(22, 18, 15))
    outcome = run(images=folder, model=two)
    assert outcome.status == 1
    assert "a_0001.nii.gz: (22, 18, 15) voxels (z, y, x), expected (22, 18, 16) as in" in outcome.error


def test_both_channels_count(run, tmp_path):
    two = write_trained_model(tmp_path / "two", channels=("first", "second"), **SMALL)
    for number in (0, 1):
        write_image(tmp_path / f"pairs{number}", "a_0000.nii.gz")
        write_image(tmp_path / f"pairs{number}", "a_0001.nii.gz", seed=number + 1)
        assert run(images=tmp_path / f"pairs{number}", model=two, output=tmp_path / f"out{number}").status == 0
    first, second = (read_volume(tmp_path / f"out{number}" / "a.nii.gz")[0] for number in (0, 1))
    assert (first != second).any()


def test_an_empty_folder_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = run(images=tmp_path / "empty")
    assert outcome.status == 1
    assert f"{tmp_path / 'empty'}: no volume found" in outcome.error


LARGE = (40, 200, 200)


def break_gzip(folder: Path) -> Path:
    path = write_image(folder, "b_0000.nii.gz", shape=LARGE)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    return path


def cut_gzip(folder: Path) -> Path:
    path = write_image(folder, "b_0000.nii.gz", shape=LARGE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def break_metaimage(folder: Path) -> Path:
    path = write_image(folder, "b_0000.mha", shape=LARGE)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    return path


def cut_plain_metaimage(folder: Path) -> Path:
    path = folder / "b_0000.mha"
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(path), useCompression=False)
    path.write_bytes(path.read_bytes()[:-3000])
    return path


def break_tiff(folder: Path) -> Path:
    """Leave the directories of the pages, and a hole in the middle of their content."""
    path = folder / "b_0000.tif"
    tifffile.imwrite(path, voxels(), compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[11].dataoffsets[0], file.pages[11].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes(count)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("broken", [break_gzip, cut_gzip, break_metaimage, cut_plain_metaimage, break_tiff])
def test_an_image_that_is_broken_in_the_middle_does_not_stop_the_others(run, images, tmp_path, broken):
    path = broken(images)
    write_image(images, "c_0000.nii.gz", seed=2)
    outcome = run()
    assert outcome.status == 1
    assert f"failed: b: {path}" in outcome.error
    assert names(tmp_path / "out") == ["a.nii.gz", "c.nii.gz", "dataset.json", "plans.json", "predict_state"]
    write_image(tmp_path / "whole", "b_0000.nii.gz", seed=1)
    path.unlink()
    shutil.copy(tmp_path / "whole" / "b_0000.nii.gz", images)
    assert run("--resume").status == 0
    assert names(tmp_path / "out") == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "dataset.json", "plans.json"]


@pytest.mark.parametrize("ending", [".tif", ".nii"])
def test_an_image_that_is_cut_off_is_named_and_nothing_is_written(run, images, tmp_path, ending):
    path = images / f"b_0000{ending}"
    if ending == ".tif":
        tifffile.imwrite(path, voxels(), photometric="minisblack")
    else:
        sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(path), useCompression=False)
    path.write_bytes(path.read_bytes()[:-3000])
    outcome = run()
    assert outcome.status == 1
    assert "1 problem found, nothing was written" in outcome.error
    assert f"{path}: " in outcome.error
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_not_finite_are_named_with_file_and_slice(run, images, tmp_path):
    array = voxels()
    array[13, 2, 3] = np.nan
    write_volume(images / "b_0000.nii.gz", array, Geometry())
    outcome = run()
    assert outcome.status == 1
    assert (
        f"failed: b: {images / 'b_0000.nii.gz'}: slice 13 (z, counted from 0) holds 1 voxel that is NaN"
        in outcome.error
    )
    assert (tmp_path / "out" / "a.nii.gz").exists()


def test_logits_beyond_half_precision_are_refused_as_by_nnunet(run, model, tmp_path):
    loud = copied(model, tmp_path / "loud")
    path = loud / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    for name, weights in checkpoint["network_weights"].items():
        if "seg_layers" in name:
            weights.mul_(1e6)
    torch.save(checkpoint, path)
    outcome = run(model=loud)
    assert outcome.status == 1
    assert "failed: a: the network gives out numbers beyond half precision" in outcome.error
    assert not (tmp_path / "out" / "a.nii.gz").exists()


def test_too_little_memory_of_a_gpu_fails_the_case_with_a_message(run, monkeypatch):
    def no_memory(*_arguments: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("nnunet_ext.inference.sliding.SlidingWindow._predict_strips", no_memory)
    outcome = run()
    assert outcome.status == 1
    assert "failed: a: the GPU has too little free memory" in outcome.error


def same_labels(first: Path, second: Path) -> bool:
    return np.array_equal(read_volume(first)[0], read_volume(second)[0])


@pytest.mark.parametrize("name", ["a_0000.NII.GZ", "a_0000.Tif", "a_0000.MHA", "A.NRRD"])
def test_endings_may_have_capitals(run, tmp_path, name):
    assert run().status == 0
    folder = tmp_path / "capitals"
    folder.mkdir()
    plain = tmp_path / f"plain{name[name.index('.') :].lower()}"
    write_volume(plain, voxels(), Geometry())
    plain.rename(folder / name)
    assert run(images=folder, output=tmp_path / "other").status == 0
    case = name.split(".")[0].removesuffix("_0000")
    assert same_labels(tmp_path / "out" / "a.nii.gz", tmp_path / "other" / f"{case}.nii.gz")


def test_a_folder_of_slices_is_one_image(run, tmp_path):
    assert run().status == 0
    for folder in (tmp_path / "scan", tmp_path / "scans" / "scan"):
        folder.mkdir(parents=True)
        for z, pixels in enumerate(voxels()):
            tifffile.imwrite(folder / f"z{z}.tif", pixels)
    for number, where in enumerate((tmp_path / "scan", tmp_path / "scans")):
        outcome = run("--format", ".tif", images=where, output=tmp_path / f"out{number}")
        assert outcome.status == 0
        assert "no spacing given, 1 mm assumed" in outcome.error
        assert same_labels(tmp_path / "out" / "a.nii.gz", tmp_path / f"out{number}" / "scan.tif")
        assert names(tmp_path / f"out{number}") == ["dataset.json", "plans.json", "scan.json", "scan.tif"]


def test_pictures_are_predicted_by_a_two_dimensional_model(run, tmp_path):
    flat = write_trained_model(
        tmp_path / "flat", patch=(12, 10), features=2, file_ending=".png", reader="NaturalImage2DIO"
    )
    folder = tmp_path / "pictures"
    folder.mkdir()
    for case in ("a", "b"):
        pixels = np.random.default_rng(ord(case)).integers(0, 255, (30, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{case}_0000.png")
    assert run(images=folder, model=flat).status == 0
    assert names(tmp_path / "out") == ["a.png", "b.png", "dataset.json", "plans.json"]
    labels = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert labels.shape == (30, 24)
    assert 1 < len(np.unique(labels)) <= 3


def test_an_image_of_one_voxel_and_one_of_zeros_are_predicted(run, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    write_volume(folder / "one_0000.nii.gz", np.ones((1, 1, 1), np.float32), Geometry())
    write_volume(folder / "zero_0000.nii.gz", np.zeros((4, 3, 2), np.float32), Geometry())
    assert run(images=folder).status == 0
    assert read_volume(tmp_path / "out" / "zero.nii.gz")[0].shape == (4, 3, 2)


# The disk

PAGE = 4096
DISK = 4 * 2**20
CUBE = (32, 30, 28)


def pages(*sizes: int) -> int:
    """Return the bytes that files take on a disk in memory."""
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def space_until(stage: str, undisturbed: Path, file: str) -> int:
    """Return the bytes of a disk that is full while this is written, by what the same run wrote elsewhere."""
    copies = pages(*((undisturbed / name).stat().st_size for name in ("plans.json", "dataset.json")))
    voxel_count = int(np.prod(CUBE))
    before_final = copies + 2 * PAGE + pages(voxel_count)
    if stage == "records":
        return PAGE // 2
    if stage in ("labels", "sums"):
        return copies + 3 * PAGE + (voxel_count // 2 if stage == "labels" else PAGE)
    if stage == "probabilities":
        return copies + 3 * PAGE + voxel_count * 2
    if stage == "final":
        return before_final + pages((undisturbed / file).stat().st_size) - PAGE
    return before_final + pages(voxel_count * 3 * 2) + pages((undisturbed / file).stat().st_size) - PAGE


@pytest.mark.parametrize(
    ("stage", "file", "more"),
    [
        ("records", "run.json", ()),
        ("labels", "(labels.raw|state.json)", ()),
        ("sums", "window.sums", ()),
        *(("final", f"a{ending}", ("--format", ending)) for ending in (".nii", ".nii.gz", ".mha", ".nrrd", ".tif")),
        ("probabilities", "(labels.raw|probabilities.raw|state.json)", ("--save-probabilities",)),
        ("written probabilities", "a.b2nd", ("--save-probabilities",)),
    ],
)
def test_a_full_disk_is_named_and_the_run_can_go_on_later(run, images, tmp_path, monkeypatch, stage, file, more):
    (images / "a_0000.nii.gz").unlink()
    write_image(images, "a_0000.nii.gz", shape=CUBE)
    assert run(*more).status == 0
    expected = {path.name: path for path in (tmp_path / "out").glob("a.*")}
    with small_disk(tmp_path / "disk", DISK) as disk:
        output = disk / "out"
        filler = disk / "filler"
        filler.write_bytes(bytes(DISK - space_until(stage, tmp_path / "out", file)))
        with monkeypatch.context() as patched:
            if stage == "sums":
                force_scratch(patched)
            outcome = run(*more, output=output)
        assert outcome.status == 1
        assert re.search(
            rf"/{file}: (no space left on the disk.*|could not be written .*), 0.00 GB free", outcome.error
        )
        assert not list(output.glob("a.*"))
        assert not list(output.rglob(".partial-*"))
        assert not list(output.rglob("*.sums"))
        filler.unlink()
        assert run(*more, "--resume", output=output).status == 0
        for name in {*expected} - {"a.b2nd"}:
            assert (output / name).read_bytes() == expected[name].read_bytes()
        assert names(output) == names(tmp_path / "out")


@pytest.mark.parametrize(
    ("function", "file"),
    [
        ("nnunet_ext.inference.plane_store.os.fsync", "labels.raw"),
        ("nnunet_ext.imageio.VolumeWriter.write", "a.nii.gz"),
    ],
)
def test_the_error_of_a_full_disk_ends_in_a_message(run, tmp_path, monkeypatch, function, file):
    with monkeypatch.context() as patched:
        patched.setattr(function, no_space)
        outcome = run()
    assert outcome.status == 1
    assert f"{file}: no space left on the disk" in outcome.error
    assert "GB free" in outcome.error
    assert names(tmp_path / "out") == ["dataset.json", "plans.json", "predict_state"]


def test_an_error_of_the_system_fails_the_case_only(run, images, tmp_path, monkeypatch):
    write_image(images, "b_0000.nii.gz", seed=1)
    from nnunet_ext.inference.case import CaseImage

    opened = CaseImage.open

    def failing(image: CaseImage, stack: Any) -> Any:
        if image.name == "a":
            raise OSError(5, "Input/output error", "a_0000.nii.gz")
        return opened(image, stack)

    monkeypatch.setattr(CaseImage, "open", failing)
    outcome = run()
    assert outcome.status == 1
    assert "failed: a: [Errno 5] Input/output error: 'a_0000.nii.gz'" in outcome.error
    assert (tmp_path / "out" / "b.nii.gz").exists()
