"""Planners for several label maps per case, run as nnU-Net runs them, on a dataset with a hand-written fingerprint."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import nnunetv2
import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncM,
)
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json, write_json
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.label_manager import StackedLabelManager
from nnunet_ext.multitask.preprocessor import StackedLabelPreprocessor
from nnunet_ext.multitask.readers import StackedSimpleITKIO
from nnunet_ext.multitask.tasks import Task
from nnunet_ext.networks.multitask_unet import MultiTaskUNet
from nnunet_ext.planners import stacked_labels
from nnunet_ext.planners.cpu import ExperimentPlannerCPU
from nnunet_ext.planners.stacked_labels import (
    StackedLabelPlanner,
    StackedLabelPlannerCPU,
    StackedLabelPlannerResEncL,
    StackedLabelPlannerResEncM,
    StackedLabelPlannerResEncXL,
)
from nnunet_ext.trainers.multitask import nnUNetTrainerMTLearly
from tests.multitask.coupled_tasks import THREE, TWO, raw_dataset

if TYPE_CHECKING:
    from pathlib import Path

NAME = "Dataset901_Coupled"
SMALL = (20, 64, 64)
PLANS_NAMES = {
    StackedLabelPlanner: "nnUNetStackedLabelPlans",
    StackedLabelPlannerCPU: "nnUNetStackedLabelPlansCPU",
    StackedLabelPlannerResEncM: "nnUNetStackedLabelResEncUNetMPlans",
    StackedLabelPlannerResEncL: "nnUNetStackedLabelResEncUNetLPlans",
    StackedLabelPlannerResEncXL: "nnUNetStackedLabelResEncUNetXLPlans",
}


@pytest.fixture(autouse=True)
def _nnunet_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")


def dataset(
    folder: Path, joint: JointLabels = TWO, *, size: tuple[int, int, int] = SMALL, cases: int = 400, **more: Any
) -> None:
    """Write one tiny case, and a fingerprint that says that there are many of ``size`` voxels."""
    path = raw_dataset(folder / "raw", joint, (2, 8, 8), 1, NAME) / "dataset.json"
    write_json(path, {**read_json(path), "numTraining": cases, **more})
    statistics = dict.fromkeys(("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5"), 1.0)
    fingerprint = {
        "spacings": [[1.0, 1.0, 1.0]],
        "shapes_after_crop": [list(size)],
        "foreground_intensity_properties_per_channel": {"0": statistics},
        "median_relative_size_after_cropping": 1.0,
    }
    (folder / "preprocessed" / NAME).mkdir(parents=True)
    write_json(folder / "preprocessed" / NAME / "dataset_fingerprint.json", fingerprint)


def plan(planner: type, folder: Path, **more: Any) -> dict[str, Any]:
    """Plan as `nnUNetv2_plan_experiment` does, and return what it wrote."""
    built = planner(901, preprocessor_name="DefaultPreprocessor", **more)
    built.plan_experiment()
    return read_json(folder / "preprocessed" / NAME / f"{built.plans_identifier}.json")


@pytest.mark.parametrize("planner", PLANS_NAMES)
def test_the_plans_name_what_several_tasks_need(planner: type, tmp_path: Path) -> None:
    dataset(tmp_path, THREE, size=(8, 16, 16), branching={"zones": "late"})
    plans = plan(planner, tmp_path)
    name = PLANS_NAMES[planner]
    assert plans["plans_name"] == name
    assert plans["experiment_planner_used"] == planner.__name__
    assert plans["label_manager"] == "StackedLabelManager"
    assert plans["image_reader_writer"] == "StackedSimpleITKIO"
    assert set(plans["configurations"]) == {"2d", "3d_fullres"}
    for key, configuration in plans["configurations"].items():
        assert configuration["preprocessor_name"] == "StackedLabelPreprocessor"
        assert configuration["data_identifier"] == f"{name}_{key}"
        architecture = configuration["architecture"]
        assert architecture["network_class_name"] == "nnunet_ext.networks.multitask_unet.MultiTaskUNet"
        assert architecture["multitask"] == {
            "tasks": ["front", "zones", "boundary"],
            "heads": [2, 4, 2],
            "branching": {"front": "early", "zones": "late", "boundary": "early"},
        }
        assert ("n_blocks_per_stage" in architecture["arch_kwargs"]) == ("ResEnc" in planner.__name__)


def test_nnunet_builds_network_and_helpers_from_the_plans(tmp_path: Path) -> None:
    dataset(tmp_path)
    manager = PlansManager(plan(StackedLabelPlannerCPU, tmp_path))
    configuration = manager.get_configuration("2d")
    assert configuration.preprocessor_class is StackedLabelPreprocessor
    assert manager.image_reader_writer_class is StackedSimpleITKIO
    label_manager = manager.get_label_manager(TWO.to_dataset_json())
    assert type(label_manager) is StackedLabelManager
    network = nnUNetTrainerMTLearly.build_network_architecture(
        manager, configuration, 1, label_manager.num_segmentation_heads, enable_deep_supervision=False
    )
    assert type(network) is MultiTaskUNet
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *configuration.patch_size)).shape == (1, 6, *configuration.patch_size)


@pytest.mark.parametrize("planner", PLANS_NAMES)
def test_nnunet_finds_every_planner_by_its_name(planner: type) -> None:
    folder = f"{nnunetv2.__path__[0]}/experiment_planning"
    assert recursive_find_python_class(folder, planner.__name__, "nnunetv2.experiment_planning") is planner
    assert PLANS_NAMES.keys() == {
        value
        for name, value in vars(stacked_labels).items()
        if name.startswith("StackedLabelPlanner") and isinstance(value, type)
    }


def test_early_and_late_branching_train_on_the_same_patches(tmp_path: Path) -> None:
    plans = {}
    for branching in ("early", "late"):
        dataset(tmp_path / branching, branching=branching)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("raw", "preprocessed"):
                patch.setenv(f"nnUNet_{name}", str(tmp_path / branching / name))
            plans[branching] = plan(StackedLabelPlannerCPU, tmp_path / branching)
    for configuration in plans["early"]["configurations"]:
        arguments = [
            plans[branching]["configurations"][configuration]["architecture"]["multitask"].pop("branching")
            for branching in ("early", "late")
        ]
        assert arguments == [{"front": "early", "zones": "early"}, {"front": "late", "zones": "late"}]
    assert plans["early"] == plans["late"]


def test_stock_trainers_are_told_that_these_plans_have_several_tasks(tmp_path: Path) -> None:
    dataset(tmp_path)
    manager = PlansManager(plan(StackedLabelPlannerCPU, tmp_path))
    with pytest.raises(InputError, match="-tr nnUNetTrainerMTLearly"):
        nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("2d"), 1, 6)


@pytest.mark.parametrize("joint", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("branching", ["early", "late"])
def test_memory_is_estimated_for_the_network_with_one_decoder_per_task(
    joint: JointLabels, branching: str, tmp_path: Path
) -> None:
    dataset(tmp_path, joint, branching=branching)
    planner = StackedLabelPlannerCPU(901)
    configuration = plan(StackedLabelPlannerCPU, tmp_path)["configurations"]["2d"]
    architecture, size = configuration["architecture"], configuration["patch_size"]
    stock, imports = architecture["arch_kwargs"], architecture["_kw_requires_import"]
    arguments = {**stock, **architecture["multitask"]}
    stock_class = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    estimate = planner.static_estimate_VRAM_usage(size, 1, 99, stock_class, stock, imports)
    network = get_network_from_plans(
        architecture["network_class_name"],
        {**copy.deepcopy(arguments), "branching": "early"},
        imports,
        1,
        sum(joint.heads),
        allow_init=False,
    )
    assert estimate == network.compute_conv_feature_map_size(size)
    one = ExperimentPlanner.static_estimate_VRAM_usage(size, 1, sum(joint.heads), stock_class, stock, imports)
    assert estimate > 1.2 * one


def test_the_memory_of_all_decoders_makes_batches_smaller_than_those_of_one_task(tmp_path: Path) -> None:
    dataset(tmp_path, THREE, size=(20, 256, 256))
    several, one = (
        plan(planner, tmp_path)["configurations"] for planner in (StackedLabelPlannerCPU, ExperimentPlannerCPU)
    )

    def voxels(configuration: dict[str, Any]) -> float:
        return configuration["batch_size"] * torch.tensor(configuration["patch_size"]).prod().item()

    for name in ("2d", "3d_fullres"):
        assert 0.3 * voxels(one[name]) < voxels(several[name]) < 0.9 * voxels(one[name])


def test_large_images_get_a_low_resolution_but_no_cascade(tmp_path: Path) -> None:
    dataset(tmp_path, size=(100, 110, 120))
    plans = plan(StackedLabelPlannerCPU, tmp_path)
    assert set(plans["configurations"]) == {"2d", "3d_lowres", "3d_fullres"}
    assert "next_stage" not in plans["configurations"]["3d_lowres"]
    assert plans["configurations"]["3d_lowres"]["data_identifier"] == "nnUNetStackedLabelPlansCPU_3d_lowres"
    assert plans["cascade_left_out"].startswith("No cascade is planned: its second stage would take every joint label")
    assert PlansManager(plans).get_configuration("3d_lowres").next_stage_names is None
    stock = plan(ExperimentPlannerCPU, tmp_path)
    assert "3d_cascade_fullres" in stock["configurations"], "the stock planner no longer plans a cascade here"


def test_planning_twice_gives_the_same(tmp_path: Path) -> None:
    dataset(tmp_path)
    assert plan(StackedLabelPlannerCPU, tmp_path) == plan(StackedLabelPlannerCPU, tmp_path)


def test_names_and_memory_from_the_command_line_are_kept(tmp_path: Path) -> None:
    dataset(tmp_path)
    plans = plan(StackedLabelPlanner, tmp_path, plans_name="mine", gpu_memory_target_in_gb=0.04)
    assert plans["plans_name"] == "mine"
    assert plans["configurations"]["2d"]["data_identifier"] == "mine_2d"
    assert StackedLabelPlanner(901, preprocessor_name="MyPreprocessor").preprocessor_name == "MyPreprocessor"
    assert StackedLabelPlanner(901, plans_name=None).plans_identifier == "nnUNetStackedLabelPlans"
    assert StackedLabelPlannerResEncM(901).UNet_vram_target_GB == nnUNetPlannerResEncM(901).UNet_vram_target_GB


def test_a_dataset_without_tasks_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    dataset(tmp_path)
    path = tmp_path / "raw" / NAME / "dataset.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != "tasks"})
    with pytest.raises(InputError, match=r"dataset\.json has no 'tasks'.*`nnunet_ext stack`"):
        StackedLabelPlanner(901)


def test_a_wrong_branching_is_refused_before_planning(tmp_path: Path) -> None:
    dataset(tmp_path, branching={"rock": "late"})
    with pytest.raises(InputError, match=r"unknown tasks \['rock'\]"):
        StackedLabelPlanner(901)


def test_a_reader_that_writes_eight_bits_is_refused_where_they_are_too_few(tmp_path: Path) -> None:
    many = JointLabels((*THREE.tasks, Task("soil", tuple(f"c{i}" for i in range(17)))))
    dataset(tmp_path, TWO, overwrite_image_reader_writer="SimpleITKIOWithReorient")
    assert StackedLabelPlanner(901).determine_reader_writer().__name__ == "StackedSimpleITKIOWithReorient"
    path = tmp_path / "raw" / NAME / "dataset.json"
    write_json(path, {**read_json(path), **many.to_dataset_json()})
    with pytest.raises(InputError, match="writes 8-bit labels, the tasks make 272 joint labels, expected 256"):
        StackedLabelPlanner(901).determine_reader_writer()


def test_a_protected_reader_may_be_named_in_the_dataset(tmp_path: Path) -> None:
    dataset(tmp_path, overwrite_image_reader_writer="StackedNibabelIO")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*none of nnU-Net's readers")
        assert StackedLabelPlanner(901).determine_reader_writer().__name__ == "StackedNibabelIO"


def test_a_reader_of_others_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path)
    other = type("OtherReader", (), {})
    monkeypatch.setattr(ExperimentPlanner, "determine_reader_writer", lambda _: other)
    with pytest.warns(UserWarning, match="OtherReader is none of nnU-Net's readers"):
        assert StackedLabelPlanner(901).determine_reader_writer() is other
