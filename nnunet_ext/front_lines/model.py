"""A trained model: what it predicts, its folds, and nnU-Net's own prediction for one image at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.caffe_case import THICKNESS
from dataset_conversion.caffe_predictions import Encoding, encoding_of_dataset
from dataset_conversion.caffe_tasks import PARTS, SOURCE
from nnunet_ext.errors import InputError
from nnunet_ext.inference import model as trained

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Predict = Callable[[npt.NDArray[np.uint8], tuple[float, float, float]], npt.NDArray[Any]]
    """From grey levels (H, W) and spacing (z, y, x) to labels (H, W) as dataset.json has them."""


@dataclass(frozen=True)
class Model:
    """A model and what it predicts.

    Parameters
    ----------
    trained
        Its folder, folds and checkpoint.
    encoding
        What its labels are.
    has_pixel_size
        Whether it was trained with the metres per pixel as spacing.
    """

    trained: trained.TrainedModel
    encoding: Encoding
    has_pixel_size: bool

    @property
    def name(self) -> str:
        """Dataset and trainer, which stay the same wherever the folder is."""
        return self.trained.name

    @property
    def folds(self) -> tuple[str, ...]:
        """Folds to predict with: numbers as text, or ``all``."""
        return self.trained.folds

    @property
    def parts(self) -> tuple[str, ...]:
        """Label maps that it predicts: front, zones, boundary."""
        return self.encoding.task.parts

    def spacing(self, resolution: float) -> tuple[float, float, float]:
        """Return the spacing (z, y, x) of an image as in the training."""
        size = resolution if self.has_pixel_size else 1.0
        return THICKNESS, size, size


def find_model(folder: Path, folds: Sequence[str] | None = None, checkpoint: str = trained.CHECKPOINT) -> Model:
    """Find out what a model predicts, and check that its folds are there.

    Parameters
    ----------
    folder, folds, checkpoint
        As for `nnunet_ext.inference.model.find_trained_model`, whose exceptions it shares.

    Raises
    ------
    InputError
        If it is no model of 'nnunet_ext convert caffe'.
    """
    found = trained.find_trained_model(folder, folds, checkpoint)
    encoding, conversion = _encoding(found.dataset, folder / "dataset.json"), found.dataset.get("conversion")
    has_pixel_size = isinstance(conversion, dict) and bool(conversion.get("pixel_size_as_spacing"))
    return Model(found, encoding, has_pixel_size)


def load_predictor(model: Model, *, device: str, step_size: float, mirroring: bool) -> Predict:
    """Load the weights of all folds into nnU-Net's predictor.

    Parameters
    ----------
    model
        What to load. A checkpoint is a pickle, which can run any code: trust where it comes from.
    device, step_size, mirroring
        As for `nnunet_ext.inference.model.load_predictor`, whose exceptions it shares.

    Returns
    -------
    callable
        Predicts one image.
    """
    predictor = trained.load_predictor(model.trained, device=device, step_size=step_size, mirroring=mirroring)

    def predict(image: npt.NDArray[np.uint8], spacing: tuple[float, float, float]) -> npt.NDArray[Any]:
        with trained.quiet():
            labels = predictor.predict_single_npy_array(image[None, None].astype(np.float32), {"spacing": spacing})
        found: npt.NDArray[Any] = np.asarray(labels)[0]
        return found

    return predict


def _encoding(content: dict[str, Any], source: Path) -> Encoding:
    """Return what the labels of a model are; refuse what is not known to be front, zones and boundary."""
    try:
        encoding = encoding_of_dataset(content, source)
    except InputError as error:
        text = str(error)
        message = text if str(source) in text else f"{source}: {text}"
        raise InputError(message) from error
    conversion = content.get("conversion")
    of_converter = isinstance(conversion, dict) and conversion.get("source") == SOURCE
    names = {task.name for task in encoding.joint.tasks} if encoding.joint else set()
    # Elsewhere, tasks may have as many classes by chance.
    if encoding.is_layered or not encoding.task.parts or not (of_converter or (names and names <= set(PARTS))):
        message = (
            f"{source}: not the model of a dataset from 'nnunet_ext convert caffe' or from 'nnunet_ext stack' with "
            f"tasks {', '.join(PARTS)}, so what its labels mean is not known"
        )
        raise InputError(message)
    return encoding
