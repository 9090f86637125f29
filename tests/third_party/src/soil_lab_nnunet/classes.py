"""One class of every kind that nnU-Net looks up by name. Each leaves a trace of its work."""

import os

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager


def leave_trace(name):
    """Append a line to the file that SOIL_LAB_TRACE names, if it names one."""
    if os.environ.get("SOIL_LAB_TRACE"):
        with open(os.environ["SOIL_LAB_TRACE"], "a") as file:
            file.write(f"{name}\n")


class nnUNetTrainerSoilLab(nnUNetTrainer):
    """A trainer whose epochs are short."""

    def initialize(self):
        """Prepare training as nnU-Net does, with few iterations per epoch."""
        self.num_iterations_per_epoch = 4
        self.num_val_iterations_per_epoch = 2
        super().initialize()

    @staticmethod
    def build_network_architecture(
        plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision=True
    ):
        """Build nnU-Net's network; called in training and in prediction."""
        leave_trace("nnUNetTrainerSoilLab")
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )


class SoilLabPlanner(ExperimentPlanner):
    """A planner of small networks that writes the other classes into its plans."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("plans_name", "SoilLabPlans")
        super().__init__(*args, **kwargs)
        self.preprocessor_name = "SoilLabPreprocessor"
        self.UNet_base_num_features = 4
        self.UNet_max_features_3d = 16

    def plan_experiment(self):
        """Plan as nnU-Net does, with the laboratory's label manager."""
        leave_trace("SoilLabPlanner")
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

    def run_case_npy(self, *args, **kwargs):
        """Preprocess a case as nnU-Net does."""
        leave_trace("SoilLabPreprocessor")
        return super().run_case_npy(*args, **kwargs)


class SoilLabLabelManager(LabelManager):
    """A label manager."""

    def convert_logits_to_segmentation(self, predicted_logits):
        """Decide for a label as nnU-Net does; called in validation and in prediction."""
        leave_trace("SoilLabLabelManager")
        return super().convert_logits_to_segmentation(predicted_logits)


class SoilLabNormalization(ZScoreNormalization):
    """A normalisation."""

    def run(self, image, seg=None):
        """Normalise as nnU-Net does."""
        leave_trace("SoilLabNormalization")
        return super().run(image, seg)


class SoilLabReader(SimpleITKIO):
    """A reader."""

    def read_images(self, image_fnames):
        """Read as nnU-Net does."""
        leave_trace("SoilLabReader")
        return super().read_images(image_fnames)


def soil_lab_resampling(*args, **kwargs):
    """Resample as nnU-Net does."""
    leave_trace("soil_lab_resampling")
    return resample_data_or_seg_to_shape(*args, **kwargs)
