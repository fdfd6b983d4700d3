import { readFile, writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import {
  apiKey,
  ask,
  CHAT,
  cleanUp,
  eventually,
  expectRecorded,
  type FakeUpstream,
  type Gateway,
  it,
  MESSAGES,
  post,
  sleep,
  startGateway,
  startUpstream,
  TIMEOUT_MS,
} from './gateway-harness.ts';

afterAll(cleanUp, TIMEOUT_MS);

describe('with an upstream of its own', () => {
  let upstream: FakeUpstream;
  let gateway: Gateway;
  const last = () => upstream.seen.at(-1) ?? expect.unreachable('no request came');

  beforeAll(async () => {
    upstream = await startUpstream({
      default: res => {
        res.setHeader('content-type', 'application/json');
        res.end('{ "usage": {"total_tokens": 5} }');
      },
    });
    const plain = ['forward', 'bytes', 'error', 'upload', 'include', 'gone', 'cut', 'broken'];
    gateway = await startGateway(
      [
        ...plain.map(key => apiKey(key)),
        apiKey('bound', { model: 'own-model' }),
        ...Array.from({ length: 10 }, (_, n) => apiKey(`many-${n}`)),
      ],
      { UPSTREAM_BASE_URL: `${upstream.url}/base/`, UPSTREAM_API_KEY: 'upstream-secret' },
    );
  }, TIMEOUT_MS);

  it('forwards method, path, query, headers and body', async () => {
    const body = '{ "model" : "small",\n"seed": 12345678901234567890 }';
    const headers = { 'x-trace': 'abc', 'anthropic-version': '2023-06-01', te: 'trailers' };
    const answer = await post(gateway, `${CHAT}?a=1&b=%2F`, 'forward', body, { headers });
    expect(await answer.text()).toBe('{ "usage": {"total_tokens": 5} }');
    expect(last().method).toBe('POST');
    expect(last().url).toBe(`/base${CHAT}?a=1&b=%2F`);
    expect(last().body.toString()).toBe(body);
    expect(last().headers).toMatchObject({
      authorization: 'Bearer upstream-secret',
      'accept-encoding': 'identity',
      'anthropic-version': '2023-06-01',
      'x-trace': 'abc',
      'content-type': 'application/json',
      host: upstream.url.slice('http://'.length),
    });
    expect(last().headers.te).toBe(undefined);
    expect(last().headers['x-api-key']).toBe(undefined);
    await expectRecorded(gateway, 'forward', 5);

    await (await post(gateway, MESSAGES, 'forward', ask())).text();
    expect(last().headers['x-api-key']).toBe('upstream-secret');
    expect(last().headers.authorization).toBe(undefined);

    const path = '/v1/files/some%20file?x';
    const gone = { method: 'DELETE', headers: { 'x-api-key': 'forward' } };
    await (await fetch(gateway.url + path, gone)).text();
    expect(last().method).toBe('DELETE');
    expect(last().url).toBe(`/base${path}`);
  });

  it("puts the key's own model into the body", async () => {
    await (await post(gateway, CHAT, 'bound', ask({ extra: [1] }))).text();
    expect(JSON.parse(last().body.toString())).toEqual(ask({ model: 'own-model', extra: [1] }));
    await (await post(gateway, MESSAGES, 'bound', { messages: [] })).text();
    expect(JSON.parse(last().body.toString())).toEqual({ messages: [], model: 'own-model' });
    await (await post(gateway, '/v1/embeddings', 'bound', { model: 'x', input: '' })).text();
    expect(JSON.parse(last().body.toString())).toEqual({ model: 'own-model', input: '' });
  });

  it('asks an OpenAI stream for its usage, and changes nothing else', async () => {
    const sent = ask({ stream: true, stream_options: { other: 1 } });
    await (await post(gateway, CHAT, 'include', sent)).text();
    const options = { other: 1, include_usage: true };
    expect(JSON.parse(last().body.toString())).toEqual({ ...sent, stream_options: options });

    const asked = '{"stream":true, "stream_options":{"include_usage":true}}';
    await (await post(gateway, CHAT, 'include', asked)).text();
    expect(last().body.toString()).toBe(asked);
    const anthropic = '{"stream":true, "max_tokens":1}';
    await (await post(gateway, MESSAGES, 'include', anthropic)).text();
    expect(last().body.toString()).toBe(anthropic);
  });

  it('passes what is not JSON through, both ways', async () => {
    const bytes = Uint8Array.from({ length: 300_000 }, (_, n) => n % 251);
    upstream.answers.echo = (res, seen) => {
      res.setHeader('content-type', 'audio/mpeg');
      res.end(seen.body);
    };
    const headers = { 'content-type': 'application/octet-stream' };
    const answer = await post(gateway, '/v1/files?answer=echo', 'upload', bytes, { headers });
    expect(answer.headers.get('content-type')).toBe('audio/mpeg');
    expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
  });

  it('passes a stream through byte by byte, as it comes', async () => {
    const text =
      ': hello\r\n\r\ndata: {"choices":[{"delta":{"content":"\u{1f600}é"}}],"usage":null}\r\n\r\n' +
      'data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":2}}\r\n\r\ndata: [DONE]\r\n\r\n';
    const bytes = Buffer.from(text);
    let release = () => {};
    const held = new Promise<void>(resolve => {
      release = resolve;
    });
    upstream.answers.bytes = async res => {
      res.writeHead(200, { 'content-type': 'text/event-stream', 'x-request-id': 'r1' });
      res.write(bytes.subarray(0, 20));
      await held;
      for (let at = 20; at < bytes.length; at += 3) res.write(bytes.subarray(at, at + 3));
      res.end();
    };
    const answer = await post(gateway, `${CHAT}?answer=bytes`, 'bytes', ask({ stream: true }));
    expect(answer.headers.get('x-request-id')).toBe('r1');
    const received: Uint8Array[] = [];
    for await (const chunk of answer.body ?? []) {
      received.push(chunk);
      release();
    }
    expect(received[0]?.length).toBeLessThanOrEqual(20);
    expect(Buffer.concat(received).equals(bytes)).toBe(true);
    await expectRecorded(gateway, 'bytes', 42);
  });

  it('passes an error of the upstream on and records nothing', async () => {
    upstream.answers.error = res => {
      res.writeHead(429, { 'content-type': 'application/json', 'retry-after': '7' });
      res.end('{"error":{"message":"slow down"},"usage":{"total_tokens":9}}');
    };
    const answer = await post(gateway, `${CHAT}?answer=error`, 'error', ask());
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('7');
    expect(await answer.json()).toMatchObject({ error: { message: 'slow down' } });
    await sleep(200);
    expect((await gateway.stored('error')).total_lifetime_tokens).toBe(0);
  });

  it('400 for a body that is not a JSON object, without asking the upstream', async () => {
    const before = upstream.seen.length;
    const notUtf8 = Buffer.from('{"a":"\xff"}', 'latin1');
    for (const body of ['{"model":', '', '[]', '"text"', notUtf8]) {
      const openai = await post(gateway, CHAT, 'error', body);
      expect(openai.status).toBe(400);
      expect(await openai.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
      const anthropic = await post(gateway, MESSAGES, 'error', body);
      expect(anthropic.status).toBe(400);
      expect(await anthropic.json()).toMatchObject({ type: 'error' });
    }
    expect((await post(gateway, '/v1/embeddings', 'error', '{')).status).toBe(400);
    expect(upstream.seen.length).toBe(before);
  });

  it('passes a redirect on, and what the upstream compresses all the same as plain text', async () => {
    upstream.answers.redirect = res => void res.writeHead(302, { location: '/elsewhere' }).end();
    const init: RequestInit = { headers: { 'x-api-key': 'error' }, redirect: 'manual' };
    const redirect = await fetch(`${gateway.url}/v1/files?answer=redirect`, init);
    expect(redirect.status).toBe(302);
    expect(redirect.headers.get('location')).toBe('/elsewhere');

    upstream.answers.gzip = res => {
      res.writeHead(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' });
      res.end(gzipSync('plain text'));
    };
    const plain = await fetch(`${gateway.url}/v1/files?answer=gzip`, init);
    expect(await plain.text()).toBe('plain text');
  });

  it('a client that does not wait for the answer ends the upstream request', async () => {
    let closed = false;
    upstream.answers.silent = res =>
      void res.on('close', () => {
        closed = true;
      });
    const leave = new AbortController();
    const { signal } = leave;
    const answer = post(gateway, `${CHAT}?answer=silent`, 'error', ask(), { signal });
    const before = upstream.seen.length;
    await eventually(() => expect(upstream.seen.length).toBe(before + 1));
    leave.abort();
    await answer.catch(() => {});
    await eventually(() => expect(closed).toBe(true));
  });

  const begin = 'data: {"message":{"usage":{"input_tokens":20,"output_tokens":1}}}\n\n';

  it('a client that goes away ends the upstream request; what is known is recorded', async () => {
    let closed = false;
    upstream.answers.endless = res => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(begin);
      const more = setInterval(() => res.write(': still here\n\n'), 20);
      res.on('close', () => {
        clearInterval(more);
        closed = true;
      });
    };
    const leave = new AbortController();
    const body = ask({ stream: true });
    const path = `${MESSAGES}?answer=endless`;
    const answer = await post(gateway, path, 'gone', body, { signal: leave.signal });
    await answer.body?.getReader().read();
    leave.abort();
    await eventually(() => expect(closed).toBe(true));
    await expectRecorded(gateway, 'gone', 21);
  });

  it('an upstream that breaks off breaks the answer off; what is known is recorded', async () => {
    upstream.answers.cut = async res => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(begin);
      await sleep(100);
      res.destroy();
    };
    const answer = await post(gateway, `${MESSAGES}?answer=cut`, 'cut', ask({ stream: true }));
    const outcome = await answer.text().then(
      text => text,
      () => 'broken off',
    );
    expect(outcome).toBe('broken off');
    await expectRecorded(gateway, 'cut', 21);
  });

  it('50 clients with 10 requests each: all answered, every token recorded', async () => {
    upstream.answers.count = (res, seen) => {
      const total_tokens = JSON.parse(seen.body.toString()).tokens;
      res.setHeader('content-type', 'application/json');
      res.end(JSON.stringify({ usage: { total_tokens } }));
    };
    const sums = new Map<string, number>();
    const client = async (id: number) => {
      for (let n = 0; n < 10; n++) {
        const key = `many-${(id + n) % 10}`;
        const tokens = id * 10 + n + 1;
        sums.set(key, (sums.get(key) ?? 0) + tokens);
        const answer = await post(gateway, `${CHAT}?answer=count`, key, { tokens });
        expect(answer.status).toBe(200);
        expect(await answer.json()).toEqual({ usage: { total_tokens: tokens } });
      }
    };
    await Promise.all(Array.from({ length: 50 }, (_, id) => client(id)));
    for (const [key, sum] of sums) await expectRecorded(gateway, key, sum);
  });

  it('a file that can not be written does not hurt the client', async () => {
    await (await post(gateway, CHAT, 'broken', ask())).text();
    await expectRecorded(gateway, 'broken', 5);
    const good = await readFile(gateway.file);
    await writeFile(gateway.file, good.subarray(0, good.length / 2));
    const answer = await post(gateway, CHAT, 'broken', ask());
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain('total_tokens');
    await eventually(() => expect(gateway.log()).toContain('could not record 5 tokens'));
    await writeFile(gateway.file, good);
  });
});
