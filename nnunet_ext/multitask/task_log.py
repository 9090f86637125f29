"""Curves of each task beside nnU-Net's own: in the log, in checkpoints and in progress.png."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2.training.logging.nnunet_logger import LocalLogger

if TYPE_CHECKING:
    from collections.abc import Sequence

TRAIN_LOSS = "train_loss"
VAL_LOSS = "val_loss"
DICE = "dice"
LOG_VARIANCE = "log_variance"


def task_key(curve: str, task: str) -> str:
    """Return the name of a task's curve in the log: ``train_loss/front``."""
    return f"{curve}/{task}"


class TaskLogger(LocalLogger):
    """nnU-Net's logger with curves per task.

    Parameters
    ----------
    logging
        Curves that are there already; theirs is the format of nnU-Net's checkpoints: from name to one value per
        epoch.
    losses
        Names of what has a loss of its own.
    tasks
        Names of the tasks, which have a Dice.
    with_variances
        Whether learned variances are logged, too.
    """

    def __init__(
        self, logging: dict[str, list[Any]], losses: Sequence[str], tasks: Sequence[str], *, with_variances: bool
    ) -> None:
        super().__init__()
        self.losses, self.tasks, self.with_variances = tuple(losses), tuple(tasks), with_variances
        self.load_checkpoint(logging)

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the curves of a checkpoint; those that it lacks begin empty."""
        curves = [task_key(curve, name) for curve in (TRAIN_LOSS, VAL_LOSS) for name in self.losses]
        curves += [task_key(DICE, name) for name in self.tasks]
        curves += [task_key(LOG_VARIANCE, name) for name in self.tasks] if self.with_variances else []
        super().load_checkpoint({**{curve: [] for curve in curves}, **checkpoint})

    def plot_progress_png(self, output_folder: str) -> None:
        """Draw all curves into ``progress.png`` of a folder: total, per task, time per epoch and learning rate."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        log = self.my_fantastic_logging
        epochs = len(log["epoch_end_timestamps"])
        figure = Figure(figsize=(12, 20 + 3 * self.with_variances), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(5 + self.with_variances, 1, sharex=True)
        total, losses, dice, times, rates = panels[:5]

        total.set_title("all tasks")
        self._draw(total, "train_losses", "training loss", color="tab:blue")
        self._draw(total, "val_losses", "validation loss", color="tab:red")
        total.set_ylabel("loss")
        right = total.twinx()
        self._draw(right, "mean_fg_dice", "pseudo Dice", color="tab:green", linestyle=":")
        self._draw(right, "ema_fg_dice", "pseudo Dice (moving average)", color="tab:green")
        right.set_ylabel("pseudo Dice")
        right.legend(loc="lower right")

        for number, name in enumerate(self.losses):
            color = f"C{number}"
            self._draw(losses, task_key(TRAIN_LOSS, name), f"{name}, training", color=color)
            self._draw(losses, task_key(VAL_LOSS, name), f"{name}, validation", color=color, linestyle="--")
        losses.set_ylabel("loss per task")
        for number, name in enumerate(self.tasks):
            self._draw(dice, task_key(DICE, name), name, color=f"C{number}")
        dice.set_ylabel("pseudo Dice per task")
        if self.with_variances:
            for number, name in enumerate(self.tasks):
                self._draw(panels[5], task_key(LOG_VARIANCE, name), name, color=f"C{number}")
            panels[5].set_ylabel("log of variance")

        seconds = [e - s for e, s in zip(log["epoch_end_timestamps"], log["epoch_start_timestamps"], strict=False)]
        times.plot(range(epochs), seconds, marker=".", label="seconds per epoch")
        times.set(ylabel="time [s]", ylim=(0, None))
        self._draw(rates, "lrs", "learning rate", color="tab:blue")
        rates.set_ylabel("learning rate")
        panels[-1].set_xlabel("epoch")
        for panel in panels:
            panel.set_xlim(-0.5, max(epochs, 1) - 0.5)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.tick_params(labelbottom=True)
            panel.grid(alpha=0.3)
            panel.legend(loc="upper left" if panel is total else "best")
        figure.savefig(Path(output_folder) / "progress.png", dpi=80)

    def _draw(self, axes: Any, curve: str, label: str, **style: Any) -> None:
        values = self.my_fantastic_logging[curve]
        axes.plot(range(len(values)), values, marker=".", label=label, **style)
