"""Rate, pause and circuit of each provider's key; why jobs wait, and who paints instead."""

import sqlalchemy as sa
from alembic import op
from sqlmodel import UTCDateTime

from schemas.columns import Json

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    circuit = sa.Enum(
        "closed", "open", "half_open",
        name="provider_circuit", native_enum=False, create_constraint=True, length=32,
    )  # fmt: skip
    op.create_table(
        "providers",
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spent_until", UTCDateTime(), nullable=True),
        sa.Column("line_until", UTCDateTime(), nullable=True),
        sa.Column("paused_until", UTCDateTime(), nullable=True),
        sa.Column("circuit", circuit, nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=True),
        sa.Column("opened_at", UTCDateTime(), nullable=True),
        sa.Column("retry_at", UTCDateTime(), nullable=True),
        sa.Column("closed_at", UTCDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("probe_job_id", sa.Uuid(), nullable=True),
        sa.Column("retired", Json, nullable=False),
        sa.CheckConstraint(
            "(circuit = 'closed') = (retry_at IS NULL) AND (circuit = 'closed') ="
            " (opened_at IS NULL) AND (circuit = 'half_open') = (probe_job_id IS NOT NULL)",
            name="provider_circuit_is_whole",
        ),
        sa.PrimaryKeyConstraint("provider", "fingerprint"),
    )
    op.add_column("jobs", sa.Column("waiting", sa.String(), nullable=True))
    op.add_column("jobs", sa.Column("busy_since", UTCDateTime(), nullable=True))
    op.add_column("jobs", sa.Column("fallback", Json, nullable=True))
    op.create_index(
        "jobs_waiting",
        "jobs",
        ["provider", "id"],
        unique=False,
        postgresql_where=sa.text("waiting IS NOT NULL"),
        sqlite_where=sa.text("waiting IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("jobs_waiting", "jobs")
    op.drop_column("jobs", "fallback")
    op.drop_column("jobs", "busy_since")
    op.drop_column("jobs", "waiting")
    op.drop_table("providers")
