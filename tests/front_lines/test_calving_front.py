"""From a folder of images to fronts; a rule stands in for the network."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

import nnunet_ext.files
from dataset_conversion.caffe_labels import training_label
from dataset_conversion.caffe_tasks import TASKS
from dataset_conversion.raw_dataset import write_dataset_json
from evaluation.front_extraction import front_of_zones
from nnunet_ext.caffe.grey_levels import ZONES, to_indices
from nnunet_ext.cli import VERBS, main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.front_lines.calving_front import calving_front
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task

FIRST, SECOND, BROKEN = (f"COL_2011-11-{day}_TDX_20_1_092" for day in (13, 14, 15))
TRAINED = [name for name, task in TASKS.items() if task.parts]
GLACIER, OCEAN = ZONES["glacier"], ZONES["ocean"]
COLUMN = 40


def scene(column=COLUMN):
    """An image whose grey levels are those of its zones: glacier on the left, ocean from a column on."""
    image = np.full((60, 80), GLACIER, np.uint8)
    image[:, column:] = OCEAN
    image[:5, :5] = ZONES["rock"]
    return image


def write_images(folder, **images):
    folder.mkdir(exist_ok=True)
    for name, image in (images or {FIRST: scene(), f"{SECOND}_0000": scene(50)}).items():
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


def write_model(folder, task="mtl", folds=("0", "1"), conversion=None, labels=None):
    model = folder / "Dataset503_Test" / "trainer__plans__2d"
    model.mkdir(parents=True)
    write_dataset_json(
        model,
        channel="SAR",
        labels=labels or TASKS[task].labels,
        cases=1,
        file_ending=".png",
        conversion=conversion or {"source": "caffe", "task": task},
    )
    (model / "plans.json").write_text("{}")
    for fold in folds:
        (model / f"fold_{fold}").mkdir()
        (model / f"fold_{fold}" / "checkpoint_final.pth").touch()
    return model


class Network:
    """Says for each pixel what its grey level means, and remembers what it was asked."""

    def __init__(self, task="mtl"):
        self.task = TASKS[task]
        self.spacings = []

    def __call__(self, image, spacing):
        self.spacings.append(spacing)
        zones, _ = to_indices(image, ZONES)
        front = front_of_zones(zones, resolution=20)
        return training_label(self.task, front, zones, front_width=5)


def do(folder, network=None, task="mtl", **options):
    """Run on the images of a folder with a model beside them."""
    model = next(iter(folder.glob("Dataset*/*__2d")), None) or write_model(folder, task)
    network = network or Network(task)
    return calving_front(folder / "images", model, folder / "out", predict=network, **options)


def table(folder):
    with (folder / "out" / "fronts.csv").open(newline="") as file:
        return {row["stem"]: row for row in csv.DictReader(file)}


def picture(path):
    return np.asarray(Image.open(path))


def geojson(folder, stem=FIRST):
    return json.loads((folder / "out" / f"{stem}.geojson").read_text())


def files(folder):
    return sorted(path.name for path in (folder / "out").iterdir())


@pytest.mark.parametrize("task", TRAINED)
def test_a_model_of_any_task_gives_the_front(tmp_path, task):
    write_images(tmp_path / "images")
    found = do(tmp_path, task=task)
    assert [(image.stem, image.state) for image in found.images] == [(FIRST, "front"), (SECOND, "front")]
    front = picture(tmp_path / "out" / f"{FIRST}_front.png")
    assert set(np.unique(front)) == {0, 255}
    rows, columns = np.nonzero(front)
    # One pixel wide; a mask of a front loses its ends to the skeleton.
    assert len(rows) == len(set(rows)) >= 55
    assert np.abs(columns - COLUMN).max() <= 2
    zone = tmp_path / "out" / f"{FIRST}_zone.png"
    assert zone.exists() == ("zones" in TASKS[task].parts)
    if zone.exists():
        np.testing.assert_array_equal(picture(zone), scene())
    assert picture(tmp_path / "out" / f"{FIRST}_overlay.png")[30, COLUMN].tolist() == [255, 255, 0]


def test_the_table_and_the_lines_say_the_same(tmp_path):
    write_images(tmp_path / "images")
    do(tmp_path)
    row = table(tmp_path)[FIRST]
    # 60 pixels in a column are 59 steps of 20 m.
    assert row == {
        "stem": FIRST,
        "state": "front",
        "length_m": "1180.0",
        "parts": "1",
        "predicted_pixels": "60",
        "message": "",
    }
    [feature] = geojson(tmp_path)["features"]
    assert feature["properties"]["length_m"] == 1180
    assert feature["geometry"]["coordinates"] == [[COLUMN, y] for y in range(60)]


def test_the_front_head_is_used_when_asked_for(tmp_path):
    class Shifted(Network):
        def __call__(self, image, spacing):
            zones, _ = to_indices(image, ZONES)
            front = np.zeros(zones.shape, bool)
            front[:, 20] = True
            return training_label(self.task, front, zones, front_width=5)

    write_images(tmp_path / "images")
    do(tmp_path, Shifted(), source="front")
    assert set(np.nonzero(picture(tmp_path / "out" / f"{FIRST}_front.png"))[1]) <= {19, 20, 21}


def test_no_front_is_said_to_be_none(tmp_path):
    write_images(tmp_path / "images", **{FIRST: np.full((40, 50), OCEAN, np.uint8)})
    found = do(tmp_path)
    assert found.failed == ()
    assert (table(tmp_path)[FIRST]["state"], table(tmp_path)[FIRST]["length_m"]) == ("no front", "0.0")
    content = geojson(tmp_path)
    assert content["features"] == []
    assert content["calving_front"]["state"] == "no front"
    assert not picture(tmp_path / "out" / f"{FIRST}_front.png").any()


def test_a_front_of_750_metres_is_dropped_and_a_longer_one_kept(tmp_path):
    write_images(tmp_path / "images", short=scene()[:37], long=scene()[:38])
    found = do(tmp_path, resolution=20)
    assert {image.stem: image.state for image in found.images} == {"long": "front", "short": "no front"}


def test_a_front_outside_of_the_box_does_not_count(tmp_path):
    write_images(tmp_path / "images")
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    corners = "x, y\n30, 10\n30, 40\n70, 40\n70, 10\n"
    (boxes / f"{FIRST}__box.txt").write_text(corners)
    found = do(tmp_path, boxes=boxes)
    assert set(np.nonzero(picture(tmp_path / "out" / f"{FIRST}_front.png"))[0]) == set(range(10, 40))
    assert "no box" in found.failed[0].message
    assert SECOND in found.failed[0].message


# --- what goes wrong with single images


def test_a_broken_png_does_not_stop_the_others_and_is_named(tmp_path, capsys, monkeypatch):
    images = write_images(tmp_path / "images")
    whole = (images / f"{FIRST}.png").read_bytes()
    (images / f"{BROKEN}.png").write_bytes(whole[: len(whole) // 2])
    (images / "COL_2011-11-16_TDX_20_1_092.png").write_bytes(b"no picture")
    network = Network()
    monkeypatch.setattr("nnunet_ext.front_lines.model.load_predictor", lambda *_, **__: network)
    model = write_model(tmp_path)
    words = ["-i", str(images), "-m", str(model), "-o", str(tmp_path / "out"), "-np", "1"]
    assert main(["calving_front", *words]) == 1
    printed = capsys.readouterr()
    assert f"{BROKEN}.png" in printed.err
    assert "COL_2011-11-16_TDX_20_1_092.png: no PNG header" in printed.err
    assert "2 front, 2 failed" in printed.out
    rows = table(tmp_path)
    assert [row["state"] for row in rows.values()] == ["front", "front", "failed", "failed"]
    assert f"{BROKEN}.png" in rows[BROKEN]["message"]
    assert not any(name.startswith(BROKEN) for name in files(tmp_path))

    Image.fromarray(scene()).save(images / f"{BROKEN}.png")
    (images / "COL_2011-11-16_TDX_20_1_092.png").unlink()
    assert main(["calving_front", *words]) == 0
    assert len(network.spacings) == 3
    assert "(2 finished before)" in capsys.readouterr().out


def test_an_image_that_cannot_be_predicted_does_not_stop_the_others(tmp_path):
    class Full(Network):
        def __call__(self, image, spacing):
            if image[30, COLUMN] == OCEAN:
                raise RuntimeError("CUDA out of memory")
            return super().__call__(image, spacing)

    write_images(tmp_path / "images")
    found = do(tmp_path, Full())
    assert [image.state for image in found.images] == ["failed", "front"]
    assert found.failed[0].message == f"image '{FIRST}': RuntimeError: CUDA out of memory"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.zeros((9, 9, 3), np.uint8), "8 bits and 3 channels found, expected 8 bits and one grey channel"),
        (np.zeros((9, 9), np.uint16), "16 bits and 1 channels found, expected 8 bits"),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path, image, expected):
    write_images(tmp_path / "images", **{FIRST: scene(), BROKEN: image})
    found = do(tmp_path)
    assert [image.state for image in found.images] == ["front", "failed"]
    assert expected in found.failed[0].message


def test_channels_doubles_and_label_maps_are_refused(tmp_path):
    names = ("a_0000", "a_0001", "b", "b_0000", f"{FIRST}_front")
    write_images(tmp_path / "images", **dict.fromkeys(names, scene()))
    found = do(tmp_path, resolution=20)
    messages = [image.message for image in found.failed]
    assert len(messages) == len(found.images) == 4
    assert "other channels" in messages[0] + messages[1]
    assert any("'b' is there more than once" in text for text in messages)
    assert any("name of a label map" in text for text in messages)


def test_an_unknown_pixel_size_says_how_to_give_it(tmp_path):
    write_images(tmp_path / "images", mine=scene())
    found = do(tmp_path)
    assert "give --resolution METRES, a world file" in found.failed[0].message
    assert do(tmp_path, resolution=20).failed == ()


# --- maps


def test_a_world_file_gives_pixel_size_and_map_coordinates(tmp_path):
    images = write_images(tmp_path / "images", mine=scene())
    (images / "mine.pgw").write_text("20\n0\n0\n-20\n1010\n8990\n")
    do(tmp_path, crs="EPSG:3413")
    content = geojson(tmp_path, "mine")
    coordinates = content["features"][0]["geometry"]["coordinates"]
    assert coordinates[:2] == [[1010 + 20 * COLUMN, 8990], [1010 + 20 * COLUMN, 8970]]
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::3413"


def test_georeferencing_can_be_left_alone(tmp_path):
    images = write_images(tmp_path / "images", mine=scene())
    (images / "mine.pgw").write_text("20\n0\n0\n-20\n1010\n8990\n")
    do(tmp_path, resolution=20, pixel_coordinates=True)
    assert geojson(tmp_path, "mine")["features"][0]["geometry"]["coordinates"][0] == [COLUMN, 0]


def test_name_and_map_that_differ_are_refused(tmp_path):
    images = write_images(tmp_path / "images", **{FIRST: scene()})
    (images / f"{FIRST}.pgw").write_text("30\n0\n0\n-30\n0\n0\n")
    assert "20 m per pixel by its name, 30 m by" in do(tmp_path).failed[0].message


# --- resuming


def test_finished_images_are_not_predicted_again(tmp_path):
    write_images(tmp_path / "images")
    do(tmp_path)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path)}
    network = Network()
    found = do(tmp_path, network)
    assert network.spacings == []
    assert found.skipped == 2
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path)} == before


def test_an_image_with_a_missing_file_is_predicted_again(tmp_path):
    write_images(tmp_path / "images")
    do(tmp_path)
    before = files(tmp_path)
    (tmp_path / "out" / f"{FIRST}_overlay.png").unlink()
    network = Network()
    do(tmp_path, network)
    assert len(network.spacings) == 1
    assert files(tmp_path) == before


def test_an_interrupted_run_leaves_nothing_half_written_and_goes_on(tmp_path):
    class Interrupted(Network):
        def __call__(self, image, spacing):
            if self.spacings:
                raise KeyboardInterrupt
            return super().__call__(image, spacing)

    write_images(tmp_path / "images")
    with pytest.raises(KeyboardInterrupt):
        do(tmp_path, Interrupted())
    assert not any(SECOND in name or name.startswith(".") for name in files(tmp_path))
    assert [row["state"] for row in table(tmp_path).values()] == ["front", "not done"]
    network = Network()
    do(tmp_path, network)
    assert len(network.spacings) == 1
    assert [row["state"] for row in table(tmp_path).values()] == ["front", "front"]


def test_a_failure_while_writing_leaves_no_file_of_the_image(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    write_images(tmp_path / "images")
    monkeypatch.setattr("nnunet_ext.front_lines.finish.geojson_text", fail)
    found = do(tmp_path)
    assert "No space left" in found.failed[0].message
    assert files(tmp_path) == ["fronts.csv"]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("renamed", range(4))
def test_a_crash_between_the_files_of_an_image_leaves_it_unfinished(tmp_path, monkeypatch, existing, renamed):
    replace, calls = nnunet_ext.files._replace, []

    def crash(partial, path):
        if len(calls) == renamed:
            raise KeyboardInterrupt
        calls.append(path)
        replace(partial, path)

    write_images(tmp_path / "images", **{FIRST: scene()})
    write_model(tmp_path)
    if existing:
        do(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(nnunet_ext.files, "_replace", crash)
        with pytest.raises(KeyboardInterrupt):
            do(tmp_path, overwrite=existing)
    network = Network()
    found = do(tmp_path, network)
    assert len(network.spacings) == 1
    assert found.failed == ()


def test_other_settings_are_refused_and_named(tmp_path):
    write_images(tmp_path / "images")
    do(tmp_path)
    before = (tmp_path / "out" / f"{FIRST}.geojson").read_text()
    with pytest.raises(BadCasesError, match=r"made with folds \['0', '1'\], not \['1'\]") as caught:
        do(tmp_path, folds=["1"], min_length=100.0)
    assert len(caught.value.problems) == 4
    assert (tmp_path / "out" / f"{FIRST}.geojson").read_text() == before
    assert do(tmp_path, folds=["1"], overwrite=True).skipped == 0
    assert geojson(tmp_path)["calving_front"]["folds"] == ["1"]


def test_files_of_others_are_not_replaced(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "out").mkdir()
    label = tmp_path / "out" / f"{FIRST}_front.png"
    Image.fromarray(scene()).save(label)
    found = do(tmp_path)
    assert f"{FIRST}_front.png: not written by this command" in found.failed[0].message
    np.testing.assert_array_equal(picture(label), scene())
    assert do(tmp_path, overwrite=True).failed == ()


def test_a_table_of_others_is_not_replaced(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fronts.csv").write_text("name,length\n")
    with pytest.raises(OutputExistsError, match=r"fronts\.csv"):
        do(tmp_path)


def test_several_processes_write_the_same(tmp_path):
    write_images(tmp_path / "images", **{f"s{number}": scene(30 + number) for number in range(3)})
    do(tmp_path, resolution=20)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path)}
    do(tmp_path, resolution=20, processes=2, overwrite=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path)} == before


# --- models and arguments


def test_all_folds_are_used_that_are_there(tmp_path):
    write_images(tmp_path / "images")
    write_model(tmp_path, folds=("0", "10", "2", "all"))
    do(tmp_path)
    assert geojson(tmp_path)["calving_front"]["folds"] == ["0", "2", "10"]


@pytest.mark.parametrize(
    ("folds", "asked", "expected"),
    [
        (("0",), ["0", "3"], r"fold 3 with checkpoint_final\.pth expected, found: 0"),
        ((), None, r"no folder fold_<number>"),
    ],
)
def test_a_missing_fold_is_named(tmp_path, folds, asked, expected):
    write_images(tmp_path / "images")
    write_model(tmp_path, folds=folds)
    with pytest.raises(MissingInputError, match=expected):
        do(tmp_path, folds=asked)


def test_models_of_other_datasets_are_refused(tmp_path):
    write_images(tmp_path / "images")
    write_model(tmp_path, task="zones", conversion={"source": "soil_ct"})
    with pytest.raises(InputError, match=r"dataset\.json: expected a dataset made by 'nnunet_ext convert caffe'"):
        do(tmp_path)
    assert not (tmp_path / "out").exists()


def test_tasks_with_other_names_are_refused_whatever_their_classes(tmp_path):
    write_images(tmp_path / "images")
    others = JointLabels((Task("vessels", ("none", "vessel")), Task("tissue", ("none", "a", "b", "c"))))
    write_model(tmp_path, labels=others, conversion={"source": "stack"})
    with pytest.raises(InputError, match=r"dataset\.json: not the model of a dataset from 'nnunet_ext convert caffe'"):
        do(tmp_path)


def test_stacked_tasks_with_the_names_of_ours_are_fine(tmp_path):
    write_images(tmp_path / "images")
    write_model(tmp_path, conversion={"source": "stack"})
    assert [image.state for image in do(tmp_path).images] == ["front", "front"]


def test_a_front_head_that_is_not_there_cannot_be_asked_for(tmp_path):
    write_images(tmp_path / "images")
    with pytest.raises(InputError, match="--from front: the model predicts zones only"):
        do(tmp_path, task="zones", source="front")


def test_a_model_trained_with_pixel_sizes_gets_them(tmp_path):
    write_images(tmp_path / "images")
    write_model(tmp_path, conversion={"source": "caffe", "task": "mtl", "pixel_size_as_spacing": True})
    network = Network()
    do(tmp_path, network)
    assert network.spacings == [(999.0, 20.0, 20.0)] * 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": 0.0}, "--resolution 0"),
        ({"crs": "polar"}, "--crs polar"),
        ({"step_size": 1.5}, "-step_size 1.5"),
        ({"min_length": -1.0}, "--min-length -1"),
        ({"processes": 0}, "-np 0"),
        ({"source": "zones"}, "--from zones"),
    ],
)
def test_unusable_options_are_refused(tmp_path, options, expected):
    write_images(tmp_path / "images")
    with pytest.raises(InputError, match=expected):
        do(tmp_path, **options)


def test_the_folder_of_the_images_is_no_output(tmp_path):
    images = write_images(tmp_path / "images")
    with pytest.raises(InputError, match="is the folder of the images"):
        calving_front(images, write_model(tmp_path), images, predict=Network())


def test_the_verb_is_there():
    assert VERBS["calving_front"].module == "nnunet_ext.cli.calving_front"
