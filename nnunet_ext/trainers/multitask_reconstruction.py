"""A multi-task trainer whose network also rebuilds the image."""

from __future__ import annotations

from typing import Any

from nnunet_ext.multitask.losses import MultiTaskLoss
from nnunet_ext.multitask.reconstruction import with_image_as_target
from nnunet_ext.trainers.multitask import MultiTaskMixin, nnUNetTrainerMTL
from nnunet_ext.trainers.nnunet_internals import bare_network
from nnunet_ext.trainers.task_sampling import StackedIgnoreSamplingLoader

RECONSTRUCTION = "reconstruction"


class ReconstructionMixin(MultiTaskMixin):
    """Put in front of a multi-task trainer: the network also learns to rebuild the image.

    Source: the reconstruction task of the multi-task nnU-Net for calving fronts.
    """

    @classmethod
    def network_options(cls) -> dict[str, Any]:
        """Add the decoder that rebuilds the image."""
        return {**super().network_options(), "reconstruction": True}

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the tasks, and the reconstruction."""
        return (*self.joint.names, RECONSTRUCTION)

    def _build_loss(self) -> MultiTaskLoss:
        return MultiTaskLoss(
            self._task_terms(),
            reconstruction_weight=1 / (len(self.joint.tasks) + 1),
            touch_all_outputs=self._must_touch_all_outputs(),
        )

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Let the target of the loss end with the spatially augmented image."""
        return with_image_as_target(super().get_training_transforms(*args, **kwargs))

    def get_validation_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Let the target of the loss end with the image."""
        return with_image_as_target(super().get_validation_transforms(*args, **kwargs))

    def on_train_start(self) -> None:
        """Begin the training with the reconstruction in the network's output."""
        super().on_train_start()
        bare_network(self).reconstruct = True

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate without reconstruction."""
        network = bare_network(self)
        before, network.reconstruct = network.reconstruct, False
        try:
            super().perform_actual_validation(save_probabilities)
        finally:
            network.reconstruct = before


class nnUNetTrainerMTLrecon(ReconstructionMixin, nnUNetTrainerMTL):
    """`nnUNetTrainerMTL` that also rebuilds the image during training."""


class nnUNetTrainerMTLrecon_betterIgnoreSampling(nnUNetTrainerMTLrecon):
    """`nnUNetTrainerMTLrecon` with patches that show the annotation, at any place in the patch alike."""

    loader_class = StackedIgnoreSamplingLoader
