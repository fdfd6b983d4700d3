import { afterAll, describe, expect } from 'vitest';
import {
  apiKey,
  ask,
  CHAT,
  cleanUp,
  events,
  it,
  MESSAGES,
  post,
  sleep,
  startGateway,
  startUpstream,
  TIMEOUT_MS,
  unusedPort,
} from './gateway-harness.ts';

afterAll(cleanUp, TIMEOUT_MS);

describe('starting and stopping', () => {
  it('502 when the upstream is down', async () => {
    const UPSTREAM_BASE_URL = `http://127.0.0.1:${await unusedPort()}`;
    const gateway = await startGateway([apiKey('a')], { UPSTREAM_BASE_URL });
    const openai = await post(gateway, CHAT, 'a', ask());
    expect(openai.status).toBe(502);
    expect(await openai.json()).toMatchObject({ error: { code: 'upstream_unreachable' } });
    const anthropic = await post(gateway, MESSAGES, 'a', ask());
    expect(anthropic.status).toBe(502);
    expect(await anthropic.json()).toMatchObject({ error: { type: 'api_error' } });
  });

  it('an upstream URL with a version of its own; a warm-up; SIGINT', async () => {
    const upstream = await startUpstream({ default: res => void res.end('ok') });
    const gateway = await startGateway([apiKey('a'), apiKey('b')], {
      UPSTREAM_BASE_URL: `${upstream.url}/api/v4`,
      CACHE_WARMUP_ON_START: 'true',
    });
    expect(gateway.log()).toContain('warmed up with 2 ');
    await (await post(gateway, CHAT, 'a', ask())).text();
    expect(upstream.seen[0]?.url).toBe('/api/v4/chat/completions');
    expect(upstream.seen[0]?.headers.authorization).toBe(undefined);
    gateway.signal('SIGINT');
    expect(await gateway.exited).toBe(0);
  });

  it('SIGTERM lets a stream end, refuses new requests and writes all usage', async () => {
    const upstream = await startUpstream({
      default: async res => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        for (let n = 0; n < 10; n++) {
          res.write(`data: {"n":${n}}\n\n`);
          await sleep(100);
        }
        res.end('data: {"usage":{"total_tokens":77}}\n\n');
      },
    });
    const gateway = await startGateway([apiKey('a')], { UPSTREAM_BASE_URL: upstream.url });
    const answer = await post(gateway, CHAT, 'a', ask({ stream: true }));
    gateway.signal('SIGTERM');
    await sleep(300);
    const refused = await fetch(`${gateway.url}/health`, {
      headers: { connection: 'close' },
    }).then(
      () => false,
      () => true,
    );
    expect(refused).toBe(true);
    const all = events(await answer.text());
    expect(all).toHaveLength(11);
    expect(await gateway.exited).toBe(0);
    expect((await gateway.stored('a')).total_lifetime_tokens).toBe(77);
  });

  it('a stream that does not end is cut when the grace is over, and what is known is written', async () => {
    const upstream = await startUpstream({
      default: res => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: {"usage":{"total_tokens":3}}\n\n');
      },
    });
    const gateway = await startGateway([apiKey('a')], {
      UPSTREAM_BASE_URL: upstream.url,
      SHUTDOWN_GRACE_MS: '300',
    });
    const answer = await post(gateway, CHAT, 'a', ask({ stream: true }));
    const reader = answer.body?.getReader();
    await reader?.read();
    gateway.signal('SIGTERM');
    await reader?.read().catch(() => {});
    expect(await gateway.exited).toBe(0);
    expect((await gateway.stored('a')).total_lifetime_tokens).toBe(3);
  });
});
