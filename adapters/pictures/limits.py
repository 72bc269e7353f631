"""What one picture may take of its worker process: without it a few hostile kilobytes take the
machine.

Time is that of the processor: a loaded machine makes no picture hostile.
"""

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from adapters.errors import BadPicture


class Limits(NamedTuple):
    # Measured: 40 megapixels take 190 MB (RGB), 330 (RGBA) or 400 (progressive JPEG without
    # subsampling), and 2 s. A WebP takes 16 to 20 bytes a pixel, so that 25 megapixels are left.
    memory_bytes: int = 512 << 20
    cpu_seconds: float = 20


@contextmanager
def kept(limits: Limits) -> Iterator[None]:
    """Raise `BadPicture` (`too_costly`) within, where a limit is passed.

    Nothing is limited in the service's own process: its memory is not the picture's, nor its time.
    """
    if multiprocessing.parent_process() is None:
        yield
        return
    with _time(limits.cpu_seconds), _memory(limits.memory_bytes):
        yield


@contextmanager
def _time(cpu_seconds: float) -> Iterator[None]:
    def refuse(*_: object) -> NoReturn:
        raise BadPicture(
            "too_costly", f"decoding the picture takes more than {cpu_seconds:g} s of a processor"
        )

    before = signal.signal(signal.SIGPROF, refuse)
    # Again and again: a decoder may swallow what is raised within it.
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds, 0.1)
    # A decoder that never comes back to Python hears no handler: the process ends.
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _memory(most_bytes: int) -> Iterator[None]:
    if sys.platform != "linux":  # others do not keep the limit, or do not tell what is taken
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _address_space() + most_bytes
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    except MemoryError:
        raise BadPicture(
            "too_costly", f"decoding the picture takes more than {most_bytes >> 20} MiB of memory"
        ) from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    import resource

    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
