"""A final says how much of its draft it kept, in its status and in its event."""

import json
from pathlib import Path

from pipeline.settings import Settings
from tests.service import served


async def test_a_final_shows_how_much_of_its_draft_it_kept(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        asked = {"prompt": "a lighthouse at dusk", "seed": 5, "aspect_ratio": "16:9"}
        draft = await here.completed(await here.submit(quality="draft", **asked))
        assert draft["result"]["fidelity"] is None
        final = await here.completed(
            await here.submit(quality="standard", draft_job_id=draft["job_id"], **asked)
        )
        found = final["result"]["fidelity"]
        assert found["verdict"] == "same_composition"
        assert found["ssim"] > 0.9
        assert found["hash_distance"] <= 4
        ((data,),) = here.rows(
            "SELECT data FROM events WHERE type = 'image.job.completed' AND stream_id = ?",
            final["job_id"],
        )
        assert json.loads(data)["fidelity"] == found
