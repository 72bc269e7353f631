"""Google's own Pub/Sub emulator, where it is installed."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

COMMAND = "cloud-pubsub-emulator"
BELOW_SDK = Path("platform/pubsub-emulator/bin") / COMMAND
SDKS = ("/usr/lib/google-cloud-sdk", "/opt/google-cloud-sdk", "/usr/share/google-cloud-sdk")
PATIENCE_SECONDS = 60.0


def installed() -> Path | None:
    """The emulator's command, on the path or in a Cloud SDK."""
    found = shutil.which(COMMAND)
    gcloud = shutil.which("gcloud")
    sdks = [Path(one) for one in SDKS]
    if gcloud is not None:
        sdks.append(Path(gcloud).resolve().parents[1])
    places = [Path(found)] if found else [sdk / BELOW_SDK for sdk in sdks]
    java = shutil.which("java") is not None
    return next((one for one in places if java and one.exists()), None)


@contextmanager
def running(command: Path) -> Iterator[str]:
    """Run the emulator; gives its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [command, "--host=127.0.0.1", f"--port={port}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            env=os.environ | {"JAVA_TOOL_OPTIONS": "-Xmx256m -XX:TieredStopAtLevel=1"},
        )
        try:
            _wait_for(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            assert process.poll() is None, "the emulator ended"
            assert monotonic() < deadline, "the emulator does not start"
            sleep(0.05)
        else:
            return
