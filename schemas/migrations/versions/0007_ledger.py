"""What a policy or a person has decided about calls whose outcome is unknown."""

import sqlalchemy as sa
from alembic import op
from sqlmodel import UTCDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("asked_again_at", UTCDateTime(), nullable=True))
    op.add_column("provider_calls", sa.Column("resolved_at", UTCDateTime(), nullable=True))
    unknown = sa.text("state = 'unknown'")
    op.create_index(
        "provider_calls_unknown",
        "provider_calls",
        ["tenant", "job_id"],
        postgresql_where=unknown,
        sqlite_where=unknown,
    )
    op.create_index(
        "provider_calls_by_day", "provider_calls", ["created_at"], postgresql_using="brin"
    )


def downgrade() -> None:
    op.drop_index("provider_calls_by_day", "provider_calls")
    op.drop_index("provider_calls_unknown", "provider_calls")
    op.drop_column("provider_calls", "resolved_at")
    op.drop_column("jobs", "asked_again_at")
