"""A trained model: its folder, its folds, and nnU-Net's predictor with their weights."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError, MissingInputError, NnunetExtError
from nnunet_ext.files import read_json, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DEVICES = ("cuda", "cpu", "mps")
CHECKPOINT = "checkpoint_final.pth"
ALL = "all"
_FOLD = re.compile(r"fold_(\d+|all)")


@dataclass(frozen=True)
class TrainedModel:
    """A folder ``<trainer>__<plans>__<configuration>`` and what is used of it.

    Parameters
    ----------
    folder
        Folder with dataset.json, plans.json and the folds.
    folds
        Folds to predict with: numbers as text, or ``all``.
    checkpoint
        Name of the files with the weights.
    dataset
        Content of dataset.json.
    """

    folder: Path
    folds: tuple[str, ...]
    checkpoint: str
    dataset: dict[str, Any]

    @property
    def name(self) -> str:
        """Dataset and trainer, which stay the same wherever the folder is."""
        folder = self.folder.resolve()
        return f"{folder.parent.name}/{folder.name}"

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """The files with the weights of the folds."""
        return tuple(self.folder / f"fold_{fold}" / self.checkpoint for fold in self.folds)

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 of everything that decides on predictions, by name in the folder."""
        files = (self.folder / "plans.json", self.folder / "dataset.json", *self.checkpoints)
        return {path.relative_to(self.folder).as_posix(): sha256(path) for path in files}


def find_trained_model(
    folder: Path, folds: Sequence[str | int] | None = None, checkpoint: str = CHECKPOINT
) -> TrainedModel:
    """Look whether a model and its folds are there.

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
        If dataset.json or plans.json is no JSON file.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder, expected a trained model"
        raise MissingInputError(message)
    content = read_json(folder / "dataset.json")
    read_json(folder / "plans.json")
    return TrainedModel(folder, find_folds(folder, folds, checkpoint), checkpoint, content)


def find_folds(folder: Path, folds: Sequence[str | int] | None, checkpoint: str) -> tuple[str, ...]:
    """Return the folds that are asked for, or else all with a number, or else ``all``; see `find_trained_model`."""
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


def load_predictor(model: TrainedModel, *, device: str, step_size: float, mirroring: bool) -> Any:
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
    nnunetv2.inference.predict_from_raw_data.nnUNetPredictor
        Ready to predict.

    Raises
    ------
    InputError
        If the device is not there, or the model cannot be loaded.
    """
    with quiet():
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available.get(device, False):
        there = ", ".join(name for name in DEVICES if available[name])
        message = f"-device {device}: not available on this machine, expected one of {there}"
        raise InputError(message)
    folds = tuple(fold if fold == ALL else int(fold) for fold in model.folds)
    try:
        with quiet():
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
    return predictor


def check_step_size(step_size: float) -> None:
    """Raise ``InputError`` unless a step lies above 0 and does not go beyond the window."""
    if not 0 < step_size <= 1:
        message = f"-step_size {step_size}: expected a number above 0 and up to 1"
        raise InputError(message)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what nnU-Net prints away from the user."""
    with redirect_stdout(io.StringIO()):
        yield
