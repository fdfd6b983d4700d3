import { createApp } from './app.ts';
import { apiKeyCache } from './cache.ts';
import { listen } from './listen.ts';
import { allRecorded } from './recorder.ts';
import { flush, warmupCache } from './storage.ts';
import { standInUpstream } from './upstream.ts';

/** How long running requests may take to end after a SIGTERM, and then their usage to be recorded, in milliseconds. */
const graceMs = Number(process.env.SHUTDOWN_GRACE_MS || 10_000);

const hostname = process.env.HOST || '127.0.0.1';
const port = Number(process.env.PORT || 3000);
if (!Number.isInteger(port) || port < 0 || port > 65_535) {
  console.error(`PORT=${process.env.PORT} is no port`);
  process.exit(1);
}

if (process.env.CACHE_WARMUP_ON_START === 'true') {
  await warmupCache();
  console.log(`cache warmed up with ${apiKeyCache.size} of at most ${apiKeyCache.maxSize} entries`);
}

const upstreamUrl = process.env.UPSTREAM_BASE_URL;
const standIn = upstreamUrl ? null : await listen(standInUpstream().fetch, '127.0.0.1', 0);
const app = createApp({
  baseUrl: upstreamUrl || `http://127.0.0.1:${standIn?.port}`,
  apiKey: process.env.UPSTREAM_API_KEY,
});

const gateway = await listen(app.fetch, hostname, port).catch((error: Error) => {
  console.error(`gateway can not listen on ${hostname}, port ${port}: ${error.message}`);
  process.exit(1);
});

let stopping = false;

async function stop(): Promise<void> {
  // A Ctrl-C reaches the whole process group and may come a second time from the parent.
  if (stopping) return;
  stopping = true;
  await gateway.close(graceMs);
  await Promise.race([allRecorded(), new Promise(resolve => setTimeout(resolve, graceMs))]);
  await flush();
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    stop().then(
      () => process.exit(0),
      error => {
        console.error('some usage could not be written:', error);
        process.exit(1);
      },
    );
  });
}

const shown = hostname.includes(':') ? `[${hostname}]` : hostname;
console.log(`gateway listening on http://${shown}:${gateway.port}`);
