"""A secret that a local service makes for itself and keeps with its data, so that links last."""

import contextlib
import os
import secrets
from pathlib import Path

BYTES = 32


def kept_secret(path: Path) -> bytes:
    """The secret at *path*; made there, for its owner alone, where there is none.

    It is on the disk before it is used, and never half of it. Raises `OSError` where it can be
    neither read nor made.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as opened:
            opened.write(secrets.token_hex(BYTES).encode())
            opened.flush()
            os.fsync(file)
        with contextlib.suppress(FileExistsError):  # another was faster: that one holds
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return _read(path)


def _read(path: Path) -> bytes:
    secret = path.read_bytes().strip()
    if len(secret) < 2 * BYTES:
        raise OSError(f"{path} holds no secret; remove it, and another is made (old links end)")
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return secret
