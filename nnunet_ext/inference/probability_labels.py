"""How the probabilities beside predictions become labels: by nnU-Net's label manager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class ProbabilityLabels:
    """The label manager of a folder of predictions: for plain labels, regions or several tasks.

    Parameters
    ----------
    manager
        nnU-Net's, or the one that the plans name.
    """

    manager: Any

    @property
    def heads(self) -> int:
        """Number of channels of probabilities."""
        return int(self.manager.num_segmentation_heads)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the label maps: uint8, or uint16 if a label is above 255."""
        values = [*self.manager.all_labels, *((self.manager.has_regions and self.manager.regions_class_order) or [])]
        return np.dtype(np.uint8 if max(values) <= np.iinfo(np.uint8).max else np.uint16)

    def of(self, probabilities: NDArray[np.float32]) -> NDArray[Any]:
        """Return the labels, shape (…), of probabilities, shape (heads, …)."""
        return np.asarray(self.manager.convert_probabilities_to_segmentation(probabilities)).astype(self.dtype)


def labels_of_folder(folder: Path) -> ProbabilityLabels:
    """Return what ``dataset.json`` and ``plans.json`` in a folder of predictions say.

    Raises
    ------
    MissingInputError
        If one of the files is not there.
    InputError
        If they say nothing about labels that nnU-Net understands.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset, plans = read_json(folder / "dataset.json"), read_json(folder / "plans.json")
    try:
        return ProbabilityLabels(PlansManager(plans).get_label_manager(dataset))
    except Exception as error:
        # nnU-Net asserts, looks up keys, and imports the class that the plans name.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        message = f"{folder / 'dataset.json'}: no labels that nnU-Net understands, with plans.json beside it: {reason}"
        raise InputError(message) from error
