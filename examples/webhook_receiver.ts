// Receive webhooks: `WEBHOOK_SECRET=whsec_… node examples/webhook_receiver.ts [PORT]`

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

const toleranceSeconds = 300;

/** Whether *body*, byte for byte as it came, was signed with *secret*, and just now. */
function isFromLimner(secret: string, headers: IncomingHttpHeaders, body: Buffer): boolean {
  const [id, timestamp, signatures] = ['id', 'timestamp', 'signature'].map((name) =>
    String(headers[`webhook-${name}`] ?? ''),
  );
  const age = Date.now() / 1000 - Number(timestamp);
  if (timestamp === '' || !(Math.abs(age) <= toleranceSeconds)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const digest = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64');
  const wanted = Buffer.from(`v1,${digest}`);
  // Two signatures, while a secret is being changed.
  return signatures.split(' ').some((one) => {
    const given = Buffer.from(one);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}

const secret = process.env.WEBHOOK_SECRET;
if (!secret) {
  console.error('Set WEBHOOK_SECRET to what `limner webhooks add` printed (whsec_…).');
  process.exit(1);
}

// Keep these where they outlive the program, in the commit of what you do about the event.
const handled = new Set<string>();

const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (request.method !== 'POST' || !isFromLimner(secret, request.headers, body)) {
    response.writeHead(400).end("The signature is not Limner's");
    return;
  }
  const event = JSON.parse(body.toString());
  if (!handled.has(event.id)) { // the same message may come again
    handled.add(event.id);
    console.log(event.type, event.subject, event.sequence);
  }
  // Answer soon and work later: after 15 s the message is taken for lost, and comes again.
  response.writeHead(204).end();
});

server.listen(Number(process.argv[2] ?? 3000), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});
