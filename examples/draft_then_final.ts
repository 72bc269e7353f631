// A draft first; when it is approved, the final. `node draft_then_final.ts [BLOG_ID]`

import { apiClient, pollJobStatus, type Created } from './client.ts';

const blogId = process.argv[2] ?? `example-${crypto.randomUUID()}`;

// Step 1: a draft, fast and cheap
const draft = await apiClient.post<Created>('/api/v1/images/generate-async', {
  prompt: 'Hero image',
  quality: 'draft',
  blog_id: blogId,
});

// Step 2: wait for it
const draftStatus = await pollJobStatus(draft.job_id);
console.log('draft:', draftStatus.result.images[0].url);

// Step 3: somebody approves it. The final of the same prompt for the same blog belongs to the one
// draft that waits for it: it keeps the draft's composition and takes its place in the post.
const final = await apiClient.post<Created>('/api/v1/images/generate-async', {
  prompt: 'Hero image',
  quality: 'high',
  blog_id: blogId,
});
for (const warning of final.warnings) console.log('note:', warning);
const finalStatus = await pollJobStatus(final.job_id);
console.log('final:', finalStatus.result.images[0].url);
const { fidelity } = finalStatus.result;
if (fidelity !== null) console.log('composition:', fidelity.verdict);
