"""Webhooks of the real program: killed and started again, and looked at by commands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.fakes.receiver import Answer, Receiver
from tests.service import GENERATE, Service
from tests.test_cli_commands import ask, done_well, here, one_line
from tests.webhooks import COMPLETED

WEBHOOKS = "/api/v1/webhooks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


def env(receiver: Receiver) -> dict[str, str]:
    return {
        "guard__allow_http": "true",
        "guard__ports": json.dumps([receiver.port]),
        "guard__allowed_networks": '["127.0.0.0/8"]',
    }


def test_killed_after_it_was_sent_the_message_comes_again_under_the_same_id(
    tmp_path: Path, receiver: Receiver
) -> None:
    dies = json.dumps([{"name": "web.send.after", "mode": "kill"}])
    with Service(tmp_path / "home", **env(receiver), failpoints=dies) as service:
        with service.client as client:
            asked = {"url": receiver.url, "types": [COMPLETED]}
            told = client.post(WEBHOOKS, json=asked).json()
            client.post(GENERATE, json={"prompt": "a mill", "quality": "draft"})
        assert service.died() == -9
        assert len(receiver.ids) == 1
        assert service.count("deliveries", "state = 'pending' AND sending") == 1
        service.settings.pop("failpoints")
        service.start()
        service.until(lambda: service.count("deliveries", "state = 'delivered'") == 1, "delivered")
        assert len(receiver.ids) == 2
        assert len(set(receiver.ids)) == 1
        for came in receiver.received:
            Webhook(told["secret"]).verify(came.body, came.headers)
        assert told["secret"] not in json.dumps([dict(line) for line in service.log])
        assert service.stop() == 0


def test_the_commands_do_what_the_routes_do(tmp_path: Path, receiver: Receiver) -> None:
    with Service(tmp_path / "home", **env(receiver)) as service:

        def run(*words: str) -> str:
            return done_well(ask(service, "webhooks", *words))

        added = run("add", receiver.url, "--type", COMPLETED, "--blog-id", "mine")
        webhook_id, secret = added.strip().split("\t")
        assert secret.startswith("whsec_")
        assert run("list").strip().split("\t") == [webhook_id, "enabled", "0", "0", receiver.url]
        delivery_id, status, answer = run("test", webhook_id).strip().split("\t")
        assert (status, answer.startswith("it answered 200")) == ("delivered", True)
        receiver.script = [Answer.BROKEN]
        failed = ask(service, "webhooks", "test", webhook_id)
        assert failed.returncode == 1
        assert "\tfailed\tit answered 500" in failed.stdout
        lines = run("deliveries", webhook_id, "--state", "failed").splitlines()
        assert [line.split("\t")[1:4] for line in lines] == [["failed", "1", "limner.webhook.test"]]
        sent_again = ask(service, "webhooks", "redeliver", webhook_id, "--failed")
        assert (sent_again.returncode, "Sent again: 1" in sent_again.stderr) == (0, True)
        service.until(lambda: service.count("deliveries", "state = 'failed'") == 0, "delivered")
        assert run("redeliver", webhook_id, delivery_id).startswith(delivery_id)
        shown = run("show", webhook_id)
        assert f"types: {COMPLETED}\nblog: mine\n" in shown
        assert "state: disabled\n" in run("disable", webhook_id)
        assert "state: enabled\n" in run("enable", webhook_id)
        again = json.loads(run("rotate", webhook_id, "--overlap-seconds", "0", "--json"))
        assert again["secret"] not in ("", secret)
        assert ask(service, "webhooks", "redeliver", webhook_id).returncode == 2
        for wrong in (("show", "mine"), ("add", ""), ("add", receiver.url, "--type", "done")):
            one_line(ask(service, "webhooks", *wrong), 2)
        refused = ask(service, "webhooks", "add", "http://10.0.0.1/")
        assert (refused.returncode, "port 80" in refused.stderr) == (1, True)
        removed = ask(service, "webhooks", "remove", webhook_id)
        assert (removed.returncode, "Removed" in removed.stderr) == (0, True)
        absent = ask(service, "webhooks", "show", webhook_id)
        assert (absent.returncode, "No webhook has the id" in absent.stderr) == (1, True)


def test_without_a_server_a_webhook_is_registered_and_tried_all_the_same(
    tmp_path: Path, receiver: Receiver
) -> None:
    def run(*words: str) -> Any:
        settings = env(receiver) | {"home": str(tmp_path / "home"), "port": "0"}
        return here("webhooks", *words, **settings)

    added = run("add", receiver.url, "--json")
    told = json.loads(done_well(added))
    tried = run("test", told["webhook_id"])
    assert tried.returncode == 0, tried.stderr
    Webhook(told["secret"]).verify(receiver.received[0].body, receiver.received[0].headers)
    receiver.script = [Answer.BROKEN]
    assert run("test", told["webhook_id"]).returncode == 1
    again = run("redeliver", told["webhook_id"], "--failed")
    assert (again.returncode, "the next `limner serve` sends it" in again.stderr) == (0, True)
    (waiting,) = json.loads(
        run("deliveries", told["webhook_id"], "--state", "pending", "--json").stdout
    )["deliveries"]
    assert waiting["attempts"] == 1
    assert len(receiver.ids) == 2
