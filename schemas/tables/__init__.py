"""Every table of the product (SQLModel). `…Row` is the shape in memory, its subclass the table."""

from schemas.tables.batches import (
    Batch,
    BatchRow,
    DecidedBy,
    Decision,
    Promotion,
    PromotionRow,
)
from schemas.tables.budgets import ALL, Budget, BudgetRow, Spend, SpendRow
from schemas.tables.calls import OPEN_CALLS, CallState, ProviderCall, ProviderCallRow
from schemas.tables.dispatch import Dispatch, DispatchRow
from schemas.tables.events import (
    DeadLetter,
    DeadLetterRow,
    Event,
    EventRow,
    Inbox,
    InboxRow,
    Lineage,
    Outbox,
)
from schemas.tables.idempotency import IdempotencyKey, IdempotencyKeyRow
from schemas.tables.jobs import Job, JobRow, Waiting
from schemas.tables.pictures import Blog, BlogRow, BlogSlot, BlogSlotRow, Image, ImageRow
from schemas.tables.providers import Circuit, Provider, ProviderRow
from schemas.tables.row import Row
from schemas.tables.slots import SlotCandidate, SlotCandidateRow, SlotChange, SlotChangeRow
from schemas.tables.webhooks import (
    Delivery,
    DeliveryRow,
    DeliveryState,
    DisabledBecause,
    Webhook,
    WebhookReader,
    WebhookReaderRow,
    WebhookRow,
)

TABLES: dict[type[Row], type[Row]] = {
    # The order in which rows are locked and written: parents before children, jobs first.
    JobRow: Job,
    ProviderCallRow: ProviderCall,
    PromotionRow: Promotion,
    BatchRow: Batch,
    BlogRow: Blog,
    BlogSlotRow: BlogSlot,
    ImageRow: Image,
    SlotCandidateRow: SlotCandidate,
    SlotChangeRow: SlotChange,
    InboxRow: Inbox,
    DeadLetterRow: DeadLetter,
    DispatchRow: Dispatch,
    BudgetRow: Budget,
    SpendRow: Spend,
    ProviderRow: Provider,
    WebhookReaderRow: WebhookReader,
    WebhookRow: Webhook,
    DeliveryRow: Delivery,
    IdempotencyKeyRow: IdempotencyKey,
    EventRow: Event,
}

__all__ = [
    "ALL",
    "OPEN_CALLS",
    "TABLES",
    "Batch",
    "BatchRow",
    "Blog",
    "BlogRow",
    "BlogSlot",
    "BlogSlotRow",
    "Budget",
    "BudgetRow",
    "CallState",
    "Circuit",
    "DeadLetter",
    "DeadLetterRow",
    "DecidedBy",
    "Decision",
    "Delivery",
    "DeliveryRow",
    "DeliveryState",
    "DisabledBecause",
    "Dispatch",
    "DispatchRow",
    "Event",
    "EventRow",
    "IdempotencyKey",
    "IdempotencyKeyRow",
    "Image",
    "ImageRow",
    "Inbox",
    "InboxRow",
    "Job",
    "JobRow",
    "Lineage",
    "Outbox",
    "Promotion",
    "PromotionRow",
    "Provider",
    "ProviderCall",
    "ProviderCallRow",
    "ProviderRow",
    "Row",
    "SlotCandidate",
    "SlotCandidateRow",
    "SlotChange",
    "SlotChangeRow",
    "Spend",
    "SpendRow",
    "Waiting",
    "Webhook",
    "WebhookReader",
    "WebhookReaderRow",
    "WebhookRow",
]
