import { afterAll, beforeAll, describe, expect } from 'vitest';
import {
  apiKey,
  ask,
  CHAT,
  cleanUp,
  events,
  expectRecorded,
  type Gateway,
  hoursAgo,
  it,
  MESSAGES,
  post,
  startGateway,
  TIMEOUT_MS,
} from './gateway-harness.ts';

afterAll(cleanUp, TIMEOUT_MS);

describe('with the stand-in upstream', () => {
  let gateway: Gateway;
  const expired = { expiry_date: hoursAgo(1) };
  const full = {
    token_limit_per_5h: 100,
    usage_windows: [
      { window_start: hoursAgo(6), tokens_used: 1000 },
      { window_start: hoursAgo(4), tokens_used: 60 },
      { window_start: hoursAgo(1), tokens_used: 60 },
    ],
  };
  const old = {
    token_limit_per_5h: 100,
    usage_windows: [{ window_start: hoursAgo(5.01), tokens_used: 1000 }],
  };
  const used = {
    model: 'own-model',
    token_limit_per_5h: 100,
    usage_windows: [{ window_start: hoursAgo(2), tokens_used: 30 }],
  };

  beforeAll(async () => {
    gateway = await startGateway([
      ...['chat', 'chat-stream', 'messages', 'messages-stream', 'both'].map(key => apiKey(key)),
      apiKey('expired', expired),
      apiKey('full', full),
      apiKey('old', old),
      apiKey('used', used),
    ]);
  }, TIMEOUT_MS);

  it('answers /health and /cache-stats without a key', async () => {
    const health = await fetch(`${gateway.url}/health`);
    expect(health.status).toBe(200);
    expect(await health.json()).toEqual({ status: 'ok' });
    const stats = await fetch(`${gateway.url}/cache-stats`);
    expect(stats.status).toBe(200);
    const names = ['enabled', 'hitRate', 'hits', 'maxSize', 'misses', 'size'];
    expect(Object.keys((await stats.json()) as object).sort()).toEqual(names);
  });

  it('chat completions as JSON', async () => {
    const answer = await post(gateway, CHAT, 'chat', ask());
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({
      object: 'chat.completion',
      model: 'small',
      choices: [{ message: { role: 'assistant', content: 'You said: one two three' } }],
      usage: { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 },
    });
    await expectRecorded(gateway, 'chat', 8);
  });

  it('chat completions as a stream', async () => {
    const answer = await post(gateway, CHAT, 'chat-stream', ask({ stream: true }));
    expect(answer.headers.get('content-type')).toContain('text/event-stream');
    const text = await answer.text();
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(events(text).at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 8 } });
    await expectRecorded(gateway, 'chat-stream', 8);
  });

  it('messages as JSON', async () => {
    const answer = await fetch(gateway.url + MESSAGES, {
      method: 'POST',
      headers: { 'x-api-key': 'messages' },
      body: JSON.stringify(ask()),
    });
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({
      type: 'message',
      content: [{ type: 'text', text: 'You said: one two three' }],
      usage: { input_tokens: 3, output_tokens: 5 },
    });
    await expectRecorded(gateway, 'messages', 8);
  });

  it('messages as a stream', async () => {
    const answer = await post(gateway, MESSAGES, 'messages-stream', ask({ stream: true }));
    const all = events(await answer.text());
    expect(all[0]).toMatchObject({ message: { usage: { input_tokens: 3 } } });
    expect(all.map(event => event.type).at(-1)).toBe('message_stop');
    await expectRecorded(gateway, 'messages-stream', 8);
  });

  it('other routes of the API', async () => {
    const models = await fetch(`${gateway.url}/v1/models`, { headers: { 'x-api-key': 'both' } });
    expect(models.status).toBe(200);
    expect(await models.json()).toMatchObject({ object: 'list' });
    const nothing = await fetch(`${gateway.url}/elsewhere`, { headers: { 'x-api-key': 'both' } });
    expect(nothing.status).toBe(404);
  });

  it('401 without a key and with an unknown one', async () => {
    for (const key of [null, 'nobody']) {
      const openai = await post(gateway, CHAT, key, ask());
      expect(openai.status).toBe(401);
      expect(await openai.json()).toMatchObject({ error: { code: 'invalid_api_key' } });
      const anthropic = await post(gateway, MESSAGES, key, ask());
      expect(anthropic.status).toBe(401);
      const error = { type: 'authentication_error' };
      expect(await anthropic.json()).toMatchObject({ type: 'error', error });
      expect((await fetch(`${gateway.url}/v1/models`)).status).toBe(401);
      expect((await fetch(`${gateway.url}/stats`)).status).toBe(401);
    }
  });

  it('403 with an expired key', async () => {
    const openai = await post(gateway, CHAT, 'expired', ask());
    expect(openai.status).toBe(403);
    expect(await openai.json()).toMatchObject({ error: { code: 'expired_api_key' } });
    const anthropic = await post(gateway, MESSAGES, 'expired', ask());
    expect(anthropic.status).toBe(403);
    expect(await anthropic.json()).toMatchObject({ error: { type: 'permission_error' } });
  });

  it('429 over quota, with the seconds until the oldest window ends', async () => {
    for (const path of [CHAT, MESSAGES]) {
      const answer = await post(gateway, path, 'full', ask());
      expect(answer.status).toBe(429);
      const wait = Number(answer.headers.get('retry-after'));
      expect(wait).toBeGreaterThan(3600 - 60);
      expect(wait).toBeLessThanOrEqual(3600);
      expect(JSON.stringify(await answer.json())).toContain('rate_limit_error');
    }
  });

  it('windows older than five hours do not count, and are dropped', async () => {
    const answer = await post(gateway, CHAT, 'old', ask());
    expect(answer.status).toBe(200);
    await answer.text();
    await expectRecorded(gateway, 'old', 8);
  });

  it('/stats shows the current window, over quota too', async () => {
    const stats = async (key: string) => {
      const answer = await fetch(`${gateway.url}/stats`, { headers: { 'x-api-key': key } });
      expect(answer.status).toBe(200);
      return answer.json();
    };
    const started = used.usage_windows[0]?.window_start ?? '';
    expect(await stats('used')).toEqual({
      key: 'used',
      model: 'own-model',
      limit: 100,
      expiry: '2999-01-01T00:00:00.000Z',
      current_window: {
        used: 30,
        started,
        ends: new Date(Date.parse(started) + 5 * 3_600_000).toISOString(),
        remaining: 70,
      },
    });
    expect(await stats('full')).toMatchObject({ current_window: { used: 120, remaining: 0 } });
    expect(await stats('both')).toMatchObject({
      model: null,
      current_window: { used: 0, started: null, ends: null, remaining: 1_000_000 },
    });
  });
});
