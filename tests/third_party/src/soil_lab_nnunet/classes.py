"""One class of every kind that nnU-Net looks up by name."""

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager


class nnUNetTrainerSoilLab(nnUNetTrainer):
    """A trainer with a habit of its own."""


class SoilLabPlanner(ExperimentPlanner):
    """A planner that writes the other classes into its plans."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("plans_name", "SoilLabPlans")
        super().__init__(*args, **kwargs)
        self.preprocessor_name = "SoilLabPreprocessor"
        self.UNet_base_num_features = 4
        self.UNet_max_features_3d = 16

    def plan_experiment(self):
        """Plan as nnU-Net does, with the laboratory's label manager."""
        plans = super().plan_experiment()
        plans["label_manager"] = "SoilLabLabelManager"
        self.plans = plans
        self.save_plans(plans)
        return plans

    def determine_reader_writer(self):
        """Read with the laboratory's reader."""
        return SoilLabReader

    def get_plans_for_configuration(self, *args, **kwargs):
        """Plan a configuration with the laboratory's normalisation and resampling."""
        plan = super().get_plans_for_configuration(*args, **kwargs)
        plan["normalization_schemes"] = ["SoilLabNormalization"]
        plan["resampling_fn_data"] = "soil_lab_resampling"
        return plan


class SoilLabPreprocessor(DefaultPreprocessor):
    """A preprocessor."""


class SoilLabLabelManager(LabelManager):
    """A label manager."""


class SoilLabNormalization(ZScoreNormalization):
    """A normalisation."""


class SoilLabReader(SimpleITKIO):
    """A reader."""


def soil_lab_resampling(*args, **kwargs):
    """Resample as nnU-Net does."""
    return resample_data_or_seg_to_shape(*args, **kwargs)
