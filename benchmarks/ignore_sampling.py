"""Compare three rules for drawing training patches from sparsely annotated volumes.

stock      nnU-Net: an annotated voxel is the centre of the patch.
published  The centre is jittered by up to half the patch that the loader cuts for augmentation, and clipped
           only where the patch begins before the volume.
ours       The voxel lies anywhere in the patch that the network sees; the patch stays in the volume.

For each kind of annotation it prints the share of the network's patches that show annotation, how evenly the
voxel's place is spread (standard deviation as part of the patch's length, 0.289 if uniform; p-value of a
chi-squared test for uniformity among the places inside), and the speed of the whole loader on blosc2 files,
in CPU time and in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from scipy.ndimage import gaussian_filter
from scipy.stats import chisquare

from nnunet_ext.trainers.ignore_loader import IgnoreSamplingLoader

IGNORE = 2
LABELS = LabelManager({"background": 0, "root": 1, "ignore": IGNORE}, None)
ANNOTATED = (-1, 0, 1)
BATCH_SIZE = 2


class PublishedRuleLoader(nnUNetDataLoader):
    """Jitters the annotated voxel by up to half the loader's patch."""

    def get_bbox(
        self, data_shape: Any, force_fg: bool, class_locations: Any, *args: Any, **kwargs: Any
    ) -> tuple[list[int], list[int]]:
        """Choose the patch to read."""
        if force_fg:
            return super().get_bbox(data_shape, force_fg, class_locations, *args, **kwargs)
        patch, shape = np.array(self.patch_size), np.array(data_shape)
        voxels = class_locations[ANNOTATED]
        half = patch // 2
        centre = voxels[np.random.randint(len(voxels))][1:] + np.random.randint(-half, half + 1)
        padding = np.maximum(self.need_to_pad, patch - shape)
        lower = np.maximum(centre - half, -((padding + 1) // 2))
        return lower.tolist(), (lower + patch).tolist()


LOADERS = {"stock": nnUNetDataLoader, "published": PublishedRuleLoader, "ours": IgnoreSamplingLoader}


@dataclass(frozen=True)
class Case:
    """A final patch size, the volumes it is cut from, and whether a slice or one voxel is annotated."""

    patch_size: tuple[int, ...]
    shape: tuple[int, int, int]
    dense: bool

    @property
    def name(self) -> str:
        """Patch size and kind of annotation."""
        return f"{'x'.join(map(str, self.patch_size))} {'dense slice' if self.dense else 'single mark'}"

    @property
    def final(self) -> tuple[int, ...]:
        """Patch size with three axes."""
        return (1,) * (3 - len(self.patch_size)) + self.patch_size

    @property
    def centre(self) -> tuple[int, ...]:
        """Central voxel."""
        return tuple(size // 2 for size in self.shape)

    def marks(self) -> list[tuple[int, ...]]:
        """Annotated voxel of each volume: the centre, then others that suit the files' chunks as they may."""
        rng = np.random.default_rng(0)
        margin = np.array(self.final) // 2
        others = rng.integers(margin, np.array(self.shape) - margin, size=(3, 3))
        return [self.centre, *(tuple(int(index) for index in mark) for mark in others)]


CASES = [
    Case((48, 224, 224), (97, 448, 448), dense=True),
    Case((48, 224, 224), (97, 448, 448), dense=False),
    Case((128, 128, 128), (256, 256, 256), dense=True),
    Case((128, 128, 128), (256, 256, 256), dense=False),
    Case((224, 224), (97, 448, 448), dense=False),
]
QUICK_CASES = [
    Case((12, 56, 56), (25, 112, 112), dense=True),
    Case((32, 32, 32), (64, 64, 64), dense=True),
    Case((32, 32, 32), (64, 64, 64), dense=False),
    Case((56, 56), (25, 112, 112), dense=False),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="small patches and few draws: does it run at all?")
    parser.add_argument("--augment", action="store_true", help="time with nnU-Net's training transforms")
    parser.add_argument("--draws", type=int, default=10_000, help="boxes drawn per rule and case")
    parser.add_argument("--rounds", type=int, default=15, help="timed turns per rule and case")
    parser.add_argument("--batches", type=int, default=4, help="batches of two patches per turn")
    args = parser.parse_args()
    cases = CASES
    if args.quick:
        cases, args.draws, args.rounds, args.batches = QUICK_CASES, 1000, 2, 2
    torch.set_num_threads(1)  # as in nnU-Net's workers

    row = "{:<26}{:<11}{:>7}  {:<18}{:>8}{:>12}{:>8}"
    print(row.format("case", "rule", "shows", "std z / y / x", "chi2 p", "patches/s", "ratio"))
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(case, Path(folder))
            speeds = measure_speed(case, folder, args.rounds, args.batches, augment=args.augment)
            for name in LOADERS:
                places, shown = draw_places(build_loader(name, case, folder, None), case, args.draws)
                spread, p_value = describe_spread(places, case)
                ratio = statistics.median(
                    ours / stock for ours, stock in zip(speeds[name], speeds["stock"], strict=True)
                )
                print(
                    row.format(
                        case.name,
                        name,
                        f"{shown:.4f}",
                        spread,
                        f"{p_value:.3f}",
                        f"{statistics.median(speeds[name]):.1f}",
                        f"{ratio:.3f}",
                    ),
                    flush=True,
                )


def write_dataset(case: Case, folder: Path) -> None:
    """Write one volume for each mark as nnU-Net's preprocessing does."""
    rng = np.random.default_rng(0)
    grey = gaussian_filter(rng.normal(size=case.shape).astype(np.float32), 1)
    data = (np.round(grey / grey.std() * 40) / 40)[None]  # about 256 grey values
    blocks, chunks = comp_blosc2_params(data.shape, case.patch_size, data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(data.shape, case.patch_size, np.int16().itemsize)
    for number, mark in enumerate(case.marks()):
        seg = np.full((1, *case.shape), IGNORE, np.int16)
        seg[(0, mark[0]) if case.dense else (0, *mark)] = 1
        locations = DefaultPreprocessor._sample_foreground_locations(seg, [1, list(ANNOTATED)])
        nnUNetDatasetBlosc2.save_case(
            data,
            seg,
            {"class_locations": locations},
            str(folder / f"case{number}"),
            chunks=chunks,
            blocks=blocks,
            chunks_seg=chunks_seg,
            blocks_seg=blocks_seg,
        )


def augmentation(patch_size: tuple[int, ...]) -> tuple[Any, bool, tuple[int, ...], Any]:
    """Ask nnU-Net for rotation, slice-wise augmentation, the enlarged patch and mirror axes."""
    stand_in = SimpleNamespace(
        configuration_manager=SimpleNamespace(patch_size=patch_size), print_to_log_file=lambda *_: None
    )
    rotation, single_slices, large, mirror = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(
        stand_in
    )
    return rotation, single_slices, tuple(int(size) for size in large), mirror


def build_loader(name: str, case: Case, folder: str, transforms: Any) -> Any:
    return LOADERS[name](
        nnUNetDatasetBlosc2(folder),
        BATCH_SIZE,
        augmentation(case.patch_size)[2],
        case.patch_size,
        LABELS,
        oversample_foreground_percent=0.33,
        transforms=transforms,
    )


def draw_places(loader: Any, case: Case, draws: int) -> tuple[np.ndarray, float]:
    """Return the mark's index in each final patch that need not show foreground, and the share of hits."""
    np.random.seed(0)
    locations = loader._data.load_case("case0")[3]["class_locations"]
    offset = np.array(loader.patch_size) // 2 - np.array(loader.final_patch_size) // 2
    lower = np.array([loader.get_bbox(case.shape, False, locations)[0] for _ in range(draws)])
    places = np.array(case.centre) - (lower + offset)
    inside = (places >= 0) & (places < case.final)
    if case.dense:
        corner = lower + offset
        inside[:, 1:] = ((corner < case.shape) & (corner + case.final > 0))[:, 1:]
    return places, float(inside.all(axis=1).mean())


def describe_spread(places: np.ndarray, case: Case) -> tuple[str, float]:
    """Describe the axes on which the voxel is known: z for a slice, all that the patch has for a mark."""
    axes = [0] if case.dense else [axis for axis in range(3) if case.final[axis] > 1]
    relative = (places + 0.5) / case.final
    spread = [f"{relative[:, axis].std():.3f}" if axis in axes else "-" for axis in range(3)]
    p_values = []
    for axis in axes:
        inside = places[(places[:, axis] >= 0) & (places[:, axis] < case.final[axis]), axis]
        p_values.append(chisquare(np.bincount(inside, minlength=case.final[axis])).pvalue)
    return " / ".join(spread), float(min(p_values))


def measure_speed(case: Case, folder: str, rounds: int, batches: int, *, augment: bool) -> dict[str, list[float]]:
    """Time the loaders in turns, in CPU time of this one thread, so that a busy machine meets them alike."""
    rotation, single_slices, _, mirror = augmentation(case.patch_size)
    if augment:
        transforms = nnUNetTrainer.get_training_transforms(
            case.patch_size, rotation, None, mirror, single_slices, ignore_label=IGNORE
        )
    else:
        crop = SpatialTransform(case.patch_size, 0, False, border_mode_seg="constant", padding_value_seg=-1)
        transforms = ComposeTransforms([crop, RemoveLabelTansform(-1, 0)])
    loaders = {name: build_loader(name, case, folder, transforms) for name in LOADERS}
    speeds: dict[str, list[float]] = {name: [] for name in LOADERS}
    with torch.no_grad():
        for turn in range(rounds + 1):
            for name, loader in loaders.items():
                np.random.seed(turn)
                torch.manual_seed(turn)
                start = time.process_time()
                for _ in range(batches):
                    next(loader)
                if turn > 0:  # the first one warms up
                    speeds[name].append(batches * BATCH_SIZE / (time.process_time() - start))
    return speeds


if __name__ == "__main__":
    main()
