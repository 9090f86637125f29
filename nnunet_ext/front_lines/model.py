"""A trained model: what it predicts, its folds, and nnU-Net's own prediction for one image at a time."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.caffe_case import THICKNESS
from dataset_conversion.caffe_predictions import Encoding, encoding_of_dataset
from dataset_conversion.caffe_tasks import PARTS, SOURCE
from nnunet_ext.errors import InputError, MissingInputError, NnunetExtError
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Predict = Callable[[npt.NDArray[np.uint8], tuple[float, float, float]], npt.NDArray[Any]]
    """From grey levels (H, W) and spacing (z, y, x) to labels (H, W) as dataset.json has them."""

DEVICES = ("cuda", "cpu", "mps")
ALL = "all"
_FOLD = re.compile(r"fold_(\d+|all)")


@dataclass(frozen=True)
class Model:
    """A model and what it predicts.

    Parameters
    ----------
    folder
        Folder with dataset.json, plans.json and the folds.
    folds
        Folds to predict with: numbers as text, or ``all``.
    checkpoint
        Name of the files with the weights.
    encoding
        What its labels are.
    has_pixel_size
        Whether it was trained with the metres per pixel as spacing.
    """

    folder: Path
    folds: tuple[str, ...]
    checkpoint: str
    encoding: Encoding
    has_pixel_size: bool

    @property
    def name(self) -> str:
        """Dataset and trainer, which stay the same wherever the folder is."""
        folder = self.folder.resolve()
        return f"{folder.parent.name}/{folder.name}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Label maps that it predicts: front, zones, boundary."""
        return self.encoding.task.parts

    def spacing(self, resolution: float) -> tuple[float, float, float]:
        """Return the spacing (z, y, x) of an image as in the training."""
        size = resolution if self.has_pixel_size else 1.0
        return THICKNESS, size, size


def find_model(folder: Path, folds: Sequence[str] | None = None, checkpoint: str = "checkpoint_final.pth") -> Model:
    """Find out what a model predicts, and check that its folds are there.

    Parameters
    ----------
    folder
        A folder ``<trainer>__<plans>__<configuration>``.
    folds
        Default: all that have the checkpoint; those with a number, or else ``all``.
    checkpoint
        Name of the files with the weights.

    Raises
    ------
    MissingInputError
        If the folder, a file or a fold is not there.
    InputError
        If it is no model of 'nnunet_ext convert caffe'.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder, expected a trained model"
        raise MissingInputError(message)
    source = folder / "dataset.json"
    content = read_json(source)
    encoding, conversion = _encoding(content, source), content.get("conversion")
    has_pixel_size = isinstance(conversion, dict) and bool(conversion.get("pixel_size_as_spacing"))
    return Model(folder, _folds(folder, folds, checkpoint), checkpoint, encoding, has_pixel_size)


def load_predictor(model: Model, *, device: str, step_size: float, mirroring: bool) -> Predict:
    """Load the weights of all folds into nnU-Net's predictor.

    Parameters
    ----------
    model
        What to load. A checkpoint is a pickle, which can run any code: trust where it comes from.
    device
        ``cuda``, ``cpu`` or ``mps``.
    step_size
        Step of the window over the image, as part of the patch.
    mirroring
        Whether mirrored images are predicted as well and the mean is taken.

    Returns
    -------
    callable
        Predicts one image.

    Raises
    ------
    InputError
        If the device is not there, or the model cannot be loaded.
    """
    with _quiet():
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available.get(device, False):
        there = ", ".join(name for name in DEVICES if available[name])
        message = f"-device {device}: not available on this machine, expected one of {there}"
        raise InputError(message)
    folds = tuple(fold if fold == ALL else int(fold) for fold in model.folds)
    try:
        with _quiet():
            predictor = nnUNetPredictor(
                tile_step_size=step_size,
                use_mirroring=mirroring,
                perform_everything_on_device=device == "cuda",
                device=torch.device(device),
                allow_tqdm=False,
            )
            predictor.initialize_from_trained_model_folder(str(model.folder), folds, model.checkpoint)
    except NnunetExtError:
        raise
    except Exception as error:
        # nnU-Net and PyTorch raise anything about a model that does not fit.
        message = f"{model.folder}: the model cannot be loaded: {error}"
        raise InputError(message) from error

    def predict(image: npt.NDArray[np.uint8], spacing: tuple[float, float, float]) -> npt.NDArray[Any]:
        with _quiet():
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


def _folds(folder: Path, folds: Sequence[str] | None, checkpoint: str) -> tuple[str, ...]:
    there = {
        match[1] for path in folder.iterdir() if (match := _FOLD.fullmatch(path.name)) and (path / checkpoint).is_file()
    }
    numbers = sorted(there - {ALL}, key=int)
    listed = ", ".join([*numbers, *(there & {ALL})]) or "none"
    chosen = list(dict.fromkeys(map(str, folds))) if folds else numbers or sorted(there)
    missing = [fold for fold in chosen if fold not in there]
    if missing or not chosen:
        which = f"fold {', '.join(missing)}" if missing else "no fold"
        message = f"{folder}: {which} with {checkpoint} expected, found: {listed} (-f, -chk)"
        if not chosen:
            message = f"{folder}: no folder fold_<number> or fold_{ALL} with {checkpoint} in it (-chk)"
        raise MissingInputError(message)
    return tuple(chosen)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what nnU-Net prints away from the user."""
    with redirect_stdout(io.StringIO()):
        yield
