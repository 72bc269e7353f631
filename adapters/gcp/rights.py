"""Who must be allowed what, how that is granted, and whether it is so.

A right that lacks shows only when the first job is sent, signed or given up; here it shows before.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, MethodNotImplemented
from google.auth.exceptions import GoogleAuthError

from adapters.errors import AdapterError
from adapters.gcp.fields import last
from adapters.gcp.rest import GoogleRest, Refused
from adapters.gcp.settings import EventDelivery, GcpSettings
from adapters.gcp.wanted import Wanted
from adapters.ports import BlobStore
from adapters.site import Right

ON_BUCKET = ("storage.objects.create", "storage.objects.get", "storage.objects.delete")
ON_ACCOUNT = ("iam.serviceAccounts.actAs",)
# Pub/Sub itself, of whichever project; it passes on what a subscription gives up.
AGENT = re.compile(r"serviceAccount:service-\d+@gcp-sa-pubsub\.iam\.gserviceaccount\.com")
ANY_KEY = "limner-doctor"

# What is missing, empty where nothing is.
Missing = Callable[[], Awaitable[Collection[str]]]


@dataclass(frozen=True, slots=True)
class Need:
    name: str
    grant: str
    missing: Missing
    # Granted on the project it is not to be seen here.
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Clients:
    """Whom to ask; *tasks*, *publisher* and *subscriber* are Google's own clients."""

    tasks: Any
    publisher: Any
    subscriber: Any
    rest: GoogleRest
    blobs: BlobStore
    call_seconds: float


def grants(settings: GcpSettings, wanted: Wanted, clients: Clients) -> Sequence[str]:
    """The commands that grant all of it, as lines of a shell."""
    return (
        "ACCOUNT=…  # the service account as which Limner runs",
        f'AGENT="{_agent(settings)}"',
        *(one.grant for one in _needs(settings, wanted, clients, "$ACCOUNT", "$AGENT")),
    )


async def rights(settings: GcpSettings, wanted: Wanted, clients: Clients) -> Sequence[Right]:
    account = await clients.rest.identity() or "ACCOUNT"
    found = []
    for need in _needs(settings, wanted, clients, account, _agent(settings)):
        try:
            missing = await need.missing()
        except MethodNotImplemented:  # an emulator knows of no rights
            continue
        except (GoogleAPICallError, GoogleAuthError, Refused, AdapterError) as exc:
            found.append(Right(need.name, None, need.grant, str(exc).partition("\n")[0]))
            continue
        if not missing:
            found.append(Right(need.name, held=True))
        elif need.inherited:
            told = "not granted here; it may be on the project"
            found.append(Right(need.name, None, need.grant, told))
        else:
            told = f"{', '.join(sorted(missing))}: not granted to {account}"
            found.append(Right(need.name, False, need.grant, told))
    return found


def _agent(settings: GcpSettings) -> str:
    number = f"$(gcloud projects describe {settings.project} --format='value(projectNumber)')"
    return f"service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"


def _needs(
    settings: GcpSettings, wanted: Wanted, clients: Clients, account: str, agent: str
) -> Sequence[Need]:
    def bind(noun: str, name: str, member: str, role: str, *flags: str) -> str:
        words = [f"gcloud {noun} add-iam-policy-binding", name, *flags]
        return " ".join([*words, f'--member="serviceAccount:{member}"', f"--role=roles/{role}"])

    def asked(client: Any, resource: str, permission: str) -> Missing:
        async def missing() -> Collection[str]:
            request = {"resource": resource, "permissions": [permission]}
            told = await client.test_iam_permissions(
                request, retry=None, timeout=clients.call_seconds
            )
            return {permission} - set(told.permissions)

        return missing

    def granted_to_agent(client: Any, resource: str, role: str) -> Missing:
        async def missing() -> Collection[str]:
            request = {"resource": resource}
            policy = await client.get_iam_policy(request, retry=None, timeout=clients.call_seconds)
            roles = {f"roles/pubsub.{one}" for one in (role, "editor", "admin")}
            members = [
                one for binding in policy.bindings if binding.role in roles
                for one in binding.members
            ]  # fmt: skip
            return () if any(AGENT.fullmatch(one) for one in members) else (f"pubsub.{role}",)

        return missing

    async def on_account() -> Collection[str]:
        held = await clients.rest.rights_on_account(caller, ON_ACCOUNT)
        return set(ON_ACCOUNT) - held

    async def on_bucket() -> Collection[str]:
        return set(ON_BUCKET) - await clients.rest.rights_on_bucket(wanted.bucket, ON_BUCKET)

    async def to_sign() -> Collection[str]:
        await clients.blobs.signed_url(ANY_KEY, timedelta(minutes=1))
        return ()

    caller = settings.service_account or ""
    project = f"--project={settings.project}"
    queue, location = last(wanted.queue.name), f"--location={settings.location}"
    topic, letters = settings.topic, settings.dead_letter_topic
    names = {last(one.name): one.name for one in wanted.subscriptions.values()}
    needs = [
        Need(
            f"send tasks to {queue}",
            bind("tasks queues", queue, account, "cloudtasks.enqueuer", location, project),
            asked(clients.tasks, wanted.queue.name, "cloudtasks.tasks.create"),
        ),
        Need(
            f"have tasks delivered as {caller}",
            bind("iam service-accounts", caller, account, "iam.serviceAccountUser", project),
            on_account,
        ),
        Need(
            f"publish events to {topic}",
            bind("pubsub topics", topic, account, "pubsub.publisher", project),
            asked(clients.publisher, settings.topic_path, "pubsub.topics.publish"),
        ),
        Need(
            f"keep pictures in {wanted.bucket}",
            bind("storage buckets", f"gs://{wanted.bucket}", account, "storage.objectUser"),
            on_bucket,
        ),
        Need(
            "sign addresses of pictures",
            bind(
                "iam service-accounts", account, account, "iam.serviceAccountTokenCreator", project
            ),
            to_sign,
        ),
    ]
    if settings.event_delivery is EventDelivery.PULL:
        needs += [
            Need(
                f"pull from {name}",
                bind("pubsub subscriptions", name, account, "pubsub.subscriber", project),
                asked(clients.subscriber, path, "pubsub.subscriptions.consume"),
            )
            for name, path in names.items()
        ]
    needs.append(
        Need(
            f"Pub/Sub itself: put dead letters into {letters}",
            bind("pubsub topics", letters, agent, "pubsub.publisher", project),
            granted_to_agent(clients.publisher, settings.dead_letter_path, "publisher"),
            inherited=True,
        )
    )
    return needs + [
        Need(
            f"Pub/Sub itself: take dead letters out of {name}",
            bind("pubsub subscriptions", name, agent, "pubsub.subscriber", project),
            granted_to_agent(clients.subscriber, path, "subscriber"),
            inherited=True,
        )
        for name, path in names.items()
    ]
