"""Planners for several label maps per case: nnU-Net's own, with the multi-task network in their plans."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
    nnUNetPlannerResEncXL,
)

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.branching import EARLY, branching_of_tasks
from nnunet_ext.multitask.joint_labels import from_dataset_json
from nnunet_ext.multitask.readers import READERS
from nnunet_ext.multitask.tasks import TASKS_OF_NETWORK
from nnunet_ext.planners.cpu import ExperimentPlannerCPU

if TYPE_CHECKING:
    from collections.abc import Sequence

NETWORK = "nnunet_ext.networks.multitask_unet.MultiTaskUNet"
PREPROCESSOR = "StackedLabelPreprocessor"
LABEL_MANAGER = "StackedLabelManager"
CASCADE = "3d_cascade_fullres"
NO_CASCADE = (
    "No cascade is planned: its second stage would take every joint label of the first as an input channel, which "
    "grows with the product of all classes. 3d_lowres and 3d_fullres are there."
)
_NNUNET_PREPROCESSOR = "DefaultPreprocessor"
_EIGHT_BIT_WRITER = "SimpleITKIOWithReorient"


class StackedLabelMixin(ExperimentPlanner):
    """Put in front of a planner: it plans for a network with one decoder per task.

    Early and late branching train on the same patches, because the memory of the larger one is planned for both.

    Parameters
    ----------
    dataset_name_or_id, preprocessor_name, plans_name
        As in nnU-Net. nnU-Net's commands name its default preprocessor unless told otherwise; it is replaced.
    **more
        nnU-Net's other arguments, by name.

    Raises
    ------
    InputError
        If the dataset has no tasks, or names a reader that cannot write its joint labels.
    """

    plans_name_by_default: str

    def __init__(
        self,
        dataset_name_or_id: str | int,
        *,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            dataset_name_or_id,
            preprocessor_name=PREPROCESSOR if preprocessor_name == _NNUNET_PREPROCESSOR else preprocessor_name,
            plans_name=plans_name or self.plans_name_by_default,
            **more,
        )
        source = f"{self.raw_dataset_folder}/dataset.json"
        self.joint = from_dataset_json(self.dataset_json, source)
        self.branching = branching_of_tasks(self.dataset_json.get("branching", EARLY), self.joint.names)

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Return the name of the folder of preprocessed data; other planners' data have no stacks."""
        return f"{self.plans_identifier}_{configuration_name}"

    def determine_reader_writer(self) -> Any:
        """Return nnU-Net's reader, protected against post-processing."""
        reader = super().determine_reader_writer()
        count = self.joint.num_codes + self.joint.all_ignored
        if reader.__name__ == _EIGHT_BIT_WRITER and count > 256:
            message = (
                f"{reader.__name__} writes 8-bit labels, the tasks make {count} joint labels, expected 256 at most; "
                f'set "overwrite_image_reader_writer": "SimpleITKIO" in {self.raw_dataset_folder}/dataset.json'
            )
            raise InputError(message)
        protected = READERS.get(reader.__name__)
        if protected is None and reader not in READERS.values():
            warnings.warn(
                f"{reader.__name__} is none of nnU-Net's readers. Do not apply nnU-Net's post-processing to "
                "predictions: it sets what it removes to background of every task.",
                stacklevel=2,
            )
        return protected or reader

    def static_estimate_VRAM_usage(  # noqa: N802 - nnU-Net's name
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict[str, Any],
        arch_kwargs_req_import: Sequence[str],
    ) -> int:
        """Estimate the memory of the network with one decoder per task.

        Parameters
        ----------
        patch_size
            Voxels per axis.
        input_channels, output_channels, arch_class_name, arch_kwargs, arch_kwargs_req_import
            As nnU-Net's; class and number of outputs are replaced by those of the tasks.

        Returns
        -------
        int
            Size of the feature maps in nnU-Net's unit.
        """
        estimate: int = ExperimentPlanner.static_estimate_VRAM_usage(
            patch_size,
            input_channels,
            sum(self.joint.heads),
            NETWORK,
            {**arch_kwargs, **self._tasks_of_network(EARLY)},
            arch_kwargs_req_import,
        )
        return estimate

    def get_plans_for_configuration(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Plan one configuration and name the multi-task network in it."""
        plan: dict[str, Any] = super().get_plans_for_configuration(*args, **kwargs)
        architecture = plan["architecture"]
        architecture["network_class_name"] = NETWORK
        architecture[TASKS_OF_NETWORK] = self._tasks_of_network(self.branching)
        return plan

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Name the label manager, take the cascade out, and write the plans."""
        plans["label_manager"] = LABEL_MANAGER
        if plans["configurations"].pop(CASCADE, None) is not None:
            plans["configurations"]["3d_lowres"].pop("next_stage", None)
            plans["cascade_left_out"] = NO_CASCADE
            warnings.warn(NO_CASCADE, stacklevel=2)
        super().save_plans(plans)

    def _tasks_of_network(self, branching: str | dict[str, str]) -> dict[str, Any]:
        return {"tasks": list(self.joint.names), "heads": list(self.joint.heads), "branching": branching}


class StackedLabelPlanner(StackedLabelMixin, ExperimentPlanner):
    """nnU-Net's default planner for several label maps per case; writes ``nnUNetStackedLabelPlans``."""

    plans_name_by_default = "nnUNetStackedLabelPlans"


class StackedLabelPlannerCPU(StackedLabelMixin, ExperimentPlannerCPU):
    """`ExperimentPlannerCPU` for several label maps per case; writes ``nnUNetStackedLabelPlansCPU``."""

    plans_name_by_default = "nnUNetStackedLabelPlansCPU"


class StackedLabelPlannerResEncM(StackedLabelMixin, nnUNetPlannerResEncM):
    """nnU-Net's residual-encoder preset for 9–11 GB; writes ``nnUNetStackedLabelResEncUNetMPlans``."""

    plans_name_by_default = "nnUNetStackedLabelResEncUNetMPlans"


class StackedLabelPlannerResEncL(StackedLabelMixin, nnUNetPlannerResEncL):
    """nnU-Net's residual-encoder preset for 24 GB; writes ``nnUNetStackedLabelResEncUNetLPlans``."""

    plans_name_by_default = "nnUNetStackedLabelResEncUNetLPlans"


class StackedLabelPlannerResEncXL(StackedLabelMixin, nnUNetPlannerResEncXL):
    """nnU-Net's residual-encoder preset for 40 GB; writes ``nnUNetStackedLabelResEncUNetXLPlans``."""

    plans_name_by_default = "nnUNetStackedLabelResEncUNetXLPlans"
