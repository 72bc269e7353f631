"""Which programs a schema serves, so that pods of two versions may run while one takes over."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What it is, each migration's last step says (`schemas.migrations.run`).
    op.add_column("lineage", sa.Column("serves", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("lineage", "serves")
