"""A loader for sparse annotations: every patch shows annotation, at any place in the patch alike."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_ext.errors import InputError
from nnunet_ext.trainers.label_padding import Margins, with_ignored_padding
from nnunet_ext.trainers.patch_position import central_crop_offset, draw_any_corner, draw_corner
from nnunet_ext.trainers.worker_random import worker_generator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    ClassLocations = Mapping[int | tuple[int, ...], NDArray[np.int_]]


class IgnoreSamplingLoader(nnUNetDataLoader):
    """nnU-Net's loader with another choice of patches, for datasets with an ignore label.

    nnU-Net centres its patch on a random annotated voxel, so that a network trained on single annotated
    slices finds them always at the same depth. Here the voxel lies anywhere in the patch *that the network
    sees*, with equal probability, and the patch stays inside the volume as far as it fits. The same goes for
    patches that have to show foreground, with or without ignore label. Padding that is added to a label gets
    the ignore label.

    Parameters are those of nnU-Net's loader; ``pad_sides`` has no influence on the patches described above.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int,
        patch_size: Sequence[int],
        final_patch_size: Sequence[int],
        label_manager: Any,
        oversample_foreground_percent: float = 0.0,
        sampling_probabilities: Sequence[float] | None = None,
        pad_sides: Sequence[int] | None = None,
        probabilistic_oversampling: bool = False,
        transforms: Any = None,
    ) -> None:
        self._margins = Margins()
        if label_manager.has_ignore_label:
            transforms = with_ignored_padding(transforms, self.ignore_values(label_manager), self._margins)
        super().__init__(
            data,
            batch_size,
            patch_size,
            final_patch_size,
            label_manager,
            oversample_foreground_percent=oversample_foreground_percent,
            sampling_probabilities=sampling_probabilities,
            pad_sides=pad_sides,
            probabilistic_oversampling=probabilistic_oversampling,
            transforms=transforms,
        )
        self._has_warned = False

    @staticmethod
    def ignore_values(label_manager: Any) -> tuple[int, ...]:
        """Return the value for "not annotated" in each channel of the target; here it has one, the label."""
        return (int(label_manager.ignore_label),)

    def get_bbox(
        self,
        data_shape: Sequence[int],
        force_fg: bool,
        class_locations: ClassLocations | None,
        overwrite_class: int | tuple[int, ...] | None = None,
        verbose: bool = False,
    ) -> tuple[list[int], list[int]]:
        """Choose the patch to read.

        Parameters
        ----------
        data_shape
            Shape of the volume.
        force_fg
            Whether the patch has to show a foreground class.
        class_locations
            Voxels ``(channel, z, y, x)`` of each class or region, and of everything annotated.
        overwrite_class
            With ``force_fg``, the class to show if the case has it.
        verbose
            Passed on to nnU-Net.

        Returns
        -------
        tuple
            First and last index per axis (half-open) of the patch, which is larger than the final one by what
            augmentation needs. May reach beyond the volume.
        """
        if not force_fg and not self.has_ignore:
            bounds: tuple[list[int], list[int]] = super().get_bbox(
                data_shape, force_fg, class_locations, overwrite_class, verbose
            )
            return bounds
        rng = worker_generator()
        voxels = self._voxels_to_show(force_fg, class_locations, overwrite_class, rng)
        if len(voxels) > 0:
            voxel = voxels[rng.integers(len(voxels))][1:]
            corner = draw_corner(voxel, data_shape, self.final_patch_size, rng)
        else:
            if self.has_ignore:
                self._warn_of_cases_without_annotation()
            corner = draw_any_corner(data_shape, self.final_patch_size, rng)
        offset = central_crop_offset(self.patch_size, self.final_patch_size)
        lower = [c - o for c, o in zip(corner, offset, strict=True)]
        upper = [low + int(length) for low, length in zip(lower, self.patch_size, strict=True)]
        self._margins.update(lower, upper, data_shape)
        return lower, upper

    def _voxels_to_show(
        self,
        force_fg: bool,
        class_locations: ClassLocations | None,
        overwrite_class: int | tuple[int, ...] | None,
        rng: np.random.Generator,
    ) -> NDArray[np.int_]:
        """Give the voxels of which the patch has to show one; none if the case has none."""
        if class_locations is None:
            message = (
                "Patches that must show annotation or foreground need class locations: run nnUNetv2_preprocess again."
            )
            raise InputError(message)
        if not force_fg:
            return self._annotated_voxels(class_locations)
        if overwrite_class is not None and overwrite_class not in class_locations:
            message = f"The class to show must be one of {list(class_locations)}, not {overwrite_class!r}."
            raise InputError(message)
        eligible = [key for key, voxels in class_locations.items() if len(voxels) > 0]
        # the type is checked first because comparing a numpy integer with a tuple gives an array
        classes = [key for key in eligible if not (isinstance(key, tuple) and key == self.annotated_classes_key)]
        if overwrite_class in eligible:
            return class_locations[overwrite_class]
        candidates = classes or eligible
        if not candidates:
            return np.empty((0, 1 + len(self.patch_size)), int)
        return class_locations[candidates[rng.integers(len(candidates))]]

    def _annotated_voxels(self, class_locations: ClassLocations) -> NDArray[np.int_]:
        try:
            return class_locations[self.annotated_classes_key]
        except KeyError:
            message = (
                "The dataset has an ignore label, but its preprocessed cases do not list their annotated voxels "
                f"(labels {self.annotated_classes_key}; found {list(class_locations)}): they are older than that "
                "label. Run nnUNetv2_preprocess again."
            )
            raise InputError(message) from None

    def _warn_of_cases_without_annotation(self) -> None:
        # worker processes hold copies of the loader; one of them is enough to speak
        if self._has_warned or self.thread_id != 0:
            return
        self._has_warned = True
        cases = [
            str(case)
            for case in self.indices
            if len(self._annotated_voxels(self._data.load_case(case)[3]["class_locations"])) == 0
        ]
        warnings.warn(
            f"{len(cases)} of {len(self.indices)} cases have no annotated voxel: {', '.join(cases)}. "
            "Random patches are drawn from them, which teach the network nothing. Annotate these cases or "
            "leave them out.",
            stacklevel=3,
        )
