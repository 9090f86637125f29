"""For every page a folder with inputs under the names that the page uses, made by numbers."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nnunet_ext.demo.phantom import soil_phantom, sparse_annotation
from nnunet_ext.imageio import Geometry, write_volume
from tests.builders import ROOT
from tests.dataset_conversion.nifti_folders import image_of, label_of, put
from tests.docs.pages import Page
from tests.evaluation.training.model_folders import write_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CASES = ("a", "b", "c", "d", "e", "f")
TRAIN_STEMS = [f"{name}_20{10 + i}-02-03_TDX_20_1_092" for i, name in enumerate(("Crane", "DBE", "SI") * 2)]
TEST_STEMS = ["COL_2011-11-13_TDX_20_1_092", "COL_2012-06-01_TDX_20_1_092", "Mapple_2012-01-02_S1_20_3_014"]


def nothing(folder: Path) -> None:
    """Build nothing."""


def soil(folder: Path) -> None:
    """Five annotated scans, one unseen, and the class file that the page shows."""
    rng = np.random.default_rng(0)
    for number in range(6):
        phantom = soil_phantom((24, 32, 32), rng)
        scans = "scans" if number < 5 else "new_scans"
        write_volume(folder / scans / f"S{number + 1}.tif", phantom.image, Geometry())
        if number < 5:
            marks = sparse_annotation(phantom.truth, rng)
            write_volume(folder / "annotations" / f"S{number + 1}.tif", marks, Geometry())
    (folder / "classes.json").write_text(Page(ROOT / "docs" / "soil_ct.md").blocks("json")[0])


def glacier_scene(column: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return image, front and zones: glacier on the left, ocean from a column on; the front is long enough to count."""
    zones = np.full((64, 48), 127, np.uint8)
    zones[:, column:] = 254
    zones[:4, :4] = 64
    front = np.zeros_like(zones)
    front[:, column] = 255
    image = np.clip(zones + np.random.default_rng(column).normal(0, 9, zones.shape), 0, 255).astype(np.uint8)
    return {"image": image, "front": front, "zones": zones}


def calving_fronts(folder: Path) -> None:
    """The benchmark's folders, predictions for the pictures, and links to the model that the page trains."""
    data = folder / "data_raw"
    for split, stems in (("train", TRAIN_STEMS), ("test", TEST_STEMS)):
        for number, stem in enumerate(stems):
            scene = glacier_scene(20 + 2 * number)
            _png(data / "sar_images" / split / f"{stem}.png", scene["image"])
            _png(data / "fronts" / split / f"{stem}_front.png", scene["front"])
            _png(data / "zones" / split / f"{stem}_zones.png", scene["zones"])
    for number, stem in enumerate(TEST_STEMS):
        scene = glacier_scene(23 + 2 * number)
        for name in ("pictures/late", "EARLY", "LATE", *(("E10", "E50", "E200") if not number else ())):
            _png(folder / name / f"{stem}_front.png", scene["front"])
            _png(folder / name / f"{stem}_zone.png", scene["zones"])
        box = data / "bounding_boxes" / f"{stem}.txt"
        box.parent.mkdir(exist_ok=True)
        box.write_text("x, y\n2, 2\n2, 60\n46, 60\n46, 2\n")
    links = {"FRONTS": "fronts/test", "ZONES": "zones/test", "BOXES": "bounding_boxes", "SAR": "sar_images/test"}
    for name, target in {**links, "IMAGES": "sar_images/test"}.items():
        (folder / name).symlink_to(data / target)
    model = "nnUNetTrainerMTLearly_500epochs__nnUNetStackedLabelPlans__2d"
    (folder / "MODEL_FOLDER").symlink_to(folder / "nnUNet_results" / "Dataset503_CaFFeMTL" / model)


def multitask(folder: Path) -> None:
    """Images with fronts and zones; the new images are the same ones, so that there are labels for the scores."""
    for number, case in enumerate(CASES):
        scene = glacier_scene(20 + 2 * number)
        _png(folder / "images" / f"{case}.png", scene["image"])
        _png(folder / "fronts" / f"{case}.png", scene["front"])
        _png(folder / "zones" / f"{case}.png", scene["zones"])
        _png(folder / "new_images" / f"{case}_0000.png", scene["image"])
    (folder / "labels").symlink_to(folder / "nnUNet_raw" / "Dataset503_Fronts" / "labelsTr")


def slicer(folder: Path) -> None:
    """Five segmentations of 3D Slicer, a new image, and the script that the job sources."""
    from tests.dataset_conversion.slicer_files import AIRWAYS, LUNGS, image, segmentation

    for seed, case in enumerate(("001", "002", "003", "004", "005")):
        image(folder / "images" / f"{case}.nrrd", seed=seed)
        segmentation(folder / "segmentations" / f"{case}.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS})
    image(folder / "patients" / "P7.nrrd", seed=9)
    (folder / "environment.sh").write_text("")


def clinical(folder: Path) -> None:
    """Folders in the layouts of the converters."""
    for seed, case in enumerate(CASES):
        put(folder / "DATA" / case / f"{case}.nii.gz", image_of(seed))
        put(folder / "DATA" / case / "GT.nii.gz", label_of(1, 2))
    put(folder / "DATA" / "survey.nii", image_of(7))
    for number in range(1, 7):
        case = folder / "SegTHOR" / "train" / f"Patient_{number:02d}"
        put(case / f"{case.name}.nii.gz", image_of(number))
        put(case / "GT.nii.gz", label_of(1, 2, 3, 4))
    put(folder / "SegTHOR" / "test" / "Patient_41.nii.gz", image_of(41))
    brats = folder / "MICCAI_BraTS2020_TrainingData" / "BraTS_001"
    for seed, name in enumerate(("t1", "t1ce", "t2", "flair")):
        put(brats / f"BraTS_001_{name}.nii.gz", image_of(seed))
    put(brats / "BraTS_001_seg.nii.gz", label_of(1, 2, 4))
    task = folder / "nnUNet_raw_data" / "Task042_Organ"
    for seed, case in enumerate(CASES):
        put(task / "imagesTr" / f"{case}_0000.nii.gz", image_of(seed))
        put(task / "labelsTr" / f"{case}.nii.gz", label_of(1, 2))
    content = {
        "name": "Organ", "tensorImageSize": "3D", "modality": {"0": "CT"}, "numTraining": len(CASES), "numTest": 0,
        "labels": {"0": "background", "1": "liver", "2": "spleen"}, "test": [],
        "training": [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in CASES],
    }  # fmt: skip
    (task / "dataset.json").write_text(json.dumps(content))
    splits = folder / "nnUNet_preprocessed" / "Task042_Organ" / "splits_final.pkl"
    splits.parent.mkdir(parents=True)
    folds = [OrderedDict(train=np.array([c for c in CASES if c != v]), val=np.array([v])) for v in CASES[:5]]
    splits.write_bytes(pickle.dumps(folds))


def evaluation(folder: Path) -> None:
    """Labels, predictions of two models, a model with validation folders, and training logs."""
    truth = {case: label_of(1, 2) for case in CASES}
    guesses = {case: np.roll(label, 1, axis=2) for case, label in truth.items()}
    hippocampus = "Dataset004_Hippocampus"
    model = folder / "nnUNet_results" / hippocampus / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for place in ("labelsTs", "labels", "Dataset001/labelsTr", f"nnUNet_raw/{hippocampus}/labelsTr"):
        _volumes(folder / place, truth)
    for place in ("predictions", "results_a", "results_b", "fold_0/validation"):
        _volumes(folder / place, truth if place == "results_b" else guesses)
        _dataset_json(folder / place)
    for number in range(5):
        validation = model / f"fold_{number}" / "validation"
        _volumes(validation, {case: guesses[case] for case in CASES[number::5]})
        _dataset_json(validation)
    _dataset_json(model)
    for seed, case in enumerate(CASES):
        put(folder / "Dataset001" / "imagesTr" / f"{case}_0000.nii.gz", image_of(seed))
    _dataset_json(folder / "Dataset001")
    rows = [f"{case},{'north' if case in 'abc' else 'south'}" for case in CASES]
    (folder / "patients.csv").write_text("\n".join(["case,hospital", *rows]) + "\n")
    soil_model = folder / "nnUNet_results" / "Dataset101_Soil" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for trained in (soil_model, folder / "MODEL_FOLDER", folder / "OTHER_MODEL_FOLDER"):
        for number in range(3):
            write_log(trained / f"fold_{number}", {0: 0.5, 1: 0.3 + 0.1 * number, 2: 0.2})
        _dataset_json(trained)


def large_volumes(folder: Path) -> None:
    """A scan and two models with random weights."""
    from tests.inference.trained_model import write_trained_model

    put(folder / "input" / "S1_0000.nii.gz", image_of(1, (40, 24, 20)), Geometry())
    trainer = folder / "nnUNet_results" / "Dataset777_SoilRoots" / "nnUNetTrainer_betterIgnoreSampling__nnUNetPlans"
    write_trained_model(trainer.with_name(f"{trainer.name}__3d_fullres"))
    write_trained_model(trainer.with_name(f"{trainer.name}__2d"), patch=(24, 20))


def recipes(folder: Path) -> None:
    """A planned dataset."""
    from tests.inference.trained_model import write_trained_model

    dataset = folder / "nnUNet_preprocessed" / "Dataset001_BrainTumour"
    write_trained_model(dataset, plans={"dataset_name": dataset.name})
    preprocessed = dataset / "nnUNetPlans_3d_fullres"
    preprocessed.mkdir()
    (preprocessed / "a.b2nd").touch()  # nnU-Net looks at the endings there
    (dataset / "plans.json").rename(dataset / "nnUNetPlans.json")
    (folder / "nnUNet_raw" / dataset.name / "labelsTr").mkdir(parents=True)


def _png(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _volumes(folder: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    for case, array in arrays.items():
        put(folder / f"{case}.nii.gz", array)


def _dataset_json(folder: Path, names: Sequence[str] = ("background", "liver", "spleen")) -> None:
    content = {"labels": {name: value for value, name in enumerate(names)}, "channel_names": {"0": "CT"}}
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": 6, "file_ending": ".nii.gz"}))


def annotation(folder: Path) -> None:
    """Scans without annotations, and the annotations of two people."""
    rng = np.random.default_rng(0)
    for number in (1, 7):
        phantom = soil_phantom((24, 32, 32), rng)
        write_volume(folder / "scans" / f"S{number}.tif", phantom.image, Geometry())
        for person in ("anna", "ben"):
            marks = sparse_annotation(phantom.truth, np.random.default_rng(len(person)))
            write_volume(folder / person / f"S{number}.tif", marks, Geometry())
    (folder / "classes.json").write_text(Page(ROOT / "docs" / "soil_ct.md").blocks("json")[0])
