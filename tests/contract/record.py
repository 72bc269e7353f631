"""Record events of a real run. `python -m tests.contract.record`: one example a type, as documents
show it. `python -m tests.contract.record VERSION`: the schemas and events of a release, which
stay readable for ever.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.contract import PUBLISHED
from schemas.event_data import DATA
from schemas.events import CloudEvent
from tests.contract.story import told

RELEASES = Path(__file__).parent / "releases"
EXAMPLES = PUBLISHED / "examples"


def record_examples() -> None:
    with TemporaryDirectory() as home:
        events = asyncio.run(told(Path(home)))
    for event_type in DATA:
        of_type = [event for event in events if event.type == event_type]
        # The fullest: an example that is null throughout explains nothing.
        best = max(of_type, key=_filled)
        path = EXAMPLES / f"{event_type}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = best.model_dump(mode="json")
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def record_release(version: str) -> None:
    folder = RELEASES / version
    if folder.exists():
        sys.exit(f"{folder} is there already: what a release sent never changes")
    shutil.copytree(EXAMPLES, folder / "events")
    shutil.copytree(PUBLISHED / "events", folder / "schemas")


def _filled(event: CloudEvent) -> int:
    return len(event.model_dump_json(exclude_none=True))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        record_release(sys.argv[1])
    else:
        record_examples()
