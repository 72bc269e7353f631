"""A draft first; when it is approved, the draft itself made larger. `upscale_draft.py [BLOG_ID]`"""

import sys
from uuid import uuid4

from client import poll_job_status, post

blog_id = sys.argv[1] if len(sys.argv) > 1 else f"example-{uuid4()}"

# Generate draft
created = post(
    "/api/v1/images/generate-async",
    {"prompt": "Hero image", "quality": "draft", "blog_id": blog_id},
)
draft = poll_job_status(created["job_id"])
print("draft:", draft["result"]["images"][0]["url"])

# After approval, upscale draft. Its address is looked up and not fetched; the larger picture takes
# the draft's place in the post.
upscaled = post(
    "/api/v1/images/upscale",
    {"image_url": draft["result"]["images"][0]["url"], "scale": 2},
)
if "images" not in upscaled:  # it takes longer than the request waits
    upscaled = poll_job_status(upscaled["job_id"])["result"]
print("upscaled:", upscaled["images"][0]["url"])
