"""Decodes pictures in a process of its own and says what each cost: `python -m tests.faults.bad_input.decoder`.

Reads pictures from standard input, each behind its length in four bytes; writes one JSON line for each.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

from shared.errors import InvalidImage
from shared.images.decode import Limits, decode_reduced, read_header
from shared.settings import Settings

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    limits = Limits.of(Settings())
    while head := sys.stdin.buffer.read(4):
        (length,) = struct.unpack(">I", head)
        print(json.dumps(measure(sys.stdin.buffer.read(length), limits)), flush=True)


def measure(data: bytes, limits: Limits) -> dict[str, Any]:
    """What the web server would say of the file and what a worker would make of it, in seconds of processor time and
    bytes of memory beyond those before."""
    PEAK.write_text("5", "ascii")  # sets the peak back to what is used now
    before, began = _kilobytes("VmHWM"), time.process_time()
    header = _tried(lambda: read_header(data, limits))
    checked = time.process_time()
    pixels = _tried(lambda: decode_reduced(data, limits))
    return {
        "header": header,
        "pixels": pixels,
        "header_seconds": checked - began,
        "pixels_seconds": time.process_time() - checked,
        "bytes": (_kilobytes("VmHWM") - before) * 1024,
    }


def _tried(action: Any) -> str:
    """`taken`, the code of a documented refusal, or the name of an error that should not be."""
    try:
        action()
    except InvalidImage as error:
        return error.code
    except BaseException as error:
        return f"undocumented {type(error).__name__}: {error}"
    return "taken"


def _kilobytes(name: str) -> int:
    line = next(line for line in STATUS.read_text("ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    main()
