"""Write rows of a dataclass as CSV."""

from __future__ import annotations

import csv
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_csv(path: Path, kind: type[Any], rows: Iterable[Any]) -> None:
    """Write rows of one dataclass; its fields are the columns, ``class_name`` is the column ``class``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow("class" if field.name == "class_name" else field.name for field in fields(kind))
        writer.writerows(map(astuple, rows))
