"""The receivers of `examples/` at a real service: they take what is signed, once, and no other."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.service import GENERATE, Service
from tests.test_examples import EXAMPLES, node
from tests.webhooks import COMPLETED

WEBHOOKS = "/api/v1/webhooks"
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """A free port for each receiver, known before the service starts, which is told of them."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        return {"py": one.getsockname()[1], "ts": other.getsockname()[1]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Service]:
    settings = {
        "guard__allow_http": "true",
        "guard__ports": json.dumps(list(ports.values())),
        "guard__allowed_networks": '["127.0.0.0/8"]',
    }
    with Service(tmp_path_factory.mktemp("receivers") / ".limner", **settings) as running:
        yield running


@contextmanager
def receiving(language: str, port: int, secret: str) -> Iterator["subprocess.Popen[str]"]:
    # -S: the packages of the tests are nothing that a stranger has.
    program = [sys.executable, "-S"] if language == "py" else [node()]
    with subprocess.Popen(
        [*program, EXAMPLES / f"webhook_receiver.{language}", str(port)],
        env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as receiver:  # fmt: skip
        try:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == f"listening on http://127.0.0.1:{port}/\n"
            yield receiver
        finally:
            receiver.kill()


@pytest.mark.parametrize("language", ["py", "ts"])
def test_a_receiver_takes_what_limner_signed_once_and_nothing_else(
    service: Service, ports: dict[str, int], language: str
) -> None:
    address = f"http://127.0.0.1:{ports[language]}/"
    with service.client as client:
        asked = {"url": address, "types": [COMPLETED]}
        told = client.post(WEBHOOKS, json=asked).json()
        one = f"{WEBHOOKS}/{told['webhook_id']}"
        with receiving(language, ports[language], told["secret"]) as receiver:
            request = {"prompt": "a mill", "quality": "draft"}
            job_id = client.post(GENERATE, json=request).json()["job_id"]
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == f"{COMPLETED} {job_id} 0000000004\n"
            for headers in ({}, {"webhook-id": "1", "webhook-timestamp": "1",
                                 "webhook-signature": "v1,x"}):  # fmt: skip
                assert httpx2.post(address, json={"id": "1"}, headers=headers).status_code == 400
            # Both secrets sign now; the receiver knows the old one.
            client.post(f"{one}/secret")

            def attempts(number: int) -> bool:
                page = client.get(f"{one}/deliveries").json()["deliveries"]
                found = [(each["status"], each["attempts"]) for each in page]
                return found == [("delivered", number)]

            service.until(lambda: attempts(1), "delivered")
            (sent,) = client.get(f"{one}/deliveries").json()["deliveries"]
            client.post(f"{one}/deliveries/{sent['delivery_id']}/redeliver")
            service.until(lambda: attempts(2), "delivered again")
            assert client.post(f"{one}/test").json()["status"] == "delivered"
            assert receiver.stdout.readline().startswith("limner.webhook.test ")
        client.delete(one)


def test_the_document_shows_the_check_of_the_example() -> None:
    document = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    shown = document.partition("```python\n")[2].partition("```")[0]
    assert shown.startswith("def is_from_limner(")
    assert shown in (EXAMPLES / "webhook_receiver.py").read_text(encoding="utf-8")
