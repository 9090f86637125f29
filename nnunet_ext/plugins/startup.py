"""Wait for nnU-Net's look-up module and let ``nnunet_ext.plugins.lookup`` wrap it once it is loaded.

A ``.pth`` file calls ``activate`` whenever an interpreter of this environment starts, so this module imports
nothing but ``sys``, costs well under 2 ms, and never raises.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

LOOKUP_MODULE = "nnunetv2.utilities.find_class_by_name"
LOOKUP_FUNCTION = "recursive_find_python_class"


class LookupFinder:
    """A ``sys.meta_path`` finder that waits for one module, then removes itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return nnU-Net's own spec for the look-up module, with a loader that wraps it afterwards."""
        if name != LOOKUP_MODULE:
            return None
        deactivate()
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_wrap(module: ModuleType) -> None:
                load(module)
                _wrap(module)

            spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec


def activate() -> None:
    """Install the finder, once; do nothing where nnU-Net's look-up module is loaded already."""
    if LOOKUP_MODULE not in sys.modules and not any(isinstance(f, LookupFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, LookupFinder())


def deactivate() -> None:
    """Remove the finder again."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, LookupFinder)]


def _wrap(module: ModuleType) -> None:
    """Replace nnU-Net's look-up function; on failure warn and leave nnU-Net as it is."""
    try:
        from nnunet_ext.plugins.lookup import wrap

        setattr(module, LOOKUP_FUNCTION, wrap(getattr(module, LOOKUP_FUNCTION)))
    except Exception as error:
        import warnings

        warnings.warn(
            f"nnunet_ext could not hook into {LOOKUP_MODULE}: {type(error).__name__}: {error}. "
            "nnU-Net runs as usual but finds no class from other packages; run 'nnunet_ext doctor'.",
            stacklevel=2,
        )
