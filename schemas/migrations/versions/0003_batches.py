"""Batches, and the decisions about drafts."""

import sqlalchemy as sa
from alembic import op
from sqlmodel import UTCDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        _choice("workflow", "batch_workflow", "draft_then_final", "final_only"),
        _choice("approval", "batch_approval", "automatic", "required"),
        sa.Column("final_quality", sa.String(), nullable=False),
        sa.Column("blog_id", sa.String(), nullable=True),
        sa.Column("blog_job_id", sa.String(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("cancelled_at", UTCDateTime(), nullable=True),
        sa.Column("ended_at", UTCDateTime(), nullable=True),
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (open = 0 AND (undecided = 0 OR approval = 'required'"
            " OR cancelled_at IS NOT NULL))",
            name="batch_ended_or_owing",
        ),
        sa.CheckConstraint(
            "drafts + finals = open + completed + failed + cancelled", name="batch_jobs_add_up"
        ),
        sa.CheckConstraint(
            " AND ".join(f"{name} >= 0" for name in COUNTS), name="batch_counts_are_counts"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("batches_by_tenant", "batches", ["tenant", "id"], unique=False)
    op.create_table(
        "promotions",
        sa.Column("draft_job_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        _choice("decision", "promotion_decision", "approved", "rejected", "blocked"),
        _choice("decided_by", "promotion_decided_by", "automatic", "person", "link"),
        sa.Column("final_job_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("decided_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint(
            "(final_job_id IS NOT NULL) = (decision = 'approved')", name="promotion_has_its_final"
        ),
        sa.PrimaryKeyConstraint("draft_job_id", "generation"),
    )
    op.create_index(
        "jobs_by_batch",
        "jobs",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("batch_id IS NOT NULL"),
        sqlite_where=sa.text("batch_id IS NOT NULL"),
    )
    op.add_column(
        "blogs", sa.Column("has_drafts", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    # Finals that were asked for by their draft's id before there were decisions.
    op.execute(
        "INSERT INTO promotions"
        " (draft_job_id, generation, tenant, decision, decided_by, final_job_id, decided_at)"
        " SELECT draft.id, 1, draft.tenant, 'approved', 'person', final.id, final.created_at"
        " FROM jobs draft JOIN jobs final ON final.id = draft.final_job_id"
    )
    op.execute(
        "UPDATE blogs SET has_drafts = true WHERE EXISTS (SELECT 1 FROM jobs WHERE is_draft"
        " AND jobs.tenant = blogs.tenant AND jobs.blog_id = blogs.blog_id)"
    )


COUNTS = (
    "drafts", "finals", "open", "completed", "failed", "cancelled", "undecided", "approved",
    "rejected", "blocked",
)  # fmt: skip


def _choice(column: str, name: str, *values: str) -> sa.Column[str]:
    kind = sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
    return sa.Column(column, kind, nullable=False)


def downgrade() -> None:
    op.drop_column("blogs", "has_drafts")
    op.drop_index("jobs_by_batch", "jobs")
    op.drop_table("promotions")
    op.drop_table("batches")
