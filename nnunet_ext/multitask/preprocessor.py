"""nnU-Net's preprocessor for joint labels: it takes them apart before anything is resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json
from nnunet_ext.multitask.label_manager import StackedLabelManager

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Locations = dict[tuple[int, ...], NDArray[np.int_]]


class StackedLabelPreprocessor(DefaultPreprocessor):
    """Stores the label maps of a case as channels, and voxels of each class of each task.

    Interpolating joint labels would tear a thin class apart where borders of another task run through it. As
    channels, the tasks know nothing of each other.
    """

    def run_case_npy(
        self,
        data: NDArray[Any],
        seg: NDArray[Any] | None,
        properties: dict[str, Any],
        plans_manager: Any,
        configuration_manager: Any,
        dataset_json: dict[str, Any] | str,
    ) -> tuple[NDArray[np.float32], NDArray[np.integer[Any]], dict[str, Any]]:
        """Preprocess one case.

        Parameters
        ----------
        data
            Image, shape (C, z, y, x).
        seg
            Joint label, shape (1, z, y, x); None at inference.
        properties
            What the reader knows of the image; ``class_locations`` and others are added.
        plans_manager, configuration_manager, dataset_json
            As nnU-Net's.

        Returns
        -------
        tuple
            Image; stack of shape (T, z, y, x), with -1 where image and label map are 0;
            properties. At inference the second has one channel, as in nnU-Net.
        """
        if seg is None:
            done: tuple[Any, Any, Any] = super().run_case_npy(
                data, None, properties, plans_manager, configuration_manager, dataset_json
            )
            return done
        content = read_json_or_dict(dataset_json)
        label_manager = plans_manager.get_label_manager(content)
        if not isinstance(label_manager, StackedLabelManager):
            message = (
                f"{type(self).__name__} needs the label manager StackedLabelManager, the plans name "
                f"{type(label_manager).__name__}: plan with -pl StackedLabelPlanner"
            )
            raise InputError(message)
        stack = label_manager.joint.decode(seg[0])
        data, stack, properties = super().run_case_npy(
            data, stack, properties, plans_manager, configuration_manager, content
        )
        properties["class_locations"] = class_locations(stack, label_manager, verbose=self.verbose)
        return data, stack, properties

    @staticmethod
    def _sample_foreground_locations(*_: Any, **__: Any) -> dict[Any, Any]:
        """Do nothing where nnU-Net looks for joint labels, which a stack does not have; see `class_locations`."""
        return {}


def class_locations(
    stack: NDArray[np.integer[Any]], label_manager: StackedLabelManager, *, verbose: bool = False
) -> Locations:
    """Draw voxels of every class of every task, with the numbers and the seed that nnU-Net has.

    Parameters
    ----------
    stack
        Label maps, shape (T, z, y, x).
    label_manager
        That of the dataset.
    verbose
        Passed on to nnU-Net.

    Returns
    -------
    dict
        From the region of joint labels of each class, without backgrounds, to its voxels (n, 4) as channel, z, y,
        x. With an ignore label also, under nnU-Net's key, voxels that are annotated for at least one task.
    """
    sample = DefaultPreprocessor._sample_foreground_locations
    locations: Locations = {}
    for channel, (task, regions) in enumerate(
        zip(label_manager.joint.tasks, label_manager.regions_of_tasks, strict=True)
    ):
        values = list(range(1, task.num_classes))
        found = sample(stack[channel][None], values, verbose=verbose)
        locations |= {region: _voxels(found[value], channel) for value, region in zip(values, regions, strict=True)}
    if label_manager.has_ignore_label:
        ignore_values = np.array([task.ignore_value for task in label_manager.joint.tasks], stack.dtype)
        annotated = (stack != ignore_values[:, None, None, None]).any(0)
        key = (-1, *label_manager.all_labels)
        locations[key] = _voxels(sample(annotated[None].astype(np.int8), [1], verbose=verbose)[1], 0)
    return locations


def read_json_or_dict(content: dict[str, Any] | str) -> dict[str, Any]:
    """Return a dictionary, or that in the file of this name: nnU-Net hands over either."""
    from pathlib import Path

    return read_json(Path(content)) if isinstance(content, str) else content


def _voxels(sampled: Any, channel: int) -> NDArray[np.int_]:
    voxels = np.asarray(sampled, int).reshape(-1, 4)
    voxels[:, 0] = channel
    return voxels
