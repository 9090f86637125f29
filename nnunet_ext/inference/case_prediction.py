"""Predict one case: from its files through the network to its label map, or to a part of it."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.files import sha256
from nnunet_ext.inference.assemble import PlaneRuns, write_labels, write_probabilities
from nnunet_ext.inference.cascade import CascadePlanes, StagePlanes, stage_bytes
from nnunet_ext.inference.intensities import intensity_rules, needs_statistics
from nnunet_ext.inference.memory import choose_layout, free_device_memory, measure_network
from nnunet_ext.inference.parts import part_range, write_part
from nnunet_ext.inference.plane_store import PlaneStore
from nnunet_ext.inference.planes import ImagePlanes, NetworkPlanes, stored_type
from nnunet_ext.inference.resampling import SlabResampler
from nnunet_ext.inference.sliding import SlidingWindow
from nnunet_ext.inference.stored_probabilities import STORED_ENDING
from nnunet_ext.inference.survey import Survey, survey
from nnunet_ext.inference.tile_grid import TileGrid, tile_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.volume import Volume
    from nnunet_ext.inference.case import CaseImage
    from nnunet_ext.inference.memory import Demand
    from nnunet_ext.inference.recipe import Recipe, Resamplings
    from nnunet_ext.inference.resampling import ResamplingPlan


@dataclass(frozen=True)
class Options:
    """How to predict; see `nnunet_ext.inference.predict.predict`.

    Parameters
    ----------
    step_size
        Step of the window over the image, as part of the patch.
    memory
        Bytes to use in all.
    file_ending
        Format of the label maps.
    part, parts
        Which part is predicted, from 0, and of how many; None for all of the image.
    save_probabilities
        Whether probabilities are written as well.
    resume, overwrite
        Whether to go on with, or to replace, what is there.
    """

    step_size: float
    memory: int
    file_ending: str
    part: int | None = None
    parts: int = 1
    save_probabilities: bool = False
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class _Frame:
    """Where the planes that are predicted lie: crop of the image, windows on it, range of this run."""

    seen: Survey
    grid: TileGrid
    resamplings: Resamplings
    planes: int
    first: int
    last: int


class CasePrediction:
    """Predicts cases with one model.

    Parameters
    ----------
    predictor
        nnU-Net's predictor with the weights of all folds.
    recipe
        What the model does with an image.
    identity
        What a prediction depends on, but for the image.
    options
        How to predict.
    output
        Folder of the predictions.
    state
        Folder for unfinished cases.
    """

    def __init__(
        self,
        predictor: Any,
        recipe: Recipe,
        identity: Mapping[str, Any],
        options: Options,
        output: Path,
        state: Path,
    ) -> None:
        self._predictor = predictor
        self._labels = predictor.label_manager
        self._recipe = recipe
        self._identity = dict(identity)
        self._options = options
        self._output = output
        self._state = state
        self._network: int | None = None

    def run(self, image: CaseImage, report: Callable[[str], object]) -> Path:
        """Predict a case, or go on with it, and return the file that was written.

        Parameters
        ----------
        image
            The case.
        report
            Called with one line before the network starts: what it needs.

        Raises
        ------
        InputError
            If the image cannot be used (broken, not finite), or the memory is too little.
        OutputError
            If the disk is full.
        """
        folder = self._state / image.name
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # Of a run that was killed; and after an error, their space is needed by the next case.
            _remove_scratch(folder)
            stack.callback(_remove_scratch, folder)
            volumes = image.open(stack)
            frame = self._frame(image, _survey(image, volumes, self._recipe))
            store = self._store(folder, image, frame)
            if not store.is_complete:
                self._fill(store, image, volumes, image.open_stage(stack), frame, report)
            written = self._write(image, store, frame)
        shutil.rmtree(folder)
        return written

    def _frame(self, image: CaseImage, seen: Survey) -> _Frame:
        resamplings = self._recipe.resamplings(seen.crop, image.spacing)
        shape = resamplings.shape
        grid = tile_grid(shape, self._recipe.patch, self._options.step_size)
        planes = self._recipe.network_shape(seen.crop)[0]
        first, last = 0, planes
        if self._options.part is not None:
            scale = planes / shape[0]
            starts = [round((start - grid.padding[0]) * scale) for start in grid.starts[0]]
            first, last = part_range(self._options.part, self._options.parts, starts, planes)
        return _Frame(seen, grid, resamplings, planes, first, last)

    def _store(self, folder: Path, image: CaseImage, frame: _Frame) -> PlaneStore:
        _, height, width = self._recipe.network_shape(frame.seen.crop)
        return PlaneStore(
            folder,
            {
                **self._made_of(image, frame),
                "spacing": list(image.spacing),
                "planes": [frame.first, frame.last],
            },
            frame.first,
            frame.last,
            (height, width),
            self._recipe.label_dtype,
            self._recipe.heads if self._options.save_probabilities else 0,
        )

    def _made_of(self, image: CaseImage, frame: _Frame) -> dict[str, Any]:
        stage = {} if image.stage is None else {"first stage": sha256(image.stage)}
        return {**self._identity, "image": frame.seen.checksum, **stage}

    def _fill(
        self,
        store: PlaneStore,
        image: CaseImage,
        volumes: Sequence[Volume],
        stage: Volume | None,
        frame: _Frame,
        report: Callable[[str], object],
    ) -> None:
        """Predict the planes that are not finished yet."""
        import torch
        from tqdm import tqdm

        recipe, forward, backward = self._recipe, frame.resamplings.forward, frame.resamplings.backward
        # Resampling and probabilities need the numbers of whole planes, labels do not.
        decode = self._labels_of if backward is None and not self._options.save_probabilities else None
        layout, demand = choose_layout(
            frame.grid,
            channels=len(volumes) + (stage is not None),
            heads=recipe.heads,
            folds=len(self._predictor.list_of_parameters),
            network=self._network_bytes(len(volumes) + len(recipe.stage_labels)),
            resampling=_held_bytes(forward, len(volumes))
            + _held_bytes(backward, recipe.heads)
            + stage_bytes(frame.resamplings.stage, len(recipe.stage_labels)),
            available=self._options.memory,
            on_device=free_device_memory(self._predictor.device),
            by_strip=decode is not None,
            scratch=store.folder,
            stored=stored_type(volumes) if forward is None and stage is None else None,
        )
        report(_announcement(image, frame.grid, demand, store))
        source = self._source(volumes, stage, frame, store.folder)
        window = SlidingWindow(self._predictor, frame.grid, source, layout)
        resampler = None
        needed = (store.closed, store.last)
        if backward is not None:
            resampler = SlabResampler(
                backward, channels=recipe.heads, first=store.closed, last=store.last, dtype=np.float16
            )
            needed = resampler.needed
        try:
            with (
                tqdm(total=window.tiles(*needed), desc=image.name, unit="tile", disable=None) as bar,
                closing(window.closed(*needed, bar.update, decode=decode)) as blocks,
            ):
                for block in blocks:
                    if decode is not None:
                        store.append(block)
                        continue
                    logits = block if resampler is None else resampler.push(block)
                    if logits.shape[1]:
                        store.append(*self._decoded(logits))
        except torch.cuda.OutOfMemoryError as error:
            message = f"the GPU has too little free memory; free some of it, or predict with -device cpu: {error}"
            raise InputError(message) from error

    def _source(self, volumes: Sequence[Volume], stage: Volume | None, frame: _Frame, scratch: Path) -> NetworkPlanes:
        """Return the planes that the network sees."""
        recipe, crop, resamplings = self._recipe, frame.seen.crop, frame.resamplings
        rules = intensity_rules(recipe.schemes, recipe.use_mask, recipe.intensities, frame.seen)
        image = ImagePlanes(volumes, crop, recipe.transpose, rules, scratch)
        if stage is None:
            return NetworkPlanes(image, resamplings.forward)
        # Labels are read as they are stored, without rules.
        labels = ImagePlanes([stage], crop, recipe.transpose, (), scratch)
        planes = StagePlanes(stage, labels, recipe.stage_labels, resamplings.stage)
        return CascadePlanes(image, resamplings.forward, planes)

    def _network_bytes(self, channels: int) -> int:
        # Once: what an earlier case needed at most would be counted as the network's.
        if self._network is None:
            self._network = measure_network(self._predictor, channels, self._recipe.patch)
        return self._network

    def _labels_of(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Return labels (n, height, width) of logits (heads, n, height, width), as nnU-Net does."""
        # In single precision the same numbers are compared, several times faster than in half precision.
        found = np.asarray(self._labels.convert_logits_to_segmentation(logits.astype(np.float32)))
        return found.astype(self._recipe.label_dtype)

    def _decoded(self, logits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return labels, and probabilities (heads, n, height, width) if they are wanted."""
        if not self._options.save_probabilities:
            return self._labels_of(logits), None
        probabilities = self._labels.apply_inference_nonlin(logits.astype(np.float32)).numpy()
        found = np.asarray(self._labels.convert_probabilities_to_segmentation(probabilities))
        return found.astype(self._recipe.label_dtype), probabilities.astype(np.float16)

    def _write(self, image: CaseImage, store: PlaneStore, frame: _Frame) -> Path:
        """Write the finished planes to the files of the case."""
        options, recipe = self._options, self._recipe
        # A run that was killed may have come this far.
        replace_files = options.overwrite or options.resume
        if options.part is not None:
            layout = {
                "part": options.part,
                "parts": options.parts,
                "planes": frame.planes,
                "plane": store.plane,
                "crop": frame.seen.crop,
                "transpose": recipe.transpose,
                "file_ending": options.file_ending,
                "identity": self._made_of(image, frame),
                "background": self._background() if options.save_probabilities else (),
            }
            return write_part(self._output, store, image, layout, overwrite=replace_files)
        written = self._output / f"{image.name}{options.file_ending}"
        if options.save_probabilities:
            write_probabilities(
                self._output / f"{image.name}{STORED_ENDING}",
                [store.probabilities()],
                self._background(),
                shape=image.shape,
                crop=frame.seen.crop,
                transpose=recipe.transpose,
                overwrite=replace_files,
            )
        write_labels(
            written,
            PlaneRuns([store.labels()]),
            shape=image.shape,
            crop=frame.seen.crop,
            transpose=recipe.transpose,
            geometry=image.geometry,
            case=image.name,
            overwrite=replace_files,
        )
        return written

    def _background(self) -> tuple[float, ...]:
        """Return the probabilities that the label manager gives to what was cropped away."""
        crop = np.zeros((self._recipe.heads, 1, 1, 1), np.float32)
        whole = self._labels.revert_cropping_on_probabilities(crop, [[0, 1], [0, 1], [0, 1]], (1, 1, 2))
        return tuple(float(value) for value in np.asarray(whole)[:, 0, 0, 1])


def _remove_scratch(folder: Path) -> None:
    for path in (*folder.glob("*.sums"), *folder.glob("channel*.raw")):
        path.unlink()


def _survey(image: CaseImage, volumes: Sequence[Volume], recipe: Recipe) -> Survey:
    from tqdm import tqdm

    with tqdm(total=image.shape[0], desc=f"{image.name}: reading", unit="slice", disable=None, leave=False) as bar:
        return survey(volumes, statistics=needs_statistics(recipe.schemes), progress=bar.update)


def _held_bytes(plan: ResamplingPlan | None, channels: int) -> int:
    """Return the bytes that a resampler holds."""
    if plan is None:
        return 0
    resampler = SlabResampler(replace(plan, clip=False), channels=channels)
    largest = max(plan.in_shape[1] * plan.in_shape[2], plan.out_shape[1] * plan.out_shape[2])
    return resampler.held_planes * channels * largest * 4


def _announcement(image: CaseImage, grid: TileGrid, demand: Demand, store: PlaneStore) -> str:
    size = " x ".join(map(str, image.shape))
    windows = len(grid.starts[0]) * grid.tiles_per_row
    done = f"; {store.closed - store.first} of {store.last - store.first} planes are there already"
    return f"{image.name}: {size} voxels, {windows} windows, needs {demand}{done if store.closed > store.first else ''}"
