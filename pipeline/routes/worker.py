"""Where Cloud Tasks delivers: the generation step over HTTP. Not for the public."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from pipeline.generate import generate
from pipeline.routes.dependencies import Running
from schemas.tasks import ImageTask

router = APIRouter(prefix="/api/v1/images", tags=["internal"])


class WorkerReply(BaseModel):
    done: bool
    reason: str


@router.post("/worker")
async def work(task: ImageTask, response: Response, limner: Running) -> WorkerReply:
    """Process one image job. 200: nothing remains to be done by this task. 503: send it again."""
    answer = await generate(task, limner.worker)
    response.status_code = answer.status_code
    return WorkerReply(done=answer.done, reason=answer.reason)
