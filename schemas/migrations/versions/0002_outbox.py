"""Events that have not left stand in a table of their own, not marked in each event."""

import sqlalchemy as sa
from alembic import op
from sqlmodel import UTCDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.execute(
        "INSERT INTO outbox (event_id, position)"
        " SELECT event_id, position FROM events WHERE published_at IS NULL"
    )
    op.drop_index("events_unpublished", table_name="events")
    op.drop_column("events", "published_at")
    if op.get_bind().dialect.name == "postgresql":
        # A page has room for a new version of each of its rows: a group moves neighbours together.
        op.execute("ALTER TABLE jobs SET (fillfactor = 45)")


def downgrade() -> None:
    op.add_column("events", sa.Column("published_at", UTCDateTime(), nullable=True))
    op.execute(
        "UPDATE events SET published_at = occurred_at"
        " WHERE event_id NOT IN (SELECT event_id FROM outbox)"
    )
    op.create_index(
        "events_unpublished",
        "events",
        ["occurred_at"],
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )
    op.drop_table("outbox")
