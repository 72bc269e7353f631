"""Why something cannot be done with a webhook."""

from uuid import UUID

from pipeline.errors import PipelineError


class NoSuchWebhook(PipelineError):
    status, code, title = 404, "no_such_webhook", "There is no such webhook"

    def __init__(self, webhook_id: UUID) -> None:
        super().__init__(
            f"No webhook has the id {webhook_id}. Check the id; the list of webhooks has it.",
            webhook_id=str(webhook_id),
        )


class NoSuchDelivery(PipelineError):
    status, code, title = 404, "no_such_delivery", "There is no such delivery"

    def __init__(self, webhook_id: UUID, delivery_id: UUID) -> None:
        super().__init__(
            f"Webhook {webhook_id} has no delivery {delivery_id}. Nothing was sent. Take the id"
            " from the webhook's deliveries.",
            webhook_id=str(webhook_id),
            delivery_id=str(delivery_id),
        )


class UrlRefused(PipelineError):
    status, code, title = 422, "url_refused", "Nothing can be sent to this address"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"url: {reason}. Nothing was stored. Name an https address on the public internet;"
            " whoever runs this service may allow others (LIMNER_GUARD__…).",
            field="url",
        )


class TooManyWebhooks(PipelineError):
    status, code, title = 409, "too_many_webhooks", "There are too many webhooks"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"There are {most} webhooks, and no more are possible. Nothing was stored. Remove one,"
            " or change one."
        )


class WebhookDisabled(PipelineError):
    status, code, title = 409, "webhook_disabled", "The webhook is disabled"

    def __init__(self, webhook_id: UUID) -> None:
        super().__init__(
            f"Webhook {webhook_id} is disabled, so nothing is sent to it. Nothing was changed. Mend"
            " the endpoint, enable the webhook, and redeliver then; what was waiting is sent by"
            " itself.",
            webhook_id=str(webhook_id),
        )
