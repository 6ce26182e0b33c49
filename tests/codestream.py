"""What the markers of a JPEG 2000 file say of how it was coded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

PROGRESSIONS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")


def coding_of(path: Path) -> dict[str, Any]:
    """Tile size and coding style of the codestream, and whether its first tile tells the lengths of its packets.

    Source: ISO/IEC 15444-1, annexes A.5.1 (SIZ), A.6.1 (COD), A.4.2 (SOT), A.7.3 (PLT).
    """
    content = path.read_bytes()
    at = content.index(b"\xff\x4f\xff\x51") + 2
    told: dict[str, Any] = {"packet_lengths": False}
    in_tile = False
    while (marker := content[at : at + 2]) != b"\xff\x93":  # start of the first tile's data
        length = struct.unpack(">H", content[at + 2 : at + 4])[0]
        body = content[at + 4 : at + 2 + length]
        if marker == b"\xff\x51":
            told["tile"] = struct.unpack(">II", body[18:26])
        elif marker == b"\xff\x52":
            _, progression, layers, _, levels, width, height, _, transform = struct.unpack(">BBHBBBBBB", body[:10])
            told |= {"progression": PROGRESSIONS[progression], "layers": layers, "levels": levels, "reversible": transform == 1}
            told |= {"code_block": (2 ** (width + 2), 2 ** (height + 2)), "precincts": {(2 ** (b & 15), 2 ** (b >> 4)) for b in body[10:]}}
        elif marker == b"\xff\x90":
            in_tile = True
        elif marker == b"\xff\x58":
            told["packet_lengths"] = in_tile
        at += 2 + length
    return told
