"""Cloud Tasks: without it no job of this profile would reach a worker."""

from datetime import datetime, timedelta

from google.api_core.exceptions import AlreadyExists, GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud.tasks_v2 import CloudTasksAsyncClient
from google.cloud.tasks_v2.types import CreateTaskRequest, HttpMethod, HttpRequest, OidcToken, Task

from adapters.errors import QueueUnavailable
from adapters.traces import task_traceparent
from schemas.tasks import ImageTask

# Cloud Tasks takes no other deadlines for an HTTP target.
SHORTEST_DEADLINE = timedelta(seconds=15)
LONGEST_DEADLINE = timedelta(minutes=30)


class CloudTaskQueue:
    """Tasks are durable in the queue named *path*: its name is the incarnation."""

    def __init__(
        self,
        client: CloudTasksAsyncClient,
        *,
        path: str,
        url: str,
        service_account: str,
        audience: str,
        dispatch_deadline: timedelta,
        call_seconds: float,
    ) -> None:
        """Make a queue whose tasks are posted to *url* with a token for *audience*.

        *dispatch_deadline* is at least `SHORTEST_DEADLINE` and at most `LONGEST_DEADLINE`.
        """
        self._client = client
        self._path = path
        self._url = url
        self._token = OidcToken(service_account_email=service_account, audience=audience)
        self._deadline = dispatch_deadline
        self._call_seconds = call_seconds

    @property
    def incarnation(self) -> str:
        return self._path

    async def create_image_generation_task(
        self, task: ImageTask, *, not_before: datetime | None = None
    ) -> None:
        request = CreateTaskRequest(parent=self._path, task=self._task(task, not_before))
        try:
            # Not repeated here: the sweep offers again what did not leave.
            await self._client.create_task(request, retry=None, timeout=self._call_seconds)
        except AlreadyExists:
            return
        except (GoogleAPICallError, GoogleAuthError) as exc:
            raise QueueUnavailable(f"Cloud Tasks: {type(exc).__name__}: {exc}") from exc

    def start(self) -> None:
        """Cloud Tasks dispatches by itself."""

    async def drain(self, timeout_seconds: float) -> None:
        """Nothing waits here."""

    def _task(self, task: ImageTask, not_before: datetime | None) -> Task:
        made = Task(
            name=f"{self._path}/tasks/{task.name}",
            http_request=HttpRequest(
                url=self._url,
                http_method=HttpMethod.POST,
                headers={
                    "Content-Type": "application/json",
                    "traceparent": task_traceparent(task),
                },
                body=task.model_dump_json().encode(),
                oidc_token=self._token,
            ),
            dispatch_deadline=self._deadline,
        )
        if not_before is not None:
            made.schedule_time = not_before
        return made
