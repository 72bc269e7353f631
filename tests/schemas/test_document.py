"""The requirements document's own examples are understood and answered in its shapes."""

from uuid import uuid4

from schemas.replies import BatchImageGenerationResponse, CreateImageJobResponse
from schemas.requests import BatchImageGenerationRequest, ImageGenerationRequest, Quality, Workflow
from states.table import ImageJobStatus


def test_the_documents_request_is_understood() -> None:
    request = ImageGenerationRequest.model_validate(
        {
            "prompt": "A futuristic cityscape at sunset",
            "quality": "draft",
            "provider": "stability_ai",
            "style": "photographic",
            "aspect_ratio": "16:9",
            "blog_id": "optional-blog-id",
            "blog_job_id": "optional-blog-job-id",
        }
    )
    assert (request.quality, request.provider) == (Quality.DRAFT, "stability_ai")


def test_the_documents_batch_is_understood() -> None:
    batch = BatchImageGenerationRequest.model_validate(
        {
            "images": [
                {"prompt": "Hero image for blog", "quality": "draft", "aspect_ratio": "16:9"},
                {"prompt": "Featured image", "quality": "draft", "aspect_ratio": "1:1"},
            ],
            "blog_id": "blog-uuid",
            "blog_job_id": "blog-job-uuid",
            "workflow": "draft_then_final",
        }
    )
    assert [image.aspect_ratio for image in batch.images] == ["16:9", "1:1"]
    assert batch.workflow is Workflow.DRAFT_THEN_FINAL


def test_the_replies_have_the_documents_names() -> None:
    job = CreateImageJobResponse(
        job_id=uuid4(),
        status=ImageJobStatus.QUEUED,
        message="Image generation job queued successfully",
        estimated_completion_time=5,
        is_draft=True,
    )
    named = {"job_id", "status", "message", "estimated_completion_time", "is_draft"}
    assert named <= set(job.model_dump())
    batch = BatchImageGenerationResponse(
        batch_id=uuid4(),
        job_ids=[uuid4(), uuid4()],
        status=ImageJobStatus.QUEUED,
        total_images=2,
        estimated_completion_time=10,
    )
    named = {"batch_id", "job_ids", "status", "total_images", "estimated_completion_time"}
    assert named <= set(batch.model_dump())
