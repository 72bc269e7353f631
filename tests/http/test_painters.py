"""The service with Gemini and a server of OpenAI's form: from request to picture, paid once."""

from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from tests.fakes.painters import KEY, GeminiDouble, OpenAIDouble, PainterDouble, Trouble
from tests.service import Here, served

OWN_SERVER = {
    "fields": ["response_format", "seed", "negative_prompt"],
    "sizes": {"1:1": "512x512"},
    "usd": {"standard": "0"},
}


@pytest.fixture
def doubles() -> Iterator[dict[str, PainterDouble]]:
    with ExitStack() as stack:
        found = {"gemini": GeminiDouble(), "openai": OpenAIDouble(key=None)}
        yield {name: stack.enter_context(double) for name, double in found.items()}


def settings(home: Path, doubles: dict[str, PainterDouble], **changes: Any) -> Settings:
    openai = {"base_url": f"{doubles['openai'].url}/v1", **OWN_SERVER}
    gemini = {"api_key": KEY, "base_url": doubles["gemini"].url}
    return Settings(home=home / "home", gemini=gemini, openai=openai, **changes)


def ledger(here: Here) -> list[tuple[Any, ...]]:
    found = here.rows("SELECT provider, state, amount FROM provider_calls ORDER BY job_id")
    return [(name, state, None if usd is None else Decimal(usd)) for name, state, usd in found]


async def test_each_of_them_paints_a_job_at_the_price_that_is_known(
    tmp_path: Path, doubles: dict[str, PainterDouble]
) -> None:
    async with served(settings(tmp_path, doubles)) as here:
        for name, quality in (("gemini", "draft"), ("openai", "standard"), ("openai", "draft")):
            job = await here.completed(
                await here.submit(provider=name, quality=quality, aspect_ratio="1:1")
            )
            assert job["provider"] == name
            assert job["result"]["images"][0]["width"] == 512
        assert ledger(here) == [
            ("gemini", "answered", Decimal("0.045")),
            ("openai", "answered", Decimal(0)),
            # Nobody said what a draft costs there.
            ("openai", "answered", None),
        ]
        reply = await here.http.get("/api/v1/images/providers")
        assert {"gemini", "openai", "sketch"} <= {one["name"] for one in reply.json()["providers"]}
    assert [len(double.paid) for double in doubles.values()] == [1, 2]


async def test_a_final_is_painted_of_its_draft_and_a_lost_one_is_parked_and_paid_once(
    tmp_path: Path, doubles: dict[str, PainterDouble]
) -> None:
    gemini = doubles["gemini"]
    async with served(settings(tmp_path, doubles, default_provider="gemini")) as here:
        draft = await here.completed(await here.submit(quality="draft", aspect_ratio="1:1"))
        gemini.script.append(Trouble.MALFORMED)
        reply = await here.http.post(
            f"/api/v1/images/jobs/{draft['job_id']}/promote", json={"quality": "high"}
        )
        assert reply.json()["strategy"] == "image_to_image"
        final = reply.json()["job_id"]
        query, key = "SELECT state FROM jobs WHERE id = ?", final.replace("-", "")
        await here.until(lambda: here.rows(query, key) == [("failed",)], "the final failed")
        status = await here.status(final)
        assert status["error_details"]["code"] == "outcome_unknown"
        assert [row[1] for row in ledger(here)] == ["answered", "unknown"]
    assert len(gemini.paid) == 2
    assert gemini.paid[1].source == (512, 512)
