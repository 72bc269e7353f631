"""Posts of which nothing may be removed for its age."""

import sqlalchemy as sa
from alembic import op
from sqlmodel import UTCDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blogs", sa.Column("held_since", UTCDateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("blogs", "held_since")
