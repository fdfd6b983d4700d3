import { mkdir, readFile, rmdir, stat } from 'node:fs/promises';
import { afterAll, describe, expect } from 'vitest';
import type { ApiKey, ApiKeysData } from '../index.js';
import {
  apiKey,
  ask,
  CHAT,
  cleanUp,
  events,
  eventually,
  expectRecorded,
  it,
  post,
  startGateway,
  TIMEOUT_MS,
} from './gateway-harness.ts';

afterAll(cleanUp, TIMEOUT_MS);

describe('recording usage', () => {
  it('never makes the client wait, whoever has the lock', async () => {
    const gateway = await startGateway([apiKey('json'), apiKey('stream')], {
      LOCK_TIMEOUT_MS: '60000',
    });
    const lock = `${gateway.file}.lock`;
    await mkdir(lock);
    const { ino } = await stat(lock);

    const json = await post(gateway, CHAT, 'json', ask());
    expect(await json.json()).toMatchObject({ usage: { total_tokens: 8 } });
    const stream = await post(gateway, CHAT, 'stream', ask({ stream: true }));
    const text = await stream.text();
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(events(text).at(-1)).toMatchObject({ usage: { total_tokens: 8 } });

    expect((await stat(lock)).ino).toBe(ino);
    for (const key of ['json', 'stream'])
      expect((await gateway.stored(key)).total_lifetime_tokens).toBe(0);
    await rmdir(lock);
    for (const key of ['json', 'stream']) await expectRecorded(gateway, key, 8);
  });

  it('of 1000 keys that were never asked for before, 50 at a time, records each exactly', async () => {
    const keys = Array.from({ length: 1000 }, (_, n) => `key-${n}`);
    const gateway = await startGateway(keys.map(key => apiKey(key)));
    const failed: number[] = [];
    const left = [...keys];
    const client = async () => {
      for (let key = left.pop(); key; key = left.pop()) {
        const answer = await post(gateway, CHAT, key, ask());
        await answer.text();
        if (!answer.ok) failed.push(answer.status);
      }
    };
    await Promise.all(Array.from({ length: 50 }, client));
    expect(failed).toEqual([]);
    await eventually(async () => {
      const stored = JSON.parse(await readFile(gateway.file, 'utf8')) as ApiKeysData;
      const used = (record: ApiKey) => [
        record.key,
        record.total_lifetime_tokens,
        record.usage_windows.map(window => window.tokens_used),
      ];
      expect(stored.keys.map(used)).toEqual(keys.map(key => [key, 8, [8]]));
    });
  });
});
