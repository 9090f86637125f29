"""The measuring process: ``python -m nnunet_ext.benchmark.worker REQUEST.json RESULT.json``.

A process of its own has peak memory of its own, and its ``nnUNet_results`` is a folder that is thrown away, so that
a benchmark leaves nothing among the trained models.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.benchmark.figures import StepTimes, step_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request says and return figures; see `nnunet_ext.benchmark.run.benchmark` for its entries."""
    import torch
    from nnunetv2.paths import nnUNet_preprocessed
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    device = torch.device(request["device"])
    _use_threads(request["mode"], device)
    name = maybe_convert_to_dataset_name(request["dataset"])
    folder = Path(nnUNet_preprocessed) / name
    plans = json.loads((folder / f"{request['plans']}.json").read_text())
    if request["batch_size"]:
        plans["configurations"][request["configuration"]]["batch_size"] = request["batch_size"]
    # nnU-Net's own command adds this to the plans that it hands to a trainer.
    plans["continue_training"] = False
    trainer_class = recursive_find_trainer_class_by_name(request["trainer"])
    dataset = json.loads((folder / "dataset.json").read_text())
    trainer = trainer_class(
        plans=plans,
        configuration=request["configuration"],
        fold=request["fold"],
        dataset_json=dataset,
        device=device,
    )
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    trainer.on_train_start()
    measured = _train if request["mode"] == "train" else _predict
    try:
        figures = measured(trainer, device, request)
    finally:
        for loader in (trainer.dataloader_train, trainer.dataloader_val):
            # Only loaders with processes of their own have this.
            getattr(loader, "_finish", lambda: None)()
    return {
        **request,
        "dataset": name,
        "patch_size": list(trainer.configuration_manager.patch_size),
        **figures,
        "peak_memory_bytes": _peak_memory(device),
        "machine": _machine(device),
    }


def timed_steps(
    load: Callable[[], Any],
    compute: Callable[[Any], object],
    synchronize: Callable[[], object],
    warmup: int,
    steps: int,
) -> tuple[list[float], list[float]]:
    """Return seconds of loading and computing of each step after the first ``warmup`` ones."""
    loading, computing = [], []
    for step in range(warmup + steps):
        begin = time.perf_counter()
        batch = load()
        loaded = time.perf_counter()
        compute(batch)
        synchronize()
        end = time.perf_counter()
        if step >= warmup:
            loading.append(loaded - begin)
            computing.append(end - loaded)
    return loading, computing


def _use_threads(mode: str, device: Any) -> None:
    """Let torch have as many threads as nnU-Net's commands give it, whatever the environment says."""
    import torch
    from nnunetv2.configuration import default_num_processes

    if device.type == "cpu":
        # nnUNetv2_predict goes down to its number of processes around the network.
        most = default_num_processes if mode == "predict" else multiprocessing.cpu_count()
        torch.set_num_threads(min(most, multiprocessing.cpu_count()))
    elif device.type == "cuda":
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)


def _train(trainer: Any, device: Any, request: dict[str, Any]) -> dict[str, Any]:
    import torch

    warmup, steps = request["warmup"], request["batches"]
    # What nnU-Net does at the beginning of an epoch, but for logging.
    trainer.network.train()
    batches = _batches(trainer.dataloader_train, synthetic=request["synthetic"])
    times = timed_steps(lambda: next(batches), trainer.train_step, _synchronizer(device), warmup, steps)
    trained = step_figures(StepTimes(tuple(times[0]), tuple(times[1]), trainer.batch_size))
    trainer.network.eval()
    batches = _batches(trainer.dataloader_val, synthetic=request["synthetic"])
    with torch.no_grad():
        times = timed_steps(
            lambda: next(batches),
            trainer.validation_step,
            _synchronizer(device),
            max(1, warmup // 5),
            max(1, steps // 5),
        )
    validated = step_figures(StepTimes(tuple(times[0]), tuple(times[1]), trainer.batch_size))
    epoch = (
        trainer.num_iterations_per_epoch * trained["latency_ms"]["mean"]
        + trainer.num_val_iterations_per_epoch * validated["latency_ms"]["mean"]
    ) / 1000
    return {"batch_size": trainer.batch_size, "train": trained, "validation": validated, "epoch_seconds": epoch}


def _predict(trainer: Any, device: Any, request: dict[str, Any]) -> dict[str, Any]:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer.set_deep_supervision_enabled(False)
    network = trainer.network.eval()
    predictor = nnUNetPredictor(use_mirroring=request["mirroring"], device=device, allow_tqdm=False)
    predictor.manual_initialization(
        network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    size = request["batch_size"] or 1
    batches = _batches(trainer.dataloader_val, synthetic=request["synthetic"])

    def load() -> Any:
        patches = torch.as_tensor(next(batches)["data"])
        while len(patches) < size:
            patches = torch.cat([patches, torch.as_tensor(next(batches)["data"])])
        return patches[:size].to(device)

    def compute(patches: Any) -> None:
        with torch.inference_mode(), torch.autocast("cuda", enabled=device.type == "cuda"):
            predictor._internal_maybe_mirror_and_predict(patches)

    times = timed_steps(load, compute, _synchronizer(device), request["warmup"], request["batches"])
    return {"batch_size": size, "predict": step_figures(StepTimes(tuple(times[0]), tuple(times[1]), size))}


def _batches(loader: Any, *, synthetic: bool) -> Iterator[dict[str, Any]]:
    """Give out real batches, or one with random grey values and real labels again and again."""
    import torch

    if not synthetic:
        while True:
            yield next(loader)
    batch = next(loader)
    batch["data"] = torch.randn_like(torch.as_tensor(batch["data"]).float())
    while True:
        yield batch


def _synchronizer(device: Any) -> Callable[[], object]:
    import torch

    if device.type == "cuda":
        return torch.cuda.synchronize
    return torch.mps.synchronize if device.type == "mps" else (lambda: None)


def _peak_memory(device: Any) -> dict[str, int]:
    import torch

    from nnunet_ext.machine_memory import peak_memory

    found = {"process": peak_memory()}
    if device.type == "cuda":
        found["device, allocated"] = int(torch.cuda.max_memory_allocated())
        found["device, reserved"] = int(torch.cuda.max_memory_reserved())
    return found


def _machine(device: Any) -> dict[str, Any]:
    import torch

    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "nnunetv2", "nnunet_ext")},
    }


def main(argv: list[str]) -> int:
    """Measure and write the result; errors go to the result as well."""
    request, result = json.loads(Path(argv[0]).read_text()), Path(argv[1])
    try:
        found: dict[str, Any] = {"figures": measure(request)}
    except (Exception, SystemExit) as error:
        # The other process says what happened.
        found = {"error": f"{type(error).__name__}: {error}"}
        result.write_text(json.dumps(found))
        raise
    result.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
