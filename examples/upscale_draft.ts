// A draft first; when it is approved, the draft itself made larger. `node upscale_draft.ts [BLOG_ID]`

import { apiClient, pollJobStatus, type Created, type Pictures } from './client.ts';

const blogId = process.argv[2] ?? `example-${crypto.randomUUID()}`;

// Generate draft
const created = await apiClient.post<Created>('/api/v1/images/generate-async', {
  prompt: 'Hero image',
  quality: 'draft',
  blog_id: blogId,
});
const draft = await pollJobStatus(created.job_id);
console.log('draft:', draft.result.images[0].url);

// After approval, upscale draft. Its address is looked up and not fetched; the larger picture takes
// the draft's place in the post.
const upscaled = await apiClient.post<Created | Pictures>('/api/v1/images/upscale', {
  image_url: draft.result.images[0].url,
  scale: 2,
});
const { images } =
  'images' in upscaled
    ? upscaled
    : (await pollJobStatus(upscaled.job_id)).result; // it takes longer than the request waits
console.log('upscaled:', images[0].url);
