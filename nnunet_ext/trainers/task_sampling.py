"""Loaders for stacks of label maps: forced foreground draws a task first, and then one of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_ext.trainers.ignore_loader import IgnoreSamplingLoader
from nnunet_ext.trainers.nnunet_internals import AnyLoader
from nnunet_ext.trainers.worker_random import worker_generator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from nnunet_ext.multitask.label_manager import StackedLabelManager

    Region = tuple[int, ...]


class TaskSamplingMixin(AnyLoader):
    """Put in front of a loader: a task with many classes is not shown more often than one with few.

    Parameters are those of the loader.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int,
        patch_size: Sequence[int],
        final_patch_size: Sequence[int],
        label_manager: StackedLabelManager,
        *more: Any,
        **named: Any,
    ) -> None:
        super().__init__(data, batch_size, patch_size, final_patch_size, label_manager, *more, **named)
        self._regions_of_tasks = label_manager.regions_of_tasks

    def get_bbox(
        self,
        data_shape: Sequence[int],
        force_fg: bool,
        class_locations: Any,
        overwrite_class: Any = None,
        verbose: bool = False,
    ) -> tuple[list[int], list[int]]:
        """Choose the patch to read, as the loader does, for the class that was drawn if it must show foreground.

        Parameters
        ----------
        data_shape, force_fg, class_locations, overwrite_class, verbose
            As nnU-Net's; classes are regions of joint labels.
        """
        if force_fg and overwrite_class is None and class_locations is not None:
            overwrite_class = draw_class(class_locations, self._regions_of_tasks, worker_generator())
        bounds: tuple[list[int], list[int]] = super().get_bbox(
            data_shape, force_fg, class_locations, overwrite_class, verbose
        )
        return bounds


class StackedLabelLoader(TaskSamplingMixin, nnUNetDataLoader):
    """nnU-Net's loader with `TaskSamplingMixin`."""


class StackedIgnoreSamplingLoader(TaskSamplingMixin, IgnoreSamplingLoader):
    """`IgnoreSamplingLoader` with `TaskSamplingMixin`; padding gets the ignore value of each task."""

    @staticmethod
    def ignore_values(label_manager: StackedLabelManager) -> tuple[int, ...]:
        """Return each task's value for "not annotated" in its channel of a stack."""
        return tuple(value for value in label_manager.joint.ignore_values if value is not None)


def draw_class(
    class_locations: Mapping[Region, Any], regions_of_tasks: Sequence[Sequence[Region]], rng: np.random.Generator
) -> Region | None:
    """Draw a task with equal probability among those that a case has foreground of, then one of its classes.

    Parameters
    ----------
    class_locations
        Voxels of every class of a case; empty where it does not have the class.
    regions_of_tasks
        Per task the keys of its classes in ``class_locations``.
    rng
        Source of random numbers.

    Returns
    -------
    tuple of int or None
        Key of the class; None if the case has no foreground.
    """
    present = [
        [region for region in regions if len(class_locations.get(region, ())) > 0] for regions in regions_of_tasks
    ]
    present = [regions for regions in present if regions]
    if not present:
        return None
    regions = present[rng.integers(len(present))]
    return regions[rng.integers(len(regions))]
