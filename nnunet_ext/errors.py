"""The error tree: every error is a ``NnunetExtError`` and the built-in that it is a case of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class NnunetExtError(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(NnunetExtError, ValueError):
    """A value, file content or combination of arguments that cannot be used."""


class MissingInputError(NnunetExtError, FileNotFoundError):
    """A file or folder that should be there is not."""


class OutputExistsError(NnunetExtError, FileExistsError):
    """The output is there already and may not be replaced."""


class OutputError(NnunetExtError, OSError):
    """The disk is full, or refuses to be written to."""


class UnsupportedFormatError(NnunetExtError, ValueError):
    """A file whose format, or whose use of the format, is not supported."""


class BadCasesError(InputError):
    """Several cases are unusable; all of them are reported in one go.

    Parameters
    ----------
    problems
        One complete message per problem; each names file, value and what was expected.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(f"{count} found, nothing was written:\n" + "\n".join(f"  - {p}" for p in self.problems))

    def __reduce__(self) -> tuple[type[BadCasesError], tuple[list[str]]]:
        """Pickle by the problems, so that the error survives the way out of a worker process."""
        return type(self), (self.problems,)


class WorkerEndedError(NnunetExtError, RuntimeError):
    """A worker process ended without a word, as the system does it when memory runs out."""


class PluginNotFoundError(NnunetExtError, RuntimeError):
    """No class of that name is registered, and nnU-Net has none either."""


class AmbiguousPluginError(NnunetExtError, RuntimeError):
    """Two packages register the same name."""


class PluginImportError(NnunetExtError, ImportError):
    """A registered class exists but cannot be imported."""


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Return names for a message: the first ``limit``, and how many there are in all if there are more."""
    names = list(names)
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "none"
