"""Times of single steps to throughput, latency and the share of loading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class StepTimes:
    """Seconds of each step.

    Parameters
    ----------
    loading
        Waiting for the batch.
    computing
        Computing with it, until the device is done.
    patches
        Patches per step.
    """

    loading: tuple[float, ...]
    computing: tuple[float, ...]
    patches: int

    @property
    def steps(self) -> tuple[float, ...]:
        """Loading and computing together."""
        return tuple(wait + work for wait, work in zip(self.loading, self.computing, strict=True))


def step_figures(times: StepTimes) -> dict[str, Any]:
    """Summarise the steps.

    Returns
    -------
    dict
        ``steps``; ``patches_per_second`` with ``mean`` (all patches by all time), ``median``, ``min`` and ``max``
        over steps; ``latency_ms`` of a step with ``mean`` and percentiles; ``loading_share``, the part of the time
        that is spent waiting for batches.
    """
    steps = np.asarray(times.steps)
    rates = times.patches / steps
    return {
        "steps": len(steps),
        "patches_per_step": times.patches,
        "patches_per_second": {
            "mean": float(times.patches * len(steps) / steps.sum()),
            "median": float(np.median(rates)),
            "min": float(rates.min()),
            "max": float(rates.max()),
        },
        "latency_ms": {
            "mean": float(1000 * steps.mean()),
            **{f"p{part}": float(1000 * np.percentile(steps, part)) for part in PERCENTILES},
        },
        "loading_share": float(sum(times.loading) / steps.sum()),
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures of a benchmark as lines of text; see `nnunet_ext.benchmark.run.benchmark`."""
    rows: list[tuple[str, ...]] = [("", "mean", "median", "min", "max", "p95 [ms]", "p99 [ms]", "loading")]
    for name in ("train", "validation", "predict"):
        if name in figures:
            found = figures[name]
            rate, latency = found["patches_per_second"], found["latency_ms"]
            rows.append(
                (
                    f"{name} [patches/s]",
                    *(f"{rate[key]:.2f}" for key in ("mean", "median", "min", "max")),
                    f"{latency['p95']:.1f}",
                    f"{latency['p99']:.1f}",
                    f"{100 * found['loading_share']:.1f} %",
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    memory = figures["peak_memory_bytes"]
    lines += [f"peak memory, {name}: {size / 2**30:.2f} GB" for name, size in memory.items()]
    if "epoch_seconds" in figures:
        lines.append(f"an epoch: {figures['epoch_seconds']:.1f} s")
    return "\n".join(lines)
