"""Plans for a network that trains on a processor in minutes: for trials, teaching and demonstrations."""

from __future__ import annotations

from typing import Any

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner


class ExperimentPlannerCPU(ExperimentPlanner):
    """nnU-Net's planner with a quarter of its features and a memory target that makes small patches.

    ``nnUNetv2_plan_and_preprocess -d ID -pl ExperimentPlannerCPU`` writes ``nnUNetPlansCPU``. What such a network
    reaches says little about what nnU-Net can reach.

    Parameters
    ----------
    dataset_name_or_id, gpu_memory_target_in_gb, plans_name
        As in nnU-Net; only the defaults differ.
    **more
        nnU-Net's other arguments.
    """

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 0.04,
        plans_name: str = "nnUNetPlansCPU",
        **more: Any,
    ) -> None:
        super().__init__(
            dataset_name_or_id, gpu_memory_target_in_gb=gpu_memory_target_in_gb, plans_name=plans_name, **more
        )
        self.UNet_base_num_features = 8
        self.UNet_max_features_2d = 64
        self.UNet_max_features_3d = 64
