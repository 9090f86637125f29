"""Stock nnU-Net's sliding window, row by row: a plane is given out as soon as no later window can touch it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError
from nnunet_ext.inference.rolling import RollingPlanes
from nnunet_ext.inference.scratch_planes import ScratchPlanes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from nnunet_ext.inference.held_planes import HeldPlanes
    from nnunet_ext.inference.planes import NetworkPlanes
    from nnunet_ext.inference.tile_grid import TileGrid


@dataclass(frozen=True)
class Layout:
    """How the sums over windows are held.

    Parameters
    ----------
    depth
        Planes that are held, at least those of one window.
    closing
        Planes that are given out at one time.
    scratch
        Folder for files that hold the sums, or None to hold them in memory.
    on_device
        Whether the sums are in the memory of the device that predicts.
    stored
        Type of the image, if it is kept as stored and every patch normalised when it is its turn; None if the image
        is kept as the network sees it.
    """

    depth: int
    closing: int
    scratch: Path | None = None
    on_device: bool = False
    stored: np.dtype[Any] | None = None


class SlidingWindow:
    """Predicts the planes of one case.

    The same windows, weights and order of additions as ``nnUNetv2_predict``, in the same half precision, so that
    every sum is the same number. With several folds, each has sums of its own.

    Parameters
    ----------
    predictor
        nnU-Net's predictor with the weights of all folds.
    grid
        Windows over the volume.
    source
        Planes of the volume.
    layout
        How much is held, and where.
    """

    def __init__(self, predictor: Any, grid: TileGrid, source: NetworkPlanes, layout: Layout) -> None:
        import torch

        self._predictor = predictor
        self._grid = grid
        self._source = source
        self._layout = layout
        self._folds = len(predictor.list_of_parameters)
        self._heads = predictor.label_manager.num_segmentation_heads
        self._flat = len(predictor.configuration_manager.patch_size) == 2
        self._place = predictor.device if layout.on_device else torch.device("cpu")

    def tiles(self, first: int, last: int) -> int:
        """Return the number of windows, over all folds, that ``closed`` goes through for the same planes."""
        return len(self._grid.rows_over(first, last)) * self._grid.tiles_per_row * self._folds

    def closed(
        self,
        first: int,
        last: int,
        progress: Callable[[int], object] = lambda _: None,
        *,
        decode: Callable[[NDArray[np.float16]], NDArray[Any]] | None = None,
    ) -> Generator[NDArray[Any], None, None]:
        """Predict planes ``first`` to ``last`` (exclusive) of the volume.

        Parameters
        ----------
        first, last
            Range of planes, without padding.
        progress
            Called with the number of windows that were predicted.
        decode
            Turns logits (heads, n, rows, width) of any part of some planes into labels (n, rows, width). With it, sums
            are given up within a row of windows, strip by strip, which takes about half the memory.

        Yields
        ------
        numpy.ndarray
            Of the next n planes, logits (heads, n, height, width), mean of the folds; or, with ``decode``, labels
            (n, height, width).

        Raises
        ------
        InputError
            If the network gives out infinite numbers.
        """
        import torch

        rows = self._grid.rows_over(first, last)
        window, sums = self._allocate(rows[0])
        incoming = _Incoming(self._source, window, self._grid, rows, self._layout.stored)
        begin, end = first + self._grid.padding[0], last + self._grid.padding[0]
        by_strip = decode is not None and not self._flat and self._layout.depth == self._grid.patch[0]
        threads = torch.get_num_threads()
        torch.set_num_threads(min(threads, _stock_threads()))
        try:
            self._predictor.network = self._predictor.network.to(self._predictor.device)
            self._predictor.network.eval()
            for row, following in zip(rows, (*rows[1:], end), strict=True):
                if row + self._grid.patch[0] > sums[0].start + sums[0].depth:
                    if not by_strip:
                        yield from self._close(sums, begin, row, decode)
                    for held in sums:
                        held.move_to(row)
                incoming.read_to(row)
                if by_strip and decode is not None:
                    finished = (max(begin, row), min(end, following))
                    labels = self._row_by_strips(row, following, finished, window, sums, progress, decode)
                    if labels is not None:
                        yield labels
                else:
                    for fold in range(self._folds):
                        self._predict_strips(row, self._grid.starts[1], fold, window, sums, progress)
            if not by_strip:
                yield from self._close(sums, begin, end, decode)
        finally:
            torch.set_num_threads(threads)
            for held in (window, *sums):
                held.close()

    def _allocate(self, start: int) -> tuple[HeldPlanes, list[HeldPlanes]]:
        import torch

        scratch = self._layout.scratch
        _, height, width = self._grid.padded

        def planes(name: str, channels: int, depth: int, dtype: torch.dtype, place: torch.device) -> HeldPlanes:
            size = (channels, depth, height, width)
            if scratch is None:
                return RollingPlanes(*size, dtype=dtype, device=place, start=start)
            return ScratchPlanes(*size, dtype=dtype, path=scratch / f"{name}.sums", start=start)

        processor = torch.device("cpu")
        # What is kept as stored is only moved; torch knows few unsigned types.
        kept = torch.float32 if self._layout.stored is None else getattr(torch, _bits(self._layout.stored))
        window = planes("window", self._source.channels, self._grid.patch[0], kept, processor)
        sums = [
            planes(f"fold{fold}", self._heads, self._layout.depth, torch.half, self._place)
            for fold in range(self._folds)
        ]
        return window, sums

    def _row_by_strips(
        self,
        row: int,
        following: int,
        finished: tuple[int, int],
        window: HeldPlanes,
        sums: list[HeldPlanes],
        progress: Callable[[int], object],
        decode: Callable[[NDArray[np.float16]], NDArray[Any]],
    ) -> NDArray[Any] | None:
        """Predict a row of windows and return the labels of its finished planes; give up lines that are behind it."""
        low, high = finished
        _, height, _ = self._grid.padded
        tops = self._grid.starts[1]
        labels: NDArray[Any] | None = None
        for top, bottom in zip(tops, (*tops[1:], height), strict=True):
            for fold in range(self._folds):
                self._predict_strips(row, (top,), fold, window, sums, progress)
            if low < high:
                labels = self._decode_lines(labels, sums, (low, high), (top, bottom), decode)
            for held in sums:
                held.give_up(row, max(row, high), top, bottom)
            window.give_up(row, min(following, row + self._grid.patch[0]), top, bottom)
        return labels

    def _decode_lines(
        self,
        labels: NDArray[Any] | None,
        sums: list[HeldPlanes],
        planes: tuple[int, int],
        lines: tuple[int, int],
        decode: Callable[[NDArray[np.float16]], NDArray[Any]],
    ) -> NDArray[Any] | None:
        """Put the labels of some lines of finished planes where they belong; the first ones make the array."""
        import numpy as np

        before, (_, height, width) = self._grid.padding[1], self._grid.shape
        low, high = max(lines[0], before), min(lines[1], before + height)
        if low >= high:
            return labels
        step = max(1, self._layout.closing * height // (high - low))
        for start in range(planes[0], planes[1], step):
            stop = min(planes[1], start + step)
            found = decode(self._mean(sums, start, stop, (low, high)))
            if labels is None:
                labels = np.empty((planes[1] - planes[0], height, width), found.dtype)
            labels[start - planes[0] : stop - planes[0], low - before : high - before] = found
        return labels

    def _predict_strips(
        self,
        row: int,
        tops: tuple[int, ...],
        fold: int,
        window: HeldPlanes,
        sums: list[HeldPlanes],
        progress: Callable[[int], object],
    ) -> None:
        """Add the windows of one fold at one start along the first axis and some along the second."""
        import torch

        predictor, (depth, height, width) = self._predictor, self._grid.patch
        if self._folds > 1:
            _load_weights(predictor, fold)
        weights = self._gaussian()
        mixed = torch.autocast("cuda") if predictor.device.type == "cuda" else nullcontext()
        # Only here, as a generator's consumer would be in inference mode as well.
        with torch.inference_mode(), mixed:
            for top in tops:
                strip = (row, row + depth, top, top + height)
                image = window.read_lines(*strip)
                with sums[fold].lines(*strip) as target:
                    for left in self._grid.starts[2]:
                        columns = slice(left, left + width)
                        patch = self._patch(image[..., columns])
                        patch = (patch[:, 0] if self._flat else patch)[None].to(predictor.device)
                        logits = predictor._internal_maybe_mirror_and_predict(patch)[0].to(self._place)
                        logits *= weights
                        target[..., columns] += logits[:, None] if self._flat else logits
                        progress(1)

    def _patch(self, held: torch.Tensor) -> torch.Tensor:
        """Return what the network looks at, in memory of its own."""
        if self._layout.stored is None:
            return _tensor(self._source.network_input(held.numpy()))
        return _tensor(self._source.normalized(held.numpy().view(self._layout.stored)))

    def _gaussian(self) -> torch.Tensor:
        from nnunetv2.inference.sliding_window_prediction import compute_gaussian

        patch = tuple(self._predictor.configuration_manager.patch_size)
        weights: torch.Tensor = compute_gaussian(
            patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=self._place
        )
        return weights

    def _close(
        self,
        sums: list[HeldPlanes],
        first: int,
        last: int,
        decode: Callable[[NDArray[np.float16]], NDArray[Any]] | None,
    ) -> Iterator[NDArray[Any]]:
        """Give out the planes that are held, from ``first`` to ``last`` of the padded volume."""
        top = self._grid.padding[1]
        low, high = max(first, sums[0].start), min(last, sums[0].start + sums[0].depth)
        for start in range(low, high, self._layout.closing):
            stop = min(high, start + self._layout.closing)
            logits = self._mean(sums, start, stop, (top, top + self._grid.shape[1]))
            yield logits if decode is None else decode(logits)

    def _mean(self, sums: list[HeldPlanes], start: int, stop: int, lines: tuple[int, int]) -> NDArray[np.float16]:
        """Return the logits of finished planes, mean of the folds, without padding to the left and right."""
        import torch

        left, width = self._grid.padding[2], self._grid.shape[2]
        columns = slice(left, left + width)
        weights = self._weights(start, stop, lines)[:, :, columns]
        mean = None
        for total in sums:
            logits = torch.div(total.read_lines(start, stop, *lines)[..., columns], weights)
            if torch.isinf(logits).any():
                message = "the network gives out numbers beyond half precision (65504), which cannot be summed"
                raise InputError(message)
            mean = logits.cpu() if mean is None else mean.add_(logits.cpu())
        assert mean is not None
        if self._folds > 1:
            mean /= self._folds
        found: NDArray[np.float16] = mean.numpy()
        return found

    def _weights(self, start: int, stop: int, lines: tuple[int, int]) -> torch.Tensor:
        """Return the sum of the windows' weights over lines of finished planes, added up in stock nnU-Net's order.

        Made anew where it is needed: it would be held as long as the sums of one more class.
        """
        import torch

        gaussian = self._gaussian().view(self._grid.patch)
        ranges = ((start, stop), lines, (0, self._grid.padded[2]))
        total = torch.zeros([high - low for low, high in ranges], dtype=gaussian.dtype, device=self._place)
        near = [
            [corner for corner in corners if corner < high and corner + size > low]
            for corners, size, (low, high) in zip(self._grid.starts, self._grid.patch, ranges, strict=True)
        ]
        for corner in product(*near):
            overlap = [
                (max(low, first), min(high, first + size))
                for first, size, (low, high) in zip(corner, self._grid.patch, ranges, strict=True)
            ]
            target = tuple(
                slice(low - begin, high - begin) for (low, high), (begin, _) in zip(overlap, ranges, strict=True)
            )
            part = tuple(slice(low - first, high - first) for (low, high), first in zip(overlap, corner, strict=True))
            total[target] += gaussian[part]
        return total


class _Incoming:
    """Fills the window with the planes that a row looks at; padding stays zero."""

    def __init__(
        self,
        source: NetworkPlanes,
        window: HeldPlanes,
        grid: TileGrid,
        rows: tuple[int, ...],
        stored: np.dtype[Any] | None,
    ) -> None:
        self._window = window
        self._grid = grid
        before = grid.padding[0]
        first = max(0, rows[0] - before)
        last = min(grid.shape[0], rows[-1] + grid.patch[0] - before)
        self._next = first + before
        self._blocks: Iterator[NDArray[Any]] = source.blocks(first, last)
        if stored is not None:
            self._blocks = (
                block.astype(stored, copy=False).view(_bits(stored)) for block in source.stored_blocks(first, last)
            )
        self._waiting: NDArray[Any] | None = None

    def read_to(self, row: int) -> None:
        """Move the window to a row and fill it."""
        self._window.move_to(row)
        before, inner = self._grid.padding, self._grid.shape
        end = min(row + self._grid.patch[0], inner[0] + before[0])
        while self._next < end:
            block = next(self._blocks) if self._waiting is None else self._waiting
            count = min(block.shape[1], end - self._next)
            lines = (before[1], before[1] + inner[1])
            with self._window.lines(self._next, self._next + count, *lines) as target:
                target[..., before[2] : before[2] + inner[2]] = _tensor(block[:, :count])
            self._waiting = block[:, count:] if count < block.shape[1] else None
            self._next += count


def _load_weights(predictor: Any, fold: int) -> None:
    network = getattr(predictor.network, "_orig_mod", predictor.network)
    network.load_state_dict(predictor.list_of_parameters[fold])


def _bits(stored: np.dtype[Any]) -> str:
    """Return the signed type of the same size."""
    return f"int{8 * stored.itemsize}"


def _stock_threads() -> int:
    from nnunetv2.configuration import default_num_processes

    return int(default_num_processes)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    import torch

    return torch.from_numpy(array)
