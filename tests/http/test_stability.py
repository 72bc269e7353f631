"""The service with Stability AI configured: from a request to a linked picture, paid once."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.pictures import codec, xmp
from pipeline.settings import Settings
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble
from tests.service import GENERATE, Here, Service, served

LEGACY = {"profile": "legacy-v1"}


@pytest.fixture
def double() -> Iterator[StabilityDouble]:
    with StabilityDouble() as running:
        yield running


def settings(home: Path, double: StabilityDouble, **changes: Any) -> Settings:
    stability = {"api_key": KEY, "base_url": double.url} | changes
    return Settings(home=home / "home", stability=stability)


async def failed(here: Here, job_id: str) -> dict[str, Any]:
    query = "SELECT state FROM jobs WHERE id = ?"
    key = job_id.replace("-", "")
    await here.until(lambda: here.rows(query, key) == [("failed",)], f"job {job_id} failed")
    return await here.status(job_id)


def ledger(here: Here | Service) -> list[tuple[Any, ...]]:
    return here.rows("SELECT attempt, provider, model, state, amount FROM provider_calls")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("quality", ["draft", "standard", "high", "ultra"])
async def test_a_request_of_every_quality_becomes_a_linked_picture_at_the_price_charged(
    tmp_path: Path, double: StabilityDouble, quality: str, legacy: bool
) -> None:
    asked = {"quality": quality, "aspect_ratio": "4:3", "style": "photographic", "blog_id": "post"}
    async with served(settings(tmp_path, double, **LEGACY if legacy else {})) as here:
        job = await here.completed(await here.submit(provider="stability_ai", **asked))
        result = job["result"]
        assert job["provider"] == result["provider"] == "stability_ai"
        assert result["resolved_model"] == result["model"]
        assert result["requested_model"].startswith("stable-diffusion")
        assert Decimal(str(result["cost"])) == double.spent / 100
        assert "painted in 5:4 and cropped to 4:3" in job["warnings"]
        (image,) = result["images"]
        assert image["width"] / image["height"] == pytest.approx(4 / 3, rel=0.01)
        told = xmp.read(codec.packet_of((await here.http.get(image["url"])).content))
        assert told.digital_source_type == xmp.SOURCE_TYPES + "trainedAlgorithmicMedia"
        assert (told.ai_system, told.ai_system_version) == ("stability_ai", result["model"])
        ((attempt, provider, model, state, amount),) = ledger(here)
        assert (attempt, provider, state) == (1, "stability_ai", "answered")
        assert model == result["model"]
        assert Decimal(amount) == double.spent / 100
        reply = await here.http.get("/api/v1/blogs/post/images")
        (slot,) = reply.json()["images"]
        shown = slot["preview"] if quality == "draft" else slot
        assert shown["image_id"] == image["image_id"]
    assert len(double.paid) == 1


async def test_a_final_is_made_of_its_draft_and_costs_what_its_own_model_does(
    tmp_path: Path, double: StabilityDouble
) -> None:
    async with served(settings(tmp_path, double)) as here:
        draft = await here.completed(await here.submit(provider="stability_ai", quality="draft"))
        reply = await here.http.post(
            f"/api/v1/images/jobs/{draft['job_id']}/promote", json={"quality": "standard"}
        )
        assert reply.json()["strategy"] == "image_to_image"
        final = await here.completed(reply.json()["job_id"])
        assert final["result"]["resolved_model"] == "sd3.5-medium"
        assert any("core does not paint from a picture" in one for one in final["warnings"])
        assert [row[-1] for row in ledger(here)] == ["0.025", "0.035"]
        fetched = await here.http.get(draft["result"]["images"][0]["url"])
        assert double.paid[1].fields["image"] == fetched.content


@pytest.mark.parametrize(
    "told", [Misbehaviour.RESET_AFTER, Misbehaviour.CUT_BODY, Misbehaviour.GARBAGE]
)
async def test_a_lost_answer_parks_the_job_with_its_price_and_is_paid_once(
    tmp_path: Path, double: StabilityDouble, told: Misbehaviour
) -> None:
    double.script.append(told)
    async with served(settings(tmp_path, double)) as here:
        job = await failed(here, await here.submit(provider="stability_ai", quality="high"))
        assert job["error_details"]["code"] == "outcome_unknown"
        assert ledger(here) == [(1, "stability_ai", "sd3.5-large-turbo", "unknown", "0.04")]
    assert len(double.paid) == 1


async def test_a_connection_cut_anywhere_is_listed_priced_and_settled_by_policy(
    tmp_path: Path, double: StabilityDouble
) -> None:
    """Before the request was processed, in the middle of the picture, after it was painted."""
    cuts = {Misbehaviour.RESET_BEFORE: 0, Misbehaviour.CUT_BODY: 1, Misbehaviour.RESET_AFTER: 1}
    async with served(settings(tmp_path, double)) as here:
        unknown = set()
        for told, paid in cuts.items():
            before = len(double.paid)
            double.script.append(told)
            final = await failed(here, await here.submit(provider="stability_ai", quality="high"))
            assert len(double.paid) == before + paid
            assert (final["cost_confirmed"], final["cost_possible"]) == ("0", "0.04")
            assert final["error_details"]["code"] == "outcome_unknown"
            double.script.append(told)
            draft = await here.completed(
                await here.submit(provider="stability_ai", quality="draft")
            )
            assert len(double.paid) == before + 2 * paid + 1
            assert (draft["attempt"], draft["retry_count"]) == (2, 1)
            assert (draft["cost_confirmed"], draft["cost_possible"]) == ("0.025", "0.025")
            unknown |= {(final["job_id"], 1, "0.04"), (draft["job_id"], 1, "0.025")}
        reply = await here.http.get("/api/v1/images/calls?state=unknown")
        listed = {(one["job_id"], one["attempt"], one["amount"]) for one in reply.json()["calls"]}
        assert listed == unknown


async def test_a_lost_final_is_unknown_at_the_price_of_the_model_that_was_asked_for_it(
    tmp_path: Path, double: StabilityDouble
) -> None:
    async with served(settings(tmp_path, double)) as here:
        draft = await here.completed(await here.submit(provider="stability_ai", quality="draft"))
        double.script.append(Misbehaviour.RESET_AFTER)
        reply = await here.http.post(
            f"/api/v1/images/jobs/{draft['job_id']}/promote", json={"quality": "standard"}
        )
        await failed(here, reply.json()["job_id"])
        assert ledger(here)[1:] == [(1, "stability_ai", "sd3.5-medium", "unknown", "0.035")]
    assert double.spent == Decimal("6")


async def test_a_filtered_picture_is_not_shown_and_its_cost_is_possible(
    tmp_path: Path, double: StabilityDouble
) -> None:
    double.script.append(Misbehaviour.FILTERED)
    async with served(settings(tmp_path, double)) as here:
        job_id = await here.submit(provider="stability_ai", quality="draft", blog_id="post")
        job = await failed(here, job_id)
        assert job["error_details"]["code"] == "moderated"
        assert "may have been charged" in job["error_message"]
        assert [row[3] for row in ledger(here)] == ["unknown"]
        assert here.count("images") == 0
        pictures = here.limner.settings.home / "pictures"
        assert [path for path in pictures.rglob("*") if path.is_file()] == []
        costs = (await here.http.get("/api/v1/blogs/post/costs")).json()
        assert (costs["cost_confirmed"], costs["cost_possible"]) == ("0", "0.025")


async def test_a_refusal_is_not_charged_and_says_so(
    tmp_path: Path, double: StabilityDouble
) -> None:
    double.script += [Misbehaviour.MODERATED, Misbehaviour.RETIRED]
    async with served(settings(tmp_path, double)) as here:
        for code in ("moderated", "model_retired"):
            job = await failed(here, await here.submit(provider="stability_ai"))
            assert job["error_details"]["code"] == code
            assert "Nothing was charged" in job["error_message"]
        assert [row[3] for row in ledger(here)] == ["refused", "refused"]
    assert double.paid == []


@pytest.mark.parametrize(
    ("told", "seconds"), [(Misbehaviour.RATE_LIMITED, 17), (Misbehaviour.OUT_OF_CREDIT, 300)]
)
async def test_a_job_waits_where_nothing_was_charged(
    tmp_path: Path, double: StabilityDouble, told: Misbehaviour, seconds: int
) -> None:
    double.script.append(told)
    async with served(settings(tmp_path, double)) as here:
        job_id = await here.submit(provider="stability_ai")
        query = "SELECT count(*) FROM jobs WHERE state = 'queued' AND attempt = 2"
        await here.until(lambda: here.rows(query) == [(1,)], "put back")
        assert [row[3] for row in ledger(here)] == ["not_charged"]
        query = "SELECT round((julianday(not_before) - julianday(settled_at)) * 86400)"
        rows = here.rows(f"{query} FROM jobs JOIN provider_calls ON job_id = jobs.id")
        assert rows[0][0] == pytest.approx(seconds, abs=1)
        assert (await here.status(job_id))["status"] == "queued"
    assert double.paid == []


def test_a_death_in_the_paid_call_is_unknown_and_paid_once(
    tmp_path: Path, double: StabilityDouble
) -> None:
    asked = {"prompt": "a lighthouse", "quality": "high", "provider": "stability_ai"}
    with Service(
        tmp_path / "home",
        stability__api_key=KEY,
        stability__base_url=double.url,
        failpoints=json.dumps([{"name": "provider.generate.after", "mode": "kill"}]),
    ) as service:
        with service.client as client:
            job_id = client.post(GENERATE, json=asked).json()["job_id"]
        assert service.died() == -9
        assert ledger(service) == [(1, "stability_ai", "sd3.5-large-turbo", "intent", "0.04")]
        service.settings.pop("failpoints")
        service.start()
        with service.client as client:
            job = client.get(f"/api/v1/images/jobs/{job_id}").json()
        assert job["error_details"]["code"] == "outcome_unknown"
        assert ledger(service) == [(1, "stability_ai", "sd3.5-large-turbo", "unknown", "0.04")]
        assert KEY not in json.dumps([dict(line) for line in service.log])
    assert len(double.paid) == 1


async def test_the_table_of_providers_says_what_each_of_them_takes(
    tmp_path: Path, double: StabilityDouble
) -> None:
    async with served(settings(tmp_path, double)) as here:
        told = (await here.http.get("/api/v1/images/providers")).json()
        sketch, stability = told["providers"]
        assert (told["default"], sketch["name"], sketch["is_default"]) == ("sketch", "sketch", True)
        assert (stability["name"], stability["stands_in_for"]) == ("stability_ai", [])
        assert sketch["stands_in_for"] == []
        assert stability["price_book"] == "stability-2026-11"
        assert "4:3" in stability["cropped_aspect_ratios"]
        assert "16:9" in stability["aspect_ratios"]
        assert "photographic" in stability["styles"]
        assert stability["strategies"] == ["image_to_image", "regenerate"]
        found = {(one["quality"], one["strategy"]): one for one in stability["models"]}
        assert found["standard", "regenerate"] == {
            "quality": "standard",
            "strategy": "regenerate",
            "requested_model": "stable-diffusion-xl-1024-v1-0",
            "resolved_model": "core",
            "price_usd": "0.03",
            "price_credits": "3",
            "retired": False,
        }
        assert found["standard", "image_to_image"]["resolved_model"] == "sd3.5-medium"
        assert ("draft", "image_to_image") not in found
        assert sketch["models"][0]["price_usd"] == "0.002"
        assert sketch["models"][0]["price_credits"] is None


async def test_without_a_key_sketch_stands_in_and_the_table_says_so(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        (sketch,) = (await here.http.get("/api/v1/images/providers")).json()["providers"]
        assert sketch["stands_in_for"] == ["stability_ai"]
        (warning,) = (await here.status(await here.submit(provider="stability_ai")))["warnings"]
        assert "stability_ai is not configured" in warning


async def test_a_style_that_the_provider_lacks_is_refused_with_those_that_it_has(
    tmp_path: Path, double: StabilityDouble
) -> None:
    async with served(settings(tmp_path, double)) as here:
        asked = {"prompt": "a lighthouse", "provider": "stability_ai", "style": "cubist"}
        reply = await here.http.post(GENERATE, json=asked)
        assert reply.status_code == 422
        assert "photographic" in reply.json()["known"]
    assert double.asked == []
