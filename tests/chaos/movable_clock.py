"""The workers' wall clock, which a test can move while they run. It takes a C compiler."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = shutil.which("cc")


class MovableClock:
    """`environment`: with it a process reads this clock."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.move(0)
        library = folder / "clock.so"
        self.environment: Mapping[str, str] = {}
        if COMPILER is not None:
            subprocess.run(
                [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)], check=True
            )
            self.environment = {
                "LD_PRELOAD": str(library),
                "EVENTIFY_CHAOS_CLOCK": str(self._file),
            }

    def move(self, seconds: int) -> None:
        """The clock goes wrong by so much, now."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("l", seconds))
