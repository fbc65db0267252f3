"""CRC-32C (Castagnoli), by google-crc32c where that is installed and in Python where not."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable


@functools.cache
def _tables() -> list[list[int]]:
    """What a byte adds to the sum, with 0 to 7 bytes behind it."""
    tables = [[0] * 256 for _ in range(8)]
    for i in range(256):
        crc = i
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        tables[0][i] = crc
    for behind in range(1, 8):
        tables[behind] = [(crc >> 8) ^ tables[0][crc & 0xFF] for crc in tables[behind - 1]]
    return tables


def _extend_in_python(crc: int, data: bytes) -> int:
    t0, t1, t2, t3, t4, t5, t6, t7 = _tables()
    crc ^= 0xFFFFFFFF
    whole = len(data) & ~7
    for word, e, f, g, h in struct.iter_unpack("<I4B", memoryview(data)[:whole]):
        word ^= crc
        crc = (
            t7[word & 0xFF] ^ t6[(word >> 8) & 0xFF] ^ t5[(word >> 16) & 0xFF] ^ t4[word >> 24]
            ^ t3[e] ^ t2[f] ^ t1[g] ^ t0[h]
        )
    for byte in data[whole:]:
        crc = (crc >> 8) ^ t0[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


extend: Callable[[int, bytes], int]
try:
    from google_crc32c import extend  # type: ignore  # is there or not
except ImportError:
    extend = _extend_in_python
