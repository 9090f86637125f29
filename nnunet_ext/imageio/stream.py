"""Read voxels from a stream that can only be decompressed from its beginning."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.imageio.volume import SLAB_BYTES, Volume, VolumeInfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class StreamVolume(Volume):
    """Voxels in a compressed stream.

    Reading forwards costs one pass. A slab before the last one read starts again from the beginning.

    Parameters
    ----------
    path, info
        As for ``Volume``.
    open_stream
        Opens the decompressed stream at the first voxel.
    stored
        Type of the voxels in the stream, byte order included.
    convert
        Turns stored voxels into those given out (the scaling of NIfTI).
    """

    def __init__(
        self,
        path: Path,
        info: VolumeInfo,
        *,
        open_stream: Callable[[], BinaryIO],
        stored: np.dtype[Any],
        convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        super().__init__(path, info)
        self._open_stream = open_stream
        self._stored = stored
        self._convert = convert
        self._stream: BinaryIO | None = None
        self._next = 0

    def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        try:
            stream = self._stream_before(start)
            voxels = np.empty((stop - start, *self.shape[1:]), self._stored)
            self._fill(stream, voxels.reshape(-1).view(np.uint8).data)
        except BaseException:
            # After a failure the position of the stream is unknown.
            self.close()
            raise
        self._next = stop
        return voxels if self._convert is None else self._convert(voxels)

    def _stream_before(self, start: int) -> BinaryIO:
        """Return the stream, placed at slice ``start``."""
        if self._stream is None or start < self._next:
            self.close()
            self._stream = self._open_stream()
            self._next = 0
        skip = (start - self._next) * self.shape[1] * self.shape[2] * self._stored.itemsize
        scratch = memoryview(bytearray(min(skip, SLAB_BYTES // 8)))
        while skip:
            part = scratch[: min(skip, len(scratch))]
            self._fill(self._stream, part)
            skip -= len(part)
        return self._stream

    def _fill(self, stream: BinaryIO, target: memoryview) -> None:
        filled = 0
        while filled < len(target):
            count = stream.readinto(target[filled:])  # type: ignore[attr-defined]
            if not count:
                message = f"{self.path}: ends before its last voxel, expected {self.shape} voxels"
                raise InputError(message)
            filled += count


class InflatingReader(io.RawIOBase):
    """Decompress what lies behind the header of a file, front to back.

    Parameters
    ----------
    path
        The file.
    offset
        Byte at which the compressed stream begins.
    container
        ``zlib``, or ``gzip`` of one member.
    """

    _CHUNK = 2**20

    def __init__(self, path: Path, offset: int, *, container: Literal["zlib", "gzip"]) -> None:
        from isal import igzip_lib

        super().__init__()
        self._file = path.open("rb")
        self._file.seek(offset)
        flag = igzip_lib.DECOMP_ZLIB if container == "zlib" else igzip_lib.DECOMP_GZIP
        self._decompressor = igzip_lib.IgzipDecompressor(flag=flag)

    def readable(self) -> bool:
        """Return true: this is a stream to read from."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill ``target`` as far as one step of decompression goes; 0 at the end of the stream."""
        out = memoryview(target).cast("B")
        while not self._decompressor.eof:
            chunk = self._file.read(self._CHUNK) if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not chunk:
                break
            data = self._decompressor.decompress(chunk, min(len(out), self._CHUNK))
            if data:
                out[: len(data)] = data
                return len(data)
        return 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
