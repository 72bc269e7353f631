// All pictures of a post at once, drafts and then finals. `node batch.ts [BLOG_ID]`

import { apiClient, poll, pollJobStatus, type Batch } from './client.ts';

const blogId = process.argv[2] ?? `example-${crypto.randomUUID()}`;

// All are accepted, or none is.
const batch = await apiClient.post<Batch>('/api/v1/images/batch-generate', {
  images: [
    { prompt: 'Hero', quality: 'draft' },
    { prompt: 'Featured', quality: 'draft' },
    { prompt: 'Inline 1', quality: 'draft' },
  ],
  blog_id: blogId,
  workflow: 'draft_then_final',
});

// The drafts: these can be shown already.
const drafts = await Promise.all(batch.job_ids.map((id) => pollJobStatus(id)));
for (const draft of drafts) console.log('draft:', draft.result.images[0].url);

// Each completed draft gets its final; the batch is completed when all of them are there.
await poll(`/api/v1/images/batches/${batch.batch_id}`, ['completed', 'cancelled']);
for (const id of batch.job_ids) {
  const { final_job_id } = await pollJobStatus(id);
  if (final_job_id === null) throw new Error(`draft ${id} got no final`);
  const final = await pollJobStatus(final_job_id);
  console.log('final:', final.result.images[0].url);
}
