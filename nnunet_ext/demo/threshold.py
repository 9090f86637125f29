"""What thresholds alone reach: the bar that a trained network has to clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class ThresholdBaseline:
    """Give each voxel the class whose mean grey value is nearest.

    Parameters
    ----------
    means
        Mean grey value by class id.
    """

    means: dict[int, float]

    @classmethod
    def fit(cls, images: Sequence[NDArray[np.uint8]], annotations: Sequence[NDArray[np.uint8]]) -> ThresholdBaseline:
        """Take the mean grey values from the annotated voxels (id 0: not annotated) of all scans."""
        grey = np.concatenate([image[marks > 0] for image, marks in zip(images, annotations, strict=True)])
        ids = np.concatenate([marks[marks > 0] for marks in annotations])
        return cls({int(value): float(grey[ids == value].mean()) for value in np.unique(ids)})

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return class ids of the image's shape."""
        ids = np.array(list(self.means), dtype=np.uint8)
        distance = np.abs(np.arange(256)[:, None] - np.array(list(self.means.values())))
        return np.take(ids[distance.argmin(axis=1)], image)
