"""What is old is removed by hand over HTTP and by commands; a held post is left alone."""

import json
from pathlib import Path

from tests.fakes.instant import CONNECT
from tests.service import GENERATE, Service, command

SWEEP = "/api/v1/retention/sweep"
KINDS = ["drafts", "raw", "sent", "events", "effects", "deliveries", "replies"]


def test_a_sweep_and_a_hold_are_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Service(home, connect=CONNECT) as service, service.client as client:
        assert client.put("/api/v1/blogs/post/legal-hold").status_code == 404
        assert client.post(GENERATE, json={"prompt": "a mill", "blog_id": "post"}).is_success
        held = client.put("/api/v1/blogs/post/legal-hold").json()
        assert (held["held"], held["held_since"] is not None) == (True, True)
        assert client.put("/api/v1/blogs/post/legal-hold").json() == held
        told = client.post(SWEEP, json={"dry_run": True}).json()
        assert told == {
            "dry_run": True,
            "removed": [{"kind": kind, "number": 0, "bytes": 0} for kind in KINDS],
        }
        assert client.post(SWEEP, json={"dry_run": "perhaps"}).status_code == 422
        assert client.post(SWEEP).json()["dry_run"] is False
        server = {"LIMNER_SERVER": service.address}
        swept = command("sweep", "--dry-run", home=str(home), **server)
        assert swept.stdout.splitlines() == [f"{kind}\t0\t0" for kind in KINDS]
        done = command("blogs", "release", "post", home=str(home), **server)
        assert (done.returncode, done.stdout) == (0, "post\treleased\n")
        done = command("blogs", "hold", "post", "--json", home=str(home), **server)
        assert json.loads(done.stdout)["held"] is True
        unknown = command("blogs", "hold", "nobody", home=str(home), **server)
        assert unknown.returncode == 1
        assert "nobody" in unknown.stderr
