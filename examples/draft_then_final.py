"""A draft first; when it is approved, the final. `python3 draft_then_final.py [BLOG_ID]`"""

import sys
from uuid import uuid4

from client import poll_job_status, post

blog_id = sys.argv[1] if len(sys.argv) > 1 else f"example-{uuid4()}"

# Step 1: a draft, fast and cheap
draft = post(
    "/api/v1/images/generate-async",
    {"prompt": "Hero image", "quality": "draft", "blog_id": blog_id},
)

# Step 2: wait for it
draft_status = poll_job_status(draft["job_id"])
print("draft:", draft_status["result"]["images"][0]["url"])

# Step 3: somebody approves it. The final of the same prompt for the same blog belongs to the one
# draft that waits for it: it keeps the draft's composition and takes its place in the post.
final = post(
    "/api/v1/images/generate-async",
    {"prompt": "Hero image", "quality": "high", "blog_id": blog_id},
)
for warning in final["warnings"]:
    print("note:", warning)
final_status = poll_job_status(final["job_id"])
print("final:", final_status["result"]["images"][0]["url"])
if fidelity := final_status["result"]["fidelity"]:
    print("composition:", fidelity["verdict"])
