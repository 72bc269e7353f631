"""What tests have done in worker processes. It imports little, for every worker imports it."""

import hashlib
import os
import signal
from pathlib import Path

from adapters.pictures.limits import Limits, kept


def add(left: int, *, right: int) -> int:
    return left + right


def own_process_id() -> int:
    return os.getpid()


def meet(folder: str, own: str, other: str) -> int:
    """Call in one FIFO and wait for a call in the other: ends only where both run at once."""
    with (
        Path(folder, own).open("r+b", buffering=0) as said,
        Path(folder, other).open("r+b", buffering=0) as heard,
    ):
        said.write(b"!")
        heard.read(1)
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold_on() -> None:
    signal.pause()


def fail(error: Exception) -> None:
    raise error


def deaf(limits: Limits) -> None:
    """Take seconds of user time, and never come back to Python to hear a signal."""
    with kept(limits):
        hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000_000)


def how_signals_are_handled() -> tuple[bool, bool]:
    return (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    )


def start_measuring_memory() -> int:
    """Forget the highest memory so far; what this process has now (bytes, resident)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def most_memory() -> int:
    """The most that this process had since then."""
    return _memory("VmHWM")


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) << 10
