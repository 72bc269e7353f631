"""All pictures of a post at once, drafts and then finals. `python3 batch.py [BLOG_ID]`"""

import sys
from uuid import uuid4

from client import poll, poll_job_status, post

blog_id = sys.argv[1] if len(sys.argv) > 1 else f"example-{uuid4()}"

# All are accepted, or none is.
batch = post(
    "/api/v1/images/batch-generate",
    {
        "images": [
            {"prompt": "Hero", "quality": "draft"},
            {"prompt": "Featured", "quality": "draft"},
            {"prompt": "Inline 1", "quality": "draft"},
        ],
        "blog_id": blog_id,
        "workflow": "draft_then_final",
    },
)

# The drafts: these can be shown already.
for status in [poll_job_status(job_id) for job_id in batch["job_ids"]]:
    print("draft:", status["result"]["images"][0]["url"])

# Each completed draft gets its final; the batch is completed when all of them are there.
poll(f"/api/v1/images/batches/{batch['batch_id']}", {"completed", "cancelled"})
for job_id in batch["job_ids"]:
    final_job_id = poll_job_status(job_id)["final_job_id"]
    if final_job_id is None:
        sys.exit(f"draft {job_id} got no final")
    print("final:", poll_job_status(final_job_id)["result"]["images"][0]["url"])
