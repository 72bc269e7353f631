"""Budgets, holds on them, and the price book of every call."""

import sqlalchemy as sa
from alembic import op
from sqlmodel import UTCDateTime

from schemas.columns import Money

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    period = sa.Enum(
        "total", "day", name="budget_period", native_enum=False, create_constraint=True, length=32
    )
    op.create_table(
        "budgets",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("blog_id", sa.String(), nullable=False),
        sa.Column("period", period, nullable=False),
        sa.Column("amount", Money(), nullable=True),
        sa.Column("uncounted", Money(), nullable=False),
        sa.Column("uncounted_on", sa.String(), nullable=False),
        sa.Column("set_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "blog_id", "period"),
    )
    op.create_table(
        "spend",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("blog_id", sa.String(), nullable=False),
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("held", Money(), nullable=False),
        sa.Column("spent", Money(), nullable=False),
        sa.CheckConstraint("CAST(held AS NUMERIC) >= 0", name="spend_holds_something"),
        sa.PrimaryKeyConstraint("tenant", "blog_id", "day"),
    )
    for column in (
        sa.Column("held", Money(), nullable=True),
        sa.Column("held_on", sa.String(), nullable=True),
        sa.Column("held_in", sa.Integer(), nullable=True),
    ):
        op.add_column("jobs", column)
    for column in (
        sa.Column("price_book", sa.String(), nullable=True),
        sa.Column("day", sa.String(), nullable=False, server_default=""),
        sa.Column("held", Money(), nullable=True),
        sa.Column("held_in", sa.Integer(), nullable=True),
    ):
        op.add_column("provider_calls", column)
    # Calls of before count on the day on which they were made.
    sqlite = op.get_bind().dialect.name == "sqlite"
    day = "substr(created_at, 1, 10)"
    if not sqlite:
        day = "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    op.execute(f"UPDATE provider_calls SET day = {day}")


def downgrade() -> None:
    for column in ("held_in", "held", "day", "price_book"):
        op.drop_column("provider_calls", column)
    for column in ("held_in", "held_on", "held"):
        op.drop_column("jobs", column)
    op.drop_table("spend")
    op.drop_table("budgets")
