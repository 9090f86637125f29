"""Predict many images one by one, and write the files of each; what fails does not stop the others."""

from __future__ import annotations

from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import BadCasesError, NnunetExtError, WorkerEndedError
from nnunet_ext.front_lines.finish import GEOJSON, finish, finished_record, known_of, targets
from nnunet_ext.front_lines.scenes import describe, read_image
from nnunet_ext.front_lines.table import FAILED, NOT_DONE, CalvingFronts, ImageFront

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from nnunet_ext.front_lines.finish import Recipe
    from nnunet_ext.front_lines.model import Model, Predict
    from nnunet_ext.front_lines.scenes import Hints, Scene

    Running = dict[Future[dict[str, Any]], Scene]
    Job = tuple[Scene, npt.NDArray[np.uint8], npt.NDArray[Any], dict[str, Path], Recipe]


class Work:
    """The images of a run: what is to be done, and what became of them.

    Parameters
    ----------
    output
        Folder to write.
    model
        What predicts.
    recipe
        How the files of an image are made.
    overwrite
        Whether images are predicted again whose files are there.

    Attributes
    ----------
    pending : list of Scene
        Images to be predicted, after ``plan``.
    """

    def __init__(self, output: Path, model: Model, recipe: Recipe, *, overwrite: bool) -> None:
        self.pending: list[Scene] = []
        self._output = output
        self._model = model
        self._recipe = recipe
        self._overwrite = overwrite
        self._rows: dict[str, ImageFront] = {}
        self._skipped = 0

    def plan(self, found: Mapping[str, list[Path]], hints: Hints) -> None:
        """Find out which images have to be predicted.

        Parameters
        ----------
        found
            Files by stem; what cannot be used counts as failed.
        hints
            What the user says about all of them.

        Raises
        ------
        BadCasesError
            If some were finished with other settings.
        """
        others = []
        self._rows = {stem: ImageFront(stem, NOT_DONE) for stem in found}
        for stem, paths in found.items():
            try:
                scene = describe(stem, paths, hints)
                record = None if self._overwrite else finished_record(self._files(scene))
            except (NnunetExtError, OSError) as error:
                self._fail(stem, error)
                continue
            if record is None:
                self.pending.append(scene)
                continue
            others += [
                f"{self._files(scene)[GEOJSON]}: made with {name} {record.get(name)}, not {value}; choose another "
                "output or give --overwrite"
                for name, value in known_of(scene, self._recipe.settings).items()
                if record.get(name) != value
            ]
            self._done(stem, record)
            self._skipped += 1
        if others:
            raise BadCasesError(others)

    def do(self, predict: Predict, processes: int) -> None:
        """Predict what is to be done and write its files; with several processes, other ones than this write.

        Raises
        ------
        WorkerEndedError
            If the system ended a process.
        """
        from tqdm import tqdm

        with tqdm(total=len(self.pending), desc="Predicting", unit="image", disable=None) as bar:
            if processes > 1 and len(self.pending) > 1:
                self._do_beside(predict, processes - 1, bar.update)
                return
            for scene in self.pending:
                job = self._predicted(scene, predict)
                if job is not None:
                    self._take(scene, partial(finish, *job))
                bar.update()

    def result(self) -> CalvingFronts:
        """Return what became of all images so far."""
        return CalvingFronts(tuple(self._rows.values()), self._skipped)

    def _do_beside(self, predict: Predict, workers: int, update: Callable[[], object]) -> None:
        running: Running = {}
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            try:
                for scene in self.pending:
                    job = self._predicted(scene, predict)
                    if job is not None:
                        running[pool.submit(finish, *job)] = scene
                    # Images that wait take memory.
                    if len(running) > 2 * workers:
                        self._collect(running, FIRST_COMPLETED)
                    update()
                self._collect(running, ALL_COMPLETED)
            except BrokenProcessPool as error:
                message = (
                    "a worker process was ended by the system, most likely because memory ran out; use fewer "
                    f"processes than {workers + 1} (-np)"
                )
                raise WorkerEndedError(message) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for future, scene in running.items():
                    if not future.cancelled() and future.exception() is None:
                        self._done(scene.stem, future.result())
                raise

    def _collect(self, running: Running, until: str) -> None:
        for future in wait(running, return_when=until).done:
            self._take(running.pop(future), future.result)

    def _predicted(self, scene: Scene, predict: Predict) -> Job | None:
        """Return what ``finish`` needs; None if the image cannot be read or predicted."""
        try:
            image = read_image(scene)
            labels = predict(image, self._model.spacing(scene.resolution))
        except Exception as error:
            # PyTorch and nnU-Net raise anything; the other images go on.
            self._fail(scene.stem, error)
            return None
        return scene, image, labels, self._files(scene), self._recipe

    def _take(self, scene: Scene, result: Callable[[], Mapping[str, Any]]) -> None:
        try:
            self._done(scene.stem, result())
        except (NnunetExtError, OSError) as error:
            self._fail(scene.stem, error)

    def _files(self, scene: Scene) -> dict[str, Path]:
        return targets(self._output, scene.stem, self._model.parts)

    def _done(self, stem: str, record: Mapping[str, Any]) -> None:
        length, parts, pixels = (record.get(name) for name in ("length_m", "parts", "predicted_pixels"))
        self._rows[stem] = ImageFront(stem, str(record.get("state")), length, parts, pixels)

    def _fail(self, stem: str, error: Exception) -> None:
        text = " ".join(str(error).split()) or "no more is known"
        if not isinstance(error, NnunetExtError):
            text = f"{type(error).__name__}: {text}"
        self._rows[stem] = ImageFront(stem, FAILED, message=text if stem in text else f"image '{stem}': {text}")
