"""One way to read and write a volume with its geometry, whole or by slab.

Arrays are (z, y, x) throughout. The libraries behind the formats are imported when a file needs them.
"""

from nnunet_ext.imageio.create import create_volume, write_volume
from nnunet_ext.imageio.discover import find_volumes
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.imageio.names import (
    OUTPUT_ENDINGS,
    STACK_ENDINGS,
    SUPPORTED_ENDINGS,
    ending_of,
    has_ending,
    is_supported,
    natural_key,
    volume_name,
)
from nnunet_ext.imageio.open import open_volume, read_volume
from nnunet_ext.imageio.volume import Volume
from nnunet_ext.imageio.writer import VolumeWriter

__all__ = [
    "OUTPUT_ENDINGS",
    "STACK_ENDINGS",
    "SUPPORTED_ENDINGS",
    "Geometry",
    "Volume",
    "VolumeWriter",
    "create_volume",
    "ending_of",
    "find_volumes",
    "has_ending",
    "is_supported",
    "natural_key",
    "open_volume",
    "read_volume",
    "volume_name",
    "write_volume",
]
