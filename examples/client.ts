// Ask Limner and wait for it, with nothing but fetch.

const server = process.env.LIMNER_SERVER ?? 'http://127.0.0.1:8080';
const pollMilliseconds = 500;
const patienceMilliseconds = 300_000;

export type Created = { job_id: string; warnings: string[] };
export type Pictures = { job_id: string; images: { url: string; width: number; height: number }[] };
export type Batch = { batch_id: string; job_ids: string[] };
export type JobStatus = {
  status: string;
  final_job_id: string | null;
  error_message: string | null;
  result: {
    images: { url: string; width: number; height: number }[];
    fidelity: { ssim: number; hash_distance: number; verdict: string } | null;
  };
};

export const apiClient = {
  get: <T>(path: string): Promise<T> => send<T>(path, {}),
  post: <T>(path: string, body: object): Promise<T> =>
    send<T>(path, {
      method: 'POST',
      // Sent again with the same key, for want of a reply, a request is not done twice.
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': crypto.randomUUID() },
      body: JSON.stringify(body),
    }),
};

/** Wait for a job; its status once it is completed. Throws when it is not. */
export async function pollJobStatus(jobId: string): Promise<JobStatus> {
  const rest = ['completed', 'failed', 'cancelled'];
  const status = await poll<JobStatus>(`/api/v1/images/jobs/${jobId}`, rest);
  if (status.status !== 'completed') {
    throw new Error(`job ${jobId} ${status.status}: ${status.error_message}`);
  }
  return status;
}

/** Ask again and again until the `status` is one of *rest*. */
export async function poll<T extends { status: string }>(path: string, rest: string[]): Promise<T> {
  const deadline = Date.now() + patienceMilliseconds;
  for (;;) {
    const found = await apiClient.get<T>(path);
    if (rest.includes(found.status)) return found;
    if (Date.now() > deadline) throw new Error(`${path} is still ${found.status}`);
    await new Promise((resolve) => setTimeout(resolve, pollMilliseconds));
  }
}

async function send<T>(path: string, request: RequestInit): Promise<T> {
  const reply = await fetch(server + path, request);
  const body = await reply.json();
  // RFC 9457: what happened, and what to do
  if (!reply.ok) throw new Error(`${body.title}: ${body.detail}`);
  return body as T;
}
