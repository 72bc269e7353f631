"""Queue, topics, subscriptions and bucket: compared with what is wanted, made where they lack.

Nothing is deleted or replaced here: what holds messages or pictures is left to a person.
"""

import shlex
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from google.api_core.exceptions import AlreadyExists, GoogleAPICallError, NotFound, PermissionDenied
from google.auth.exceptions import GoogleAuthError
from google.cloud.tasks_v2.types import CreateQueueRequest, Queue, UpdateQueueRequest
from google.pubsub_v1.types import Subscription, Topic, UpdateSubscriptionRequest

from adapters.errors import Unavailable
from adapters.gcp.fields import (
    EXPIRY,
    QUEUE_FIELDS,
    SUBSCRIPTION_FIELDS,
    Field,
    difference,
    differing,
    last,
)
from adapters.gcp.rest import Refused
from adapters.gcp.rights import Clients, grants, rights
from adapters.gcp.settings import GcpSettings
from adapters.gcp.wanted import Wanted
from adapters.site import Part, Right, Standing

TROUBLE = (GoogleAPICallError, GoogleAuthError, Refused, Unavailable)
DELETED_TOPIC = "_deleted-topic_"


class GoogleSite:
    def __init__(self, settings: GcpSettings, wanted: Wanted, clients: Clients) -> None:
        self._settings = settings
        self._wanted = wanted
        self._clients = clients
        self._seconds = settings.call_seconds

    @property
    def grants(self) -> Sequence[str]:
        return grants(self._settings, self._wanted, self._clients)

    async def rights(self) -> Sequence[Right]:
        return await rights(self._settings, self._wanted, self._clients)

    async def look(self) -> Sequence[Part]:
        parts = await self._of(f"queue {last(self._wanted.queue.name)}", self._queue)
        for path in self._wanted.topics:
            parts += await self._of(f"topic {last(path)}", partial(self._topic, path))
        letters = self._wanted.dead_letters
        # Whoever looks after the dead letters may have them delivered as they like.
        parts += await self._of(
            f"subscription {last(letters.name)}",
            partial(self._subscription, letters, "LIMNER_GCP__DEAD_LETTER_TOPIC", (EXPIRY,)),
        )
        for one in self._wanted.subscriptions.values():
            parts += await self._of(
                f"subscription {last(one.name)}",
                partial(self._subscription, one, "LIMNER_GCP__TOPIC", SUBSCRIPTION_FIELDS),
            )
        return parts + await self._of(f"bucket {self._wanted.bucket}", self._bucket)

    async def _of(self, name: str, look: Callable[[], Awaitable[list[Part]]]) -> list[Part]:
        try:
            return await look()
        except TROUBLE as exc:
            if isinstance(exc, PermissionDenied) or (isinstance(exc, Refused) and exc.denied):
                remedy = "Look as somebody with roles/viewer on the project."
            else:
                remedy = "See that Google can be reached, the project is right and its API is on."
            return [Part(name, Standing.UNKNOWN, (_first_line(exc),), remedy=remedy)]

    async def _queue(self) -> list[Part]:
        wanted = self._wanted.queue
        name = f"queue {last(wanted.name)}"
        where = (f"--location={self._settings.location}",)
        try:
            there = await self._clients.tasks.get_queue(
                name=wanted.name, retry=None, timeout=self._seconds
            )
        except NotFound:

            async def create() -> None:
                parent = wanted.name.partition("/queues/")[0]
                request = CreateQueueRequest(parent=parent, queue=wanted)
                await self._clients.tasks.create_queue(request, retry=None, timeout=self._seconds)

            flags = (*where, *_flags(QUEUE_FIELDS, wanted))
            command = self._gcloud("tasks queues create", wanted.name, flags)
            return [Part(name, Standing.CREATE, command=command, make=_made(create))]
        stuck = []
        if there.state in (Queue.State.PAUSED, Queue.State.DISABLED):
            # Somebody had a reason.
            resume = self._gcloud("tasks queues resume", wanted.name, where)
            stuck.append(
                Part(
                    f"{name}: dispatch",
                    Standing.STUCK,
                    (f"it is {there.state.name.lower()}: no job is painted",),
                    remedy=f"When its reason is gone: {resume}",
                )
            )
        fields = differing(QUEUE_FIELDS, there, wanted)
        if not fields:
            return [Part(name, Standing.FITS), *stuck]

        async def update() -> None:
            mask = {"paths": [one.path for one in fields]}
            request = UpdateQueueRequest(queue=wanted, update_mask=mask)
            await self._clients.tasks.update_queue(request, retry=None, timeout=self._seconds)

        return [
            Part(
                name,
                Standing.UPDATE,
                tuple(difference(one, there, wanted) for one in fields),
                self._gcloud("tasks queues update", wanted.name, (*where, *_flags(fields, wanted))),
                make=_made(update),
            ),
            *stuck,
        ]

    async def _topic(self, path: str) -> list[Part]:
        name = f"topic {last(path)}"
        try:
            await self._clients.publisher.get_topic(topic=path, retry=None, timeout=self._seconds)
        except NotFound:

            async def create() -> None:
                await self._clients.publisher.create_topic(
                    Topic(name=path), retry=None, timeout=self._seconds
                )

            command = self._gcloud("pubsub topics create", path)
            return [Part(name, Standing.CREATE, command=command, make=_made(create))]
        return [Part(name, Standing.FITS)]

    async def _subscription(
        self, wanted: Subscription, topic_setting: str, demanded: Sequence[Field]
    ) -> list[Part]:
        name = f"subscription {last(wanted.name)}"
        try:
            there = await self._clients.subscriber.get_subscription(
                subscription=wanted.name, retry=None, timeout=self._seconds
            )
        except NotFound:

            async def create() -> None:
                await self._clients.subscriber.create_subscription(
                    wanted, retry=None, timeout=self._seconds
                )

            return [
                Part(
                    name,
                    Standing.CREATE,
                    command=self._create_command(wanted),
                    make=_made(create),
                )
            ]
        stuck = self._immutable(name, there, wanted, topic_setting)
        fields = differing(demanded, there, wanted)
        if not fields:
            return [*([] if stuck else [Part(name, Standing.FITS)]), *stuck]

        async def update() -> None:
            mask = {"paths": [one.path for one in fields]}
            request = UpdateSubscriptionRequest(subscription=wanted, update_mask=mask)
            await self._clients.subscriber.update_subscription(
                request, retry=None, timeout=self._seconds
            )

        return [
            Part(
                name,
                Standing.UPDATE,
                tuple(difference(one, there, wanted) for one in fields),
                self._gcloud("pubsub subscriptions update", wanted.name, _flags(fields, wanted)),
                make=_made(update),
            ),
            *stuck,
        ]

    def _immutable(
        self, name: str, there: Subscription, wanted: Subscription, topic_setting: str
    ) -> list[Part]:
        """What Pub/Sub lets nobody change in a subscription that is there."""
        delete = self._gcloud("pubsub subscriptions delete", wanted.name)
        again = (
            f"When it has no messages left: {delete}; then run `limner provision`, and send what it"
            " missed in between by `limner replay --since`."
        )
        found = []
        if there.topic != wanted.topic:
            told = (
                "its topic was deleted"
                if there.topic == DELETED_TOPIC
                else f"it belongs to the topic {last(there.topic)}, not to {last(wanted.topic)}"
            )
            remedy = f"Correct {topic_setting} or LIMNER_GCP__SUBSCRIPTION_PREFIX. Or: {again}"
            found.append(Part(f"{name}: topic", Standing.STUCK, (told,), remedy=remedy))
        if there.filter != wanted.filter:
            told = f"{_quoted(there.filter)}; it must be {_quoted(wanted.filter)}"
            remedy = f"Pub/Sub never changes a filter. {again}"
            found.append(Part(f"{name}: filter", Standing.STUCK, (told,), remedy=remedy))
        return found

    async def _bucket(self) -> list[Part]:
        bucket = self._wanted.bucket
        name = f"bucket {bucket}"
        try:
            there = await self._clients.rest.bucket(bucket)
        except Refused as exc:
            if not exc.absent:
                raise
            create = (
                f"gcloud storage buckets create gs://{bucket} --project={self._settings.project}"
                f" --location={self._settings.location} --uniform-bucket-level-access"
                " --public-access-prevention"
            )
            # Where pictures are to lie is for a person to say.
            remedy = f"Correct LIMNER_GCP__BUCKET, or make it: {create}"
            return [Part(name, Standing.STUCK, ("there is none",), remedy=remedy)]
        found = []
        rules = (there.get("lifecycle") or {}).get("rule") or []
        if any((one.get("action") or {}).get("type") == "Delete" for one in rules):
            found.append(
                Part(
                    f"{name}: lifecycle",
                    Standing.STUCK,
                    ("a lifecycle rule deletes objects: pictures of posts would be gone",),
                    remedy=f"gcloud storage buckets update gs://{bucket} --clear-lifecycle",
                )
            )
        if there.get("retentionPolicy"):
            found.append(
                Part(
                    f"{name}: retention",
                    Standing.STUCK,
                    ("a retention policy keeps objects: no picture can be deleted",),
                    remedy=f"gcloud storage buckets update gs://{bucket} --clear-retention-period",
                )
            )
        return found or [Part(name, Standing.FITS)]

    def _create_command(self, wanted: Subscription) -> str:
        flags = [f"--topic={last(wanted.topic)}"]
        if wanted.filter:
            flags.append(f"--message-filter={wanted.filter}")
        pushed = bool(wanted.push_config.push_endpoint)
        fields = SUBSCRIPTION_FIELDS if pushed else SUBSCRIPTION_FIELDS[:-1]
        flags += _flags(fields, wanted)
        return self._gcloud("pubsub subscriptions create", wanted.name, flags)

    def _gcloud(self, verb: str, path: str, flags: Iterable[str] = ()) -> str:
        words = [*verb.split(), last(path), f"--project={self._settings.project}", *flags]
        return shlex.join(["gcloud", *words])


def _flags(fields: Iterable[Field], wanted: object) -> list[str]:
    return [flag for one in fields for flag in one.flags(wanted)]


def _made(make: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """*make*, its failures told in our words; what another one has made meanwhile is made."""

    async def call() -> None:
        try:
            await make()
        except AlreadyExists:
            return
        except (GoogleAPICallError, GoogleAuthError) as exc:
            raise Unavailable(_first_line(exc)) from exc

    return call


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]


def _quoted(text: str) -> str:
    return text or "none"
