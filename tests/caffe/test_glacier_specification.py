"""Sentences of the specification of calving fronts that no other test pins, each with its own numbers."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_conversion.caffe_dataset import convert_caffe
from dataset_conversion.caffe_tasks import TASKS
from dataset_conversion.export_caffe import export_caffe
from dataset_conversion.raw_dataset import write_dataset_json
from evaluation.evaluate_fronts import evaluate_fronts
from evaluation.front_extraction import clean_zones, front_of_mask
from evaluation.front_scores.published import PUBLISHED
from evaluation.intervals import bootstrap_interval
from nnunet_ext.caffe.bounding_boxes import read_bounding_box
from nnunet_ext.cli import main
from nnunet_ext.front_lines.calving_front import calving_front
from tests.dataset_conversion.caffe_folder import TEST, TRAIN, caffe_folder, pixels_of, write_png
from tests.evaluation.fronts.builders import read_rows, read_summary, row, write, write_front

COL = "COL_2011-11-13_TDX_{metres}_1_{orbit}"
NA, ROCK, GLACIER, OCEAN, FRONT = range(5)
GREY = np.array([0, 64, 127, 254], np.uint8)


@pytest.fixture(autouse=True)
def without_drawing_and_folders_of_nnunet(monkeypatch):
    monkeypatch.setattr("evaluation.evaluate_fronts._report", lambda *_, **__: "")
    for name in list(os.environ):
        if name.lower().startswith("nnunet"):
            monkeypatch.delenv(name)


def zones(text):
    return np.array([["NRGO".index(letter) for letter in line] for line in text.split()])


# Data


@pytest.mark.parametrize(
    ("corners", "ours", "benchmark"),
    [
        (((2, 7), (2, 3), (8, 3), (8, 7)), ((3, 7), (2, 8)), ((3, 7), (2, 8))),
        (((2, 7), (2, 3), (14, 3), (14, 7)), ((3, 7), (2, 10)), ((3, 7), (2, 9))),
        (((2, 14), (2, 3), (8, 3), (8, 14)), ((3, 10), (2, 8)), ((3, 9), (2, 8))),
        (((-3, 7), (-3, -5), (8, -5), (8, 7)), ((0, 7), (0, 8)), ((0, 7), (0, 8))),
    ],
)
def test_only_the_far_edge_that_overflows_loses_its_last_row_or_column(tmp_path, corners, ours, benchmark):
    path = tmp_path / "box.txt"
    path.write_text("header\n" + "\n".join(f"{x}, {y}" for x, y in corners) + "\n")
    for compat, expected in ((False, ours), (True, benchmark)):
        box = read_bounding_box(path, (10, 10), compat=compat)
        assert tuple((side.start, side.stop) for side in box) == expected


# Conversion


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("fused", ["background", "rock", "glacier", "ocean", "front"]),
        ("front", ["background", "front"]),
        ("zones", ["background", "rock", "glacier", "ocean"]),
    ],
)
def test_dataset_json_names_the_labels_of_the_table(tmp_path, task, names):
    """0 is N/A in the specification; nnU-Net asks for the name background."""
    folder = convert_caffe(caffe_folder(tmp_path), task, output=tmp_path / "raw", processes=1).folder
    assert json.loads((folder / "dataset.json").read_text())["labels"] == dict(zip(names, range(5), strict=False))


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("mtl", ["front", "zones"]),
        ("mtl_recon", ["front", "zones"]),
        ("mtl_boundary", ["front", "zones", "boundary"]),
    ],
)
def test_dataset_json_names_the_classes_of_each_task(tmp_path, task, parts):
    classes = {
        "front": {"background": 0, "front": 1},
        "zones": {"na": 0, "rock": 1, "glacier": 2, "ocean": 3},
        "boundary": {"background": 0, "boundary": 1},
    }
    folder = convert_caffe(caffe_folder(tmp_path), task, output=tmp_path / "raw", processes=1).folder
    tasks = json.loads((folder / "dataset.json").read_text())["tasks"]
    assert {name: entry["labels"] for name, entry in tasks.items()} == {part: classes[part] for part in parts}
    assert list(tasks) == parts
    # Lines are looked at in full resolution only.
    assert [name for name, entry in tasks.items() if entry.get("deep_supervision", True)] == ["zones"]


def test_every_task_gets_the_same_fraction_and_inference_too(tmp_path):
    root = caffe_folder(tmp_path)
    options = {"fraction": 0.5, "seed": 3, "processes": 1}
    chosen = {}
    for task in TASKS:
        done = convert_caffe(root, task, output=tmp_path / ("in" if task == "inference" else "raw"), **options)
        chosen[task] = done.cases + done.test_cases
        train = [case for case in chosen[task] if case in TRAIN]
        assert train == sorted(train)
        assert (len(train), len(chosen[task])) == (3, 4)
    assert len(set(map(tuple, chosen.values()))) == 1


def test_the_front_is_five_pixels_wide_by_default(tmp_path):
    root = caffe_folder(tmp_path)
    line = np.zeros((12, 16), np.uint8)
    line[:, 4] = 255
    write_png(root / "fronts" / "train" / f"{TRAIN[0]}_front.png", line)
    words = ["--root", str(root), "--task", "front", "-o", str(tmp_path / "raw"), "-np", "1"]
    assert main(["convert", "caffe", *words]) == 0
    label = pixels_of(tmp_path / "raw" / "Dataset501_CaFFeFront" / "labelsTr" / f"{TRAIN[0]}.png")
    assert (label == np.array([0, 0, *[1] * 5, *[0] * 9])).all()


def test_pictures_are_not_rescaled_by_their_own_minimum(tmp_path):
    """Of joint labels front + 2 × zone: zones without N/A, under a front that is everywhere."""
    predictions = tmp_path / "in"
    folder = convert_caffe(caffe_folder(tmp_path), "mtl", output=tmp_path / "raw", processes=1).folder
    joint = TASKS["mtl"].joint
    stack = np.array([[[1, 1, 1]], [[ROCK, GLACIER, OCEAN]]])
    write_png(predictions / "case.png", joint.encode(stack))
    export_caffe(predictions, tmp_path / "out", dataset=folder, processes=1)
    assert pixels_of(tmp_path / "out" / "case_zone.png").tolist() == [[64, 127, 254]]
    assert pixels_of(tmp_path / "out" / "case_front.png").tolist() == [[255, 255, 255]]


def test_the_front_of_fused_labels_is_extracted_from_their_zones(tmp_path):
    """Glacier in columns 0-6, ocean from 7 on, rock in rows 0-1, and a front that is drawn over all of them."""
    folder = convert_caffe(caffe_folder(tmp_path), "fused", output=tmp_path / "raw", processes=1).folder
    export_caffe(folder / "labelsTs", tmp_path / "out", processes=1)
    for stem in TEST:
        front = np.zeros((12, 16), bool)
        front[2:, 7] = True
        write_front(tmp_path / "g", stem, front)
    found = evaluate_fronts(
        {"m": tmp_path / "out"}, tmp_path / "g", tmp_path / "scores", source="zone", min_length=0, processes=1
    )
    assert [(image.source, image.n_pred, image.n_label, image.mean) for image in found.images] == [
        ("zone", 10, 10, 0.0)
    ] * 2


# Front from zones and masks


def test_the_benchmark_joins_land_over_corners():
    text = "GOO OGO OOO"
    assert clean_zones(zones(text), compat=True).tolist() == zones(text).tolist()


def test_the_benchmark_keeps_the_largest_land_first_and_the_largest_ocean_then():
    # The rock at the edge becomes ocean, and so joins nothing; the lake of one pixel becomes glacier.
    found = clean_zones(zones("GGGGOOR GOGGOOO GGGGOOO"), compat=True)
    assert found.tolist() == zones("GGGGOOO GGGGOOO GGGGOOO").tolist()


def test_the_length_of_a_mask_counts_before_the_box():
    mask = np.zeros((60, 9), bool)
    mask[:, 4] = True
    found = front_of_mask(mask, resolution=20, box=(slice(5, 15), slice(0, 9)))
    assert np.argwhere(found).tolist() == [[y, 4] for y in range(5, 15)]


def test_the_path_of_a_mask_has_to_be_long_and_not_the_mask():
    """40 pixels of a cross are more than 37 at 20 m, but its longest path has 21."""
    mask = np.zeros((31, 31), bool)
    mask[5:26, 15] = mask[15, 5:26] = True
    assert mask.sum() == 41
    assert not front_of_mask(mask, resolution=20).any()
    assert front_of_mask(mask, resolution=20, min_length=0).any()


@pytest.mark.parametrize("compat", [None, "caffe"])
@pytest.mark.parametrize("source", ["front", "zone"])
@pytest.mark.parametrize(("metres", "dropped"), [(20, 37), (7, 107)])
def test_the_command_drops_fronts_of_750_metres(tmp_path, metres, dropped, source, compat):
    for orbit, rows in (("001", dropped), ("002", dropped + 1)):
        stem = COL.format(metres=metres, orbit=orbit)
        front = np.zeros((rows, 9), bool)
        front[:, 4] = True
        write_front(tmp_path / "g", stem, front)
        if source == "front":
            write_front(tmp_path / "p", stem, front)
        else:
            write(tmp_path / "p" / f"{stem}_zone.png", np.where(np.arange(9) < 4, 127, 254)[None].repeat(rows, 0))
    found = evaluate_fronts({"m": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", source=source, compat=compat)
    assert [(image.n_pred, image.no_front) for image in found.images] == [(0, 1), (dropped + 1, 0)]


# Error


def test_mean_median_deviation_and_95_percent_intervals_over_images(tmp_path):
    """Eight images whose lines of ten pixels are 1 to 8 rows apart at 7 m."""
    for apart in range(1, 9):
        stem = COL.format(metres=7, orbit=f"{apart:03}")
        write_front(tmp_path / "p", stem, row(5 + apart))
        write_front(tmp_path / "g", stem, row(5))
    evaluate_fronts({"prediction": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", min_length=0)
    found = read_summary(tmp_path / "out")["prediction"]["all"]
    assert (found["mde"], found["mean_of_image_means"], found["median_of_image_means"]) == (31.5, 31.5, 31.5)
    assert found["std_of_image_means"] == pytest.approx(7 * math.sqrt(6))
    expected = bootstrap_interval([7.0 * apart for apart in range(1, 9)], level=0.95, resamples=2000)
    assert found["mean_interval"] == [expected.low, expected.high]
    # 1.96 standard errors of 17.1 / √8, a little less for the small number.
    for name in ("mean_interval", "mde_interval"):
        assert found[name] == pytest.approx([20.5, 42.5], abs=1.5)


def test_the_median_is_not_the_mean(tmp_path):
    for apart in (1, 2, 9):
        stem = COL.format(metres=7, orbit=f"{apart:03}")
        write_front(tmp_path / "p", stem, row(5 + apart))
        write_front(tmp_path / "g", stem, row(5))
    evaluate_fronts({"prediction": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", min_length=0)
    found = read_summary(tmp_path / "out")["prediction"]["all"]
    assert (found["mean_of_image_means"], found["median_of_image_means"]) == (28.0, 14.0)


def test_zones_with_and_without_na_by_image_and_pooled(tmp_path):
    """Label [[0, 1], [2, 3]], prediction [[0, 1], [2, 2]]: without N/A rock 1, glacier 1/2 and 1, ocean 0."""
    stem = COL.format(metres=7, orbit="092")
    write(tmp_path / "z" / f"{stem}_zones.png", GREY[np.array([[0, 1], [2, 3]])])
    write(tmp_path / "p" / f"{stem}_zone.png", GREY[np.array([[0, 1], [2, 2]])])
    write_front(tmp_path / "g", stem, row(0, [0], shape=(2, 2)))
    evaluate_fronts({"prediction": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", zones=tmp_path / "z")
    (entry,) = (line for line in read_rows(tmp_path / "out" / "zones.csv") if line["zone"] == "macro")
    scores = ("precision", "recall", "f1", "iou")
    assert [float(entry[score]) for score in scores] == pytest.approx([0.625, 0.75, 2 / 3, 0.625])
    found = read_summary(tmp_path / "out")["prediction"]["zones"]
    for how in ("mean", "pooled"):
        expected = {"macro": (0.625, 0.75, 2 / 3, 0.625), "macro_without_na": (1 / 2, 2 / 3, 5 / 9, 1 / 2)}
        for name, values in expected.items():
            assert [found[how][name][score] for score in scores] == pytest.approx(values)


def test_published_numbers_are_those_of_the_papers():
    found = {published.name: (published.mde, published.std) for published in PUBLISHED}
    nan = math.nan
    assert {name: pytest.approx(numbers, nan_ok=True) for name, numbers in found.items()} == {
        "CaFFe baseline, zones": (753, 76),
        "CaFFe baseline, front": (887, nan),
        "nnU-Net, front alone": (1103, 72),
        "nnU-Net, zones alone": (1184, 225),
        "nnU-Net, fused labels": (541, 84),
        "nnU-Net, early branching, zones head": (509, nan),
        "nnU-Net, early branching, front head": (560, nan),
        "nnU-Net, late branching, zones head": (517, nan),
        "nnU-Net, late branching, front head": (568, nan),
        "AMD-HookNet": (438, nan),
        "HookFormer": (353, nan),
        "AMD-HookNet++": (367, nan),
        "SSL4SAR": (293, nan),
        "multi-temporal Tyrion": (184, nan),
    }


# One command from images to fronts


IMAGE = COL.format(metres=20, orbit="092")


def model_and_image(folder, task="mtl"):
    model = folder / "Dataset503_Test" / "trainer__plans__2d"
    (model / "fold_0").mkdir(parents=True)
    (model / "fold_0" / "checkpoint_final.pth").touch()
    (model / "plans.json").write_text("{}")
    conversion = {"source": "caffe", "task": task}
    write_dataset_json(
        model, channel="SAR", labels=TASKS[task].labels, cases=1, file_ending=".png", conversion=conversion
    )
    write_png(folder / "images" / f"{IMAGE}.png", np.zeros((60, 80)))
    return model


def labels_of(task, predicted, front=None):
    """Return labels of a model as joint labels or as they are; the front is empty unless it is given."""
    if TASKS[task].joint is None:
        return predicted
    return TASKS[task].joint.encode(np.stack([np.zeros_like(predicted) if front is None else front, predicted]))


def front_of(folder, predicted, task="mtl", **options):
    model = next(iter(folder.glob("Dataset*/*__2d")), None) or model_and_image(folder, task)
    out = folder / f"out{len(list(folder.glob('out*')))}"
    calving_front(folder / "images", model, out, predict=lambda *_: labels_of(task, predicted), **options)
    with Image.open(out / f"{IMAGE}_front.png") as picture:
        return np.argwhere(np.asarray(picture)).tolist()


def test_a_strait_floods_the_glacier_of_calving_front_as_in_the_benchmark_alone(tmp_path):
    predicted = np.full((60, 80), ROCK)
    predicted[:, :20], predicted[:, 20:25] = GLACIER, OCEAN
    assert front_of(tmp_path, predicted) == [[y, 20] for y in range(60)]
    assert front_of(tmp_path, predicted, compat="caffe") == []


def test_a_box_beyond_the_image_loses_a_row_of_calving_front_as_in_the_benchmark_alone(tmp_path):
    predicted = np.full((60, 80), OCEAN)
    predicted[:, :40] = GLACIER
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / f"{IMAGE}.txt").write_text("x, y\n0, 99\n0, 0\n70, 0\n70, 99\n")
    assert len(front_of(tmp_path, predicted, boxes=tmp_path / "boxes")) == 60
    assert len(front_of(tmp_path, predicted, boxes=tmp_path / "boxes", compat="caffe")) == 59


def test_calving_front_extracts_the_front_of_fused_labels_from_the_zones(tmp_path):
    """Front in columns 10-14 beside rock: undone to the ocean from column 12 on, which a skeleton would miss."""
    predicted = np.full((60, 80), OCEAN)
    predicted[:, :10], predicted[:, 10:15], predicted[:, 70:] = GLACIER, FRONT, ROCK
    assert front_of(tmp_path, predicted, task="fused") == [[y, 12] for y in range(60)]


def test_both_heads_of_calving_front_drop_750_metres(tmp_path):
    model = model_and_image(tmp_path)
    front = np.zeros((60, 80), int)
    front[:37, 40] = 1
    for rows, state in ((37, "no front"), (38, "front")):
        front[:rows, 40] = 1
        labels = labels_of("mtl", np.full((60, 80), OCEAN), front)
        out = tmp_path / f"out{rows}"
        found = calving_front(tmp_path / "images", model, out, source="front", predict=lambda *_, of=labels: of)
        assert [image.state for image in found.images] == [state]


def test_calving_front_works_from_any_folder_without_the_variables_of_nnunet(tmp_path, monkeypatch):
    model = model_and_image(tmp_path)
    predicted = np.full((60, 80), OCEAN)
    predicted[:, :40] = GLACIER
    monkeypatch.setattr(
        "nnunet_ext.front_lines.model.load_predictor", lambda *_, **__: lambda *_: labels_of("mtl", predicted)
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = ["-i", "../images", "-m", f"../{model.relative_to(tmp_path)}", "-o", "out", "-np", "1"]
    assert main(["calving_front", *words, "--compat", "caffe"]) == 0
    written = {path.name for path in Path("out").iterdir()}
    assert written == {
        "fronts.csv",
        *(f"{IMAGE}{end}" for end in ("_zone.png", "_front.png", "_overlay.png", ".geojson")),
    }


# Network and training


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Give a function that builds the trainer of a name for a task of the table, in folders of this test."""
    from tests.trainers import multitask_builders

    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "")

    def trainer(name, task="mtl_boundary"):
        import torch
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        joint = TASKS[task].joint
        multitask_builders.preprocessed_dataset(tmp_path / task, joint)
        torch.manual_seed(0)
        plans, content = multitask_builders.plans(joint, (16, 16)), multitask_builders.dataset_json(joint)
        cls = recursive_find_trainer_class_by_name(name)
        built = cls(plans, "full", 0, content, torch.device("cpu"))
        built.initialize()
        return built

    return trainer


def batch_of(built):
    """Return the network's output for two random images, and random label maps of each resolution."""
    import torch

    rng = torch.Generator().manual_seed(0)
    outputs = built.network(torch.randn((2, 1, 16, 16), generator=rng))
    targets = [
        torch.stack([torch.randint(0, head, (2, *level.shape[2:]), generator=rng) for head in built.joint.heads], 1)
        for level in outputs
    ]
    return outputs, targets


def names_of_multitask_trainers():
    from nnunet_ext.trainers import MODULE_OF_TRAINER

    return [name for name in MODULE_OF_TRAINER if "MTL" in name]


@pytest.mark.parametrize("name", names_of_multitask_trainers())
def test_no_trainer_has_an_epoch_count_of_its_own(name, build):
    built = build(name)
    assert built.num_epochs == 1000
    group = built.optimizer.param_groups[0]
    assert type(built.optimizer).__name__ == "SGD"
    assert [group[key] for key in ("lr", "momentum", "nesterov", "weight_decay")] == [0.01, 0.99, True, 3e-5]


def test_the_trainer_of_the_reference_has_500_epochs_and_a_polynomial_decay(build):
    built = build("nnUNetTrainerMTLearly_500epochs", "mtl")
    assert type(built).__base__.__name__ == "nnUNetTrainerMTLearly"
    assert built.num_epochs == 500
    for epoch, expected in ((0, 0.01), (250, 0.01 * 0.5**0.9), (499, 0.01 * 0.002**0.9)):
        built.lr_scheduler.step(epoch)
        assert built.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "task", "count"),
    [
        ("nnUNetTrainerMTLearly", "mtl", 2),
        ("nnUNetTrainerMTLlate", "mtl", 2),
        ("nnUNetTrainerMTLearly", "mtl_boundary", 3),
        ("nnUNetTrainerMTLrecon", "mtl_recon", 3),
    ],
)
def test_every_task_and_the_reconstruction_has_the_same_weight(name, task, count, build):
    assert build(name, task).loss.weights == pytest.approx((1 / count,) * count)


def test_the_loss_of_a_task_is_dice_and_cross_entropy(build):
    built = build("nnUNetTrainerMTLearly")
    outputs, targets = batch_of(built)
    built.loss(outputs, targets)
    chance = outputs[0][:, :2].softmax(1)[:, 1].detach()
    truth = targets[0][:, 0].float()
    entropy = -(truth * chance.log() + (1 - truth) * (1 - chance).log()).mean()
    dice = 2 * (truth * chance).sum() / (truth.sum() + chance.sum())
    assert built.loss.last[0].item() == pytest.approx((entropy - dice).item(), abs=1e-4)


@pytest.mark.parametrize("name", ["nnUNetTrainerMTLearly", "nnUNetTrainerMTLlate"])
def test_lines_look_at_the_full_resolution_only_and_zones_at_all(name, build):
    built = build(name)
    outputs, targets = batch_of(built)
    built.loss(outputs, targets)
    front, of_zones, boundary = built.loss.last
    built.loss([outputs[0], *(3 * level + 1 for level in outputs[1:])], targets)
    assert (built.loss.last[0], built.loss.last[2]) == (front, boundary)
    assert built.loss.last[1] != of_zones


def test_front_and_boundary_teach_nothing_to_the_decoder_of_the_zones(build):
    built = build("nnUNetTrainerMTLearly")
    parameters = {task: {id(p) for p in built.network.decoder_of(task).parameters()} for task in built.joint.names}
    assert len(set.union(*parameters.values())) == sum(map(len, parameters.values()))
    for channel, task in ((0, "front"), (2, "boundary")):
        built.network.zero_grad()
        outputs, targets = batch_of(built)
        term = built.loss.terms[channel]
        term.loss(outputs[0][:, term.channels], targets[0][:, channel : channel + 1]).backward()
        taught = {
            other: any(p.grad is not None and bool(p.grad.any()) for p in built.network.decoder_of(other).parameters())
            for other in built.joint.names
        }
        assert taught == {other: other == task for other in built.joint.names}


def test_the_rebuilt_image_has_linear_channels(build):
    import torch

    network = build("nnUNetTrainerMTLrecon", "mtl_recon").network
    decoder = network.reconstruction_decoder
    with torch.no_grad():
        features = network.encoder(torch.randn(2, 1, 16, 16))[-1]
        before = decoder(features)
        for parameter in decoder.image_layer.parameters():
            parameter *= -3
        torch.testing.assert_close(decoder(features), -3 * before)
    assert before.shape == (2, 1, 16, 16)
