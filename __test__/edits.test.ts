/** the contract: 'A miss is answered from the file as it is now' and what the table at the end says on edits of the file,
 * revoked keys and read errors. */
import { mkdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  captureLog,
  cleanUp,
  clock,
  evaluate,
  inFile,
  open,
  PACKAGE,
  rejection,
  sampleKey,
  save,
  sleep,
  start,
} from './helpers.ts';

afterEach(cleanUp);

const AT_ONCE = { CACHE_REVALIDATE_MS: '0' };
const NEVER = { CACHE_REVALIDATE_MS: '3600000' };

const ways: [string, (file: string, keys: ReturnType<typeof sampleKey>[]) => void][] = [
  ['written in place', save],
  [
    'renamed over',
    (file, keys) => {
      save(`${file}.new`, keys);
      renameSync(`${file}.new`, file);
    },
  ],
  [
    'removed and made anew',
    (file, keys) => {
      rmSync(file);
      save(file, keys);
    },
  ],
];

describe.each(ways)('an edit, %s,', (_, edit) => {
  it('is seen at once with CACHE_REVALIDATE_MS=0', async () => {
    const { findApiKey, file } = await open([sampleKey('a'), sampleKey('revoked')], AT_ONCE);
    await findApiKey('a');
    await findApiKey('revoked');
    await findApiKey('added');
    edit(file, [sampleKey('a', { name: 'new' }), sampleKey('added')]);
    expect((await findApiKey('a'))?.name).toBe('new');
    expect(await findApiKey('revoked')).toBeNull();
    expect((await findApiKey('added'))?.key).toBe('added');
  });

  it('is seen once CACHE_REVALIDATE_MS has passed', async () => {
    const time = clock();
    const settings = { CACHE_REVALIDATE_MS: '70000' };
    const { findApiKey, file } = await open([sampleKey('a'), sampleKey('revoked')], settings);
    await findApiKey('a');
    await findApiKey('revoked');
    await findApiKey('added');
    edit(file, [sampleKey('a', { name: 'new' }), sampleKey('added')]);
    time.advance(70001);
    expect((await findApiKey('a'))?.name).toBe('new');
    expect(await findApiKey('revoked')).toBeNull();
    expect((await findApiKey('added'))?.key).toBe('added');
  });

  it('is seen by a miss however long CACHE_REVALIDATE_MS is', async () => {
    const { findApiKey, file } = await open([sampleKey('a'), sampleKey('revoked')], NEVER);
    await findApiKey('a');
    edit(file, [sampleKey('a', { name: 'new' }), sampleKey('added')]);
    expect((await findApiKey('added'))?.key).toBe('added');
    expect(await findApiKey('revoked')).toBeNull();
  });
});

describe('an edit', () => {
  it('is seen within 1000 ms by default', async () => {
    const time = clock();
    const { findApiKey, file } = await open([sampleKey('revoked')]);
    await findApiKey('revoked');
    save(file, []);
    time.advance(1001);
    expect(await findApiKey('revoked')).toBeNull();
  });

  it('is seen while a key is asked for again and again', async () => {
    const { findApiKey, file } = await open([sampleKey('revoked')], { CACHE_REVALIDATE_MS: '50' });
    for (let n = 0; n < 100; n += 1) await findApiKey('revoked');
    save(file, []);
    let tries = 0;
    while ((await findApiKey('revoked')) && tries < 400) {
      tries += 1;
      await sleep(5);
    }
    expect(await findApiKey('revoked')).toBeNull();
  });

  it('of the same length is seen, even when its modification time is put back', async () => {
    const { findApiKey, file } = await open([sampleKey('a', { name: 'one' })], AT_ONCE);
    await findApiKey('a');
    for (const name of ['two', 'six', 'ten']) {
      const { atime, mtime } = statSync(file);
      save(file, [sampleKey('a', { name })]);
      utimesSync(file, atime, mtime);
      expect((await findApiKey('a'))?.name).toBe(name);
    }
  });

  it('leaves the entries alone that it did not touch: they stay the same objects', async () => {
    const { findApiKey, cacheStats, file } = await open([sampleKey('a'), sampleKey('b')], AT_ONCE);
    await findApiKey('a');
    const hit = await findApiKey('a');
    await findApiKey('b');
    save(file, [sampleKey('new'), sampleKey('b', { name: 'changed' }), sampleKey('a')]);
    expect((await findApiKey('b'))?.name).toBe('changed');
    expect(await findApiKey('a')).toBe(hit);
    expect((await cacheStats()).misses).toBe(2);
  });

  it('that removes the file leaves no key, one that makes it brings them', async () => {
    const { findApiKey, readApiKeys, file } = await open([sampleKey('a')], AT_ONCE);
    await findApiKey('a');
    rmSync(file);
    expect(await findApiKey('a')).toBeNull();
    expect(await readApiKeys()).toEqual({ keys: [] });
    save(file, [sampleKey('a')]);
    expect((await findApiKey('a'))?.key).toBe('a');
  });

  it('that swaps the order of two entries with the same key is seen', async () => {
    const one = sampleKey('twice', { name: 'one' });
    const two = sampleKey('twice', { name: 'two' });
    const { findApiKey, file } = await open([one, two], AT_ONCE);
    await findApiKey('twice');
    save(file, [two, one]);
    expect((await findApiKey('twice'))?.name).toBe('two');
  });

  it('that revokes a key is not undone by lookups that began before it', async () => {
    const filler = Array.from({ length: 500 }, (_, n) => sampleKey(`filler-${n}`));
    const { findApiKey, file } = await open([...filler, sampleKey('revoked')], AT_ONCE);
    for (let round = 0; round < 20; round += 1) {
      save(file, [...filler, sampleKey('revoked', { round })]);
      const early = Array.from({ length: 10 }, () => findApiKey('revoked'));
      save(`${file}.new`, filler);
      renameSync(`${file}.new`, file);
      await Promise.all(early);
      expect(await findApiKey('revoked')).toBeNull();
    }
  });
});

const faults: [string, string, (file: string) => void][] = [
  ['half-saved', 'EDATA', file => save(file, '{ "keys": [{ "key": "a", "na')],
  ['emptied', 'EDATA', file => save(file, '')],
  [
    'a folder',
    'EISDIR',
    file => {
      rmSync(file);
      mkdirSync(file);
    },
  ],
  [
    'a symlink to itself',
    'ELOOP',
    file => {
      rmSync(file);
      symlinkSync(file, file);
    },
  ],
];

describe.each(faults)('while the file is %s', (_, code, spoil) => {
  it('its last good state answers, nothing is cached, and one line is logged', async () => {
    const lines = captureLog();
    const ledger = await open([sampleKey('a'), sampleKey('b')], AT_ONCE);
    await ledger.findApiKey('a');
    spoil(ledger.file);
    for (let n = 0; n < 3; n += 1) {
      expect(await ledger.findApiKey('a')).toEqual(sampleKey('a'));
      expect(await ledger.findApiKey('b')).toEqual(sampleKey('b'));
      expect(await ledger.findApiKey('unknown')).toBeNull();
    }
    expect(ledger.apiKeyCache.has('b')).toBe(false);
    expect(ledger.apiKeyCache.has('unknown')).toBe(false);
    expect(lines.length).toBe(1);
    expect(lines[0]).toMatch(/^\[cache\] /);
    expect(lines[0]).toContain(ledger.file);
  });

  it('readApiKeys and updates reject, and once it is mended all goes on', async () => {
    captureLog();
    const ledger = await open([sampleKey('a')], AT_ONCE);
    await ledger.findApiKey('a');
    spoil(ledger.file);
    const calls = [ledger.readApiKeys(), ledger.updateApiKeyUsage('a', 5, 'model')];
    for (const error of await Promise.all(calls.map(rejection))) {
      expect(error.code).toBe(code);
      expect(error.message).toContain(ledger.file);
    }
    rmSync(ledger.file, { recursive: true });
    save(ledger.file, [sampleKey('a', { total_lifetime_tokens: 100 }), sampleKey('c')]);
    expect((await ledger.findApiKey('c'))?.key).toBe('c');
    await ledger.updateApiKeyUsage('a', 5, 'model');
    expect((await ledger.readApiKeys()).keys[0]?.total_lifetime_tokens).toBe(105);
    expect((await ledger.findApiKey('a'))?.total_lifetime_tokens).toBe(105);
  });

  it('a lookup rejects when no good state was ever read, and nothing is cached', async () => {
    captureLog();
    const ledger = await open([], AT_ONCE);
    spoil(ledger.file);
    expect((await rejection(ledger.findApiKey('a'))).code).toBe(code);
    expect((await rejection(ledger.getKeyStats('a'))).code).toBe(code);
    expect(ledger.apiKeyCache.has('a')).toBe(false);
    rmSync(ledger.file, { recursive: true });
    save(ledger.file, [sampleKey('a')]);
    expect((await ledger.findApiKey('a'))?.key).toBe('a');
  });

  it('a lookup of what was put into the cache is answered, even when no good state was ever read', async () => {
    captureLog();
    const ledger = await open([], AT_ONCE);
    spoil(ledger.file);
    ledger.apiKeyCache.set('a', sampleKey('a', { name: 'cached' }));
    ledger.apiKeyCache.set('unknown', null);
    for (let n = 0; n < 3; n += 1) {
      expect((await ledger.findApiKey('a'))?.name).toBe('cached');
      expect(await ledger.findApiKey('unknown')).toBeNull();
    }
    expect((await rejection(ledger.findApiKey('b'))).code).toBe(code);
    expect(await ledger.cacheStats()).toMatchObject({ hits: 6, misses: 1 });
  });
});

it('each new fault of the file is logged once, and so is the same one when it comes back', async () => {
  const lines = captureLog();
  const { findApiKey, file } = await open([sampleKey('a')], AT_ONCE);
  await findApiKey('a');
  for (const content of ['{', '{ "keys": 5 }', null, '{'] as const) {
    save(file, content ?? [sampleKey('a')]);
    await findApiKey('a');
    await findApiKey('a');
  }
  expect(lines.length).toBe(3);
});

it('while no file can be opened (EMFILE) the last good state answers, and updates reject', async () => {
  const { file } = await open([sampleKey('a')]);
  const code = `
    import * as ledger from ${JSON.stringify(PACKAGE)};
    import { closeSync, openSync, utimesSync } from 'node:fs';
    const { findApiKey, updateApiKeyUsage, apiKeyCache } = ledger;
    const said = [];
    console.log = (...words) => said.push(words.join(' '));
    await updateApiKeyUsage('a', 1, 'model');
    const opened = [];
    try { for (;;) opened.push(openSync('/dev/null')); } catch {}
    utimesSync(process.env.DATA_FILE, 1, 1);
    const found = [await findApiKey('a'), await findApiKey('unknown'), apiKeyCache.has('unknown')];
    const error = await updateApiKeyUsage('a', 10, 'model').catch(error => error.code);
    for (const one of opened) closeSync(one);
    await updateApiKeyUsage('a', 100, 'model');
    const logged = said.filter(line => line.includes('EMFILE')).length;
    console.info(JSON.stringify([found[0].total_lifetime_tokens, found[1], found[2], error, logged]));
    process.exit(0);
  `;
  const args = ['-c', 'ulimit -n 128; exec "$0" "$@"', process.execPath, ...evaluate(code)];
  const settings = { DATA_FILE: file, CACHE_REVALIDATE_MS: '0' };
  const { stdout, stderr } = await start('sh', args, settings).ended;
  expect({ stdout, stderr }).toMatchObject({ stdout: '[1,null,false,"EMFILE",1]\n' });
  expect(inFile(file, 'a').total_lifetime_tokens).toBe(101);
});

it('a file that somebody is still writing is not waited for: what was last read answers', async () => {
  // To read it takes longer than a tick of the clock by which the system stamps files.
  const filler = { filler: 'x'.repeat(60_000_000) };
  const lines = captureLog();
  const { findApiKey, updateApiKeyUsage, file } = await open([sampleKey('a', filler)], {
    ...AT_ONCE,
    LOCK_TIMEOUT_MS: '200',
  });
  await findApiKey('a');
  const writer = start(
    process.execPath,
    evaluate(`
      import { openSync, writeSync } from 'node:fs';
      const file = openSync(process.env.FILE, 'r+');
      writeSync(file, '{', 0);
      console.log('writing');
      for (;;) writeSync(file, '{', 0);
    `),
    { FILE: file },
  );
  await writer.prints('writing');
  expect((await findApiKey('a'))?.key).toBe('a');
  expect(lines.join()).toContain('somebody is writing it');
  // An update waits for as long as for a lock.
  expect((await rejection(updateApiKeyUsage('a', 5, 'model'))).code).toBe('ELOCKED');
  writer.kill('SIGKILL');
  await writer.ended;
  await updateApiKeyUsage('a', 7, 'model');
  expect(inFile(file, 'a').total_lifetime_tokens).toBe(7);
});
