/** the contract: 'Recording usage' and `writeApiKeys`, how the file is replaced; the rows of the table at the end on
 * concurrent updates, the mode and the symlink, and what survives. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  captureLog,
  cleanUp,
  clock,
  type Env,
  evaluate,
  inFile,
  leftovers,
  open,
  PACKAGE,
  parsed,
  print,
  rejection,
  sampleKey,
  save,
  script,
  sleep,
  start,
  tempFolder,
} from './helpers.ts';

afterEach(cleanUp);

describe('updates at the same time', () => {
  it('100 of one key are all recorded', async () => {
    const { updateApiKeyUsage, findApiKey, file } = await open([sampleKey('known')]);
    await Promise.all(
      Array.from({ length: 100 }, (_, n) => updateApiKeyUsage('known', n + 1, 'model')),
    );
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5050);
    expect(inFile(file, 'known').usage_windows.map(window => window.tokens_used)).toEqual([5050]);
    expect((await findApiKey('known'))?.total_lifetime_tokens).toBe(5050);
  });

  it('1000 of 50 keys, in waves, are all recorded', async () => {
    const keys = Array.from({ length: 50 }, (_, n) => sampleKey(`key-${n}`));
    const { updateApiKeyUsage, file } = await open(keys);
    const pending = [];
    for (let n = 0; n < 1000; n += 1) {
      pending.push(updateApiKeyUsage(`key-${n % 50}`, 3, 'model'));
      if (n % 100 === 99) await sleep(1);
    }
    await Promise.all(pending);
    expect(parsed(file).keys.map(entry => entry.total_lifetime_tokens)).toEqual(keys.map(() => 60));
  });

  it('of 1000 cold keys, each looked up first, are all recorded and none fails', async () => {
    const keys = Array.from({ length: 1000 }, (_, n) => sampleKey(`key-${n}`));
    const { findApiKey, updateApiKeyUsage, file } = await open(keys, { CACHE_MAX_SIZE: '100' });
    const request = async ({ key }: { key: string }) => {
      expect((await findApiKey(key))?.key).toBe(key);
      await updateApiKeyUsage(key, 9, 'model');
    };
    await Promise.all(keys.map(request));
    expect(parsed(file).keys.map(entry => entry.total_lifetime_tokens)).toEqual(keys.map(() => 9));
  });

  it('made in the same tick are one batch: they share its promise', async () => {
    const { updateApiKeyUsage } = await open([sampleKey('a'), sampleKey('b')]);
    const first = updateApiKeyUsage('a', 1, 'model');
    expect(updateApiKeyUsage('a', 2, 'model')).toBe(first);
    expect(updateApiKeyUsage('b', 3, 'model')).toBe(first);
    expect(updateApiKeyUsage('unknown', 4, 'model')).toBe(first);
    await first;
    const next = updateApiKeyUsage('a', 1, 'model');
    expect(next).not.toBe(first);
    await next;
  });

  it('100 need at most two commits', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('known')]);
    const commits = new Set<bigint>();
    const looked = Array.from({ length: 100 }, async () => {
      await updateApiKeyUsage('known', 1, 'model');
      commits.add(statSync(file, { bigint: true }).ctimeNs);
    });
    await Promise.all(looked);
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(100);
    expect(commits.size).toBeLessThanOrEqual(2);
  });

  it('each count with the time of their own call', async () => {
    const time = clock('2025-06-15T12:00:00.000Z');
    const { updateApiKeyUsage, file } = await open([sampleKey('a'), sampleKey('b')]);
    const pending = [updateApiKeyUsage('a', 1, 'model'), updateApiKeyUsage('b', 2, 'model')];
    time.advance(6 * 3600 * 1000);
    pending.push(updateApiKeyUsage('b', 4, 'model'));
    await Promise.all(pending);
    const early = { window_start: '2025-06-15T12:00:00.000Z', tokens_used: 1 };
    const late = { window_start: '2025-06-15T18:00:00.000Z', tokens_used: 4 };
    expect(inFile(file, 'a')).toMatchObject({
      last_used: early.window_start,
      usage_windows: [early],
    });
    expect(inFile(file, 'b')).toMatchObject({
      last_used: late.window_start,
      usage_windows: [late],
    });
    expect(inFile(file, 'b').total_lifetime_tokens).toBe(6);
  });

  it('that fail all reject with the same error, and nothing of them is ever written', async () => {
    captureLog();
    const { updateApiKeyUsage, file } = await open('{ "keys": [');
    const pending = [1, 2, 3].map(tokens => rejection(updateApiKeyUsage('known', tokens, 'model')));
    const [first, ...others] = await Promise.all(pending);
    expect(first?.code).toBe('EDATA');
    for (const other of others) expect(other).toBe(first as never);
    expect(readFileSync(file, 'utf8')).toBe('{ "keys": [');
    save(file, [sampleKey('known')]);
    await updateApiKeyUsage('known', 10, 'model');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(10);
  });

  it('and lookups of the same keys go together', async () => {
    const { updateApiKeyUsage, findApiKey, file } = await open([sampleKey('known')]);
    let seen = 0;
    for (let n = 1; n <= 50; n += 1) {
      const pending = updateApiKeyUsage('known', 1, 'model');
      const now = (await findApiKey('known'))?.total_lifetime_tokens ?? -1;
      expect(now).toBeGreaterThanOrEqual(seen);
      seen = now;
      await pending;
      expect((await findApiKey('known'))?.total_lifetime_tokens).toBe(n);
    }
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(50);
  });
});

describe('writeApiKeys', () => {
  it('replaces the file by what JSON.stringify(data, null, 2) prints, without a final newline', async () => {
    const { writeApiKeys, findApiKey, file } = await open('{"keys":[{"key":"old"}],"gone":1}\n');
    expect((await findApiKey('old'))?.key).toBe('old');
    const data = {
      first: 'é\ud800\u2028',
      keys: [sampleKey('new', { n: [1e21, -0, 1e-7], f: undefined })],
      last: {},
    };
    await writeApiKeys(data);
    expect(readFileSync(file, 'utf8')).toBe(print(data));
  });

  it('is seen by lookups at once', async () => {
    const settings = { CACHE_REVALIDATE_MS: '3600000' };
    const { writeApiKeys, findApiKey, readApiKeys, file } = await open(
      [sampleKey('old')],
      settings,
    );
    await findApiKey('old');
    await findApiKey('new');
    await writeApiKeys({ keys: [sampleKey('new')] });
    expect(await findApiKey('old')).toBeNull();
    expect(await findApiKey('new')).toEqual(sampleKey('new'));
    expect(await readApiKeys()).toEqual({ keys: [sampleKey('new')] });
    expect(leftovers(file)).toEqual([]);
  });

  it('takes the data as it is at the call', async () => {
    const { writeApiKeys, file } = await open([]);
    const data = { keys: [sampleKey('a')] };
    const pending = writeApiKeys(data);
    data.keys.push(sampleKey('b'));
    await pending;
    expect(parsed(file).keys.length).toBe(1);
  });

  it('leaves the file alone when the data cannot be printed', async () => {
    const { writeApiKeys, file } = await open([sampleKey('a')]);
    const circle: Record<string, unknown> = { keys: [] };
    circle.self = circle;
    await rejection(writeApiKeys(circle as never));
    await rejection(writeApiKeys({ keys: [{ ...sampleKey('b'), big: 1n }] } as never));
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('a')] }));
    expect(leftovers(file)).toEqual([]);
  });
});

describe('a new file', () => {
  it('has mode 0600', async () => {
    const { writeApiKeys, file } = await open();
    await writeApiKeys({ keys: [] });
    expect(statSync(file).mode & 0o7777).toBe(0o600);
  });
});

describe.each(['updateApiKeyUsage', 'writeApiKeys'] as const)('a replacement by %s', name => {
  const change = (ledger: Awaited<ReturnType<typeof open>>) =>
    name === 'writeApiKeys'
      ? ledger.writeApiKeys({ keys: [sampleKey('known', { total_lifetime_tokens: 5 })] })
      : ledger.updateApiKeyUsage('known', 5, 'model');

  it.each([0o600, 0o640, 0o644, 0o666, 0o400])('keeps mode %o', async mode => {
    const ledger = await open([sampleKey('known')]);
    chmodSync(ledger.file, mode);
    await change(ledger);
    expect(inFile(ledger.file, 'known').total_lifetime_tokens).toBe(5);
    expect(statSync(ledger.file).mode & 0o7777).toBe(mode);
  });

  it.skipIf(process.getuid?.() !== 0)('keeps the owner', async () => {
    const ledger = await open([sampleKey('known')]);
    chownSync(ledger.file, 12345, 54321);
    chmodSync(ledger.file, 0o640);
    await change(ledger);
    expect(inFile(ledger.file, 'known').total_lifetime_tokens).toBe(5);
    expect(statSync(ledger.file)).toMatchObject({ uid: 12345, gid: 54321 });
    expect(statSync(ledger.file).mode & 0o7777).toBe(0o640);
  });

  it('keeps a symlink and replaces what it points to', async () => {
    const target = join(tempFolder(), 'real.json');
    save(target, [sampleKey('known')]);
    const ledger = await open();
    symlinkSync(target, ledger.file);
    await change(ledger);
    expect(lstatSync(ledger.file).isSymbolicLink()).toBe(true);
    expect(readlinkSync(ledger.file)).toBe(target);
    expect(lstatSync(target).isFile()).toBe(true);
    expect(inFile(target, 'known').total_lifetime_tokens).toBe(5);
    expect(leftovers(ledger.file)).toEqual([]);
    expect(leftovers(target)).toEqual([]);
  });

  it('is a new file under the old name, and leaves nothing else in the folder', async () => {
    const ledger = await open([sampleKey('known')]);
    const before = statSync(ledger.file).ino;
    await change(ledger);
    expect(statSync(ledger.file).ino).not.toBe(before);
    expect(leftovers(ledger.file)).toEqual([]);
  });

  it('is written under a name that cannot be guessed', async () => {
    const ledger = await open([sampleKey('known')]);
    await change(ledger);
    const seen = new Set<string>();
    const watcher = watch(dirname(ledger.file), (_, entry) => seen.add(String(entry)));
    for (let n = 0; n < 5; n += 1) await change(ledger);
    await sleep(100);
    watcher.close();
    const names = [...seen].filter(
      entry => !/^apikeys\.json(\.lock|\.lock\.next|\.flock)?$/.test(entry),
    );
    expect(names.length).toBe(5);
    for (const entry of names) expect(entry.replace('apikeys.json', '').length).toBeGreaterThan(8);
  });

  it('is never seen half done', async () => {
    const ledger = await open([sampleKey('known', { filler: 'x'.repeat(200000) })]);
    const reader = script(
      `import { readFileSync } from 'node:fs';
       let reads = 0;
       setTimeout(() => { console.log('reads', reads); process.exit(0); }, 400);
       console.log('ready');
       setInterval(() => { for (let n = 0; n < 10; n++) { JSON.parse(readFileSync(process.env.SEEN, 'utf8')); reads++; } }, 0);`,
      { SEEN: ledger.file, DATA_FILE: join(tempFolder(), 'other.json') },
    );
    await reader.prints('ready');
    for (let n = 0; n < 40; n += 1) {
      await change(ledger);
      await sleep(4);
    }
    expect(await reader.ended).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('a replacement that the system refuses', () => {
  it('rejects with its code and the path, changes nothing and leaves nothing behind', async () => {
    const { file } = await open([sampleKey('known', { filler: 'x'.repeat(100000) })]);
    const before = readFileSync(file, 'utf8');
    const code = `
      import * as ledger from ${JSON.stringify(PACKAGE)};
      const { keys } = await ledger.readApiKeys();
      for (const call of [
        () => ledger.updateApiKeyUsage('known', 5, 'model'),
        () => ledger.writeApiKeys({ keys: [...keys, ...keys] }),
      ])
        await call().catch(error => console.log(error.code, error.message.includes(process.env.DATA_FILE)));
      const found = await ledger.findApiKey('known');
      console.log(found.total_lifetime_tokens);
      process.exit(0);
    `;
    const limited = `trap '' XFSZ; ulimit -f 16; exec "$0" "$@"`;
    const args = ['-c', limited, process.execPath, ...evaluate(code)];
    const { stdout, stderr } = await start('sh', args, { DATA_FILE: file }).ended;
    expect({ stdout, stderr }).toMatchObject({ stdout: 'EFBIG true\nEFBIG true\n0\n' });
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(leftovers(file)).toEqual([]);
  });
});

describe('an update that resolved', () => {
  it('survives a SIGKILL right after', async () => {
    const { file } = await open([sampleKey('known')]);
    const code = `
      await ledger.updateApiKeyUsage('known', 5, 'model');
      process.kill(process.pid, 'SIGKILL');
      await new Promise(() => setInterval(() => {}, 1000));
    `;
    expect((await script(code, { DATA_FILE: file }).ended).signal).toBe('SIGKILL');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
    expect(existsSync(`${file}.lock`)).toBe(false);
  });

  const traces = spawnSync('strace', ['true']).status === 0;
  it.skipIf(!traces)(
    'was synced before the rename, and the folder after it',
    async () => {
      const calls = await trace({});
      const [created, synced, renamed, folder] = calls;
      expect(created).toMatch(/O_CREAT/);
      expect(created).toMatch(/O_EXCL/);
      expect(synced).toMatch(/^f(data)?sync/);
      expect(renamed).toMatch(/^rename/);
      expect(folder).toMatch(/^f(data)?sync/);
    },
    20000,
  );

  it.skipIf(!traces).each([
    ['DATA_FSYNC=false', { DATA_FSYNC: 'false' }, 'ledger'],
    [
      'the option fsync',
      {},
      'ledger.createLedger({ dataFile: process.env.DATA_FILE, fsync: false })',
    ],
  ])(
    'was not synced with %s',
    async (_, settings, ledger) => {
      const calls = await trace(settings, ledger);
      expect(calls.filter(call => /^f(data)?sync/.test(call))).toEqual([]);
      expect(calls.filter(call => /^rename/.test(call)).length).toBe(1);
    },
    20000,
  );
});

/** The system calls of one update that create the temporary file, sync and rename, in order. */
async function trace(settings: Env, ledger = 'ledger'): Promise<string[]> {
  const { file } = await open([sampleKey('known')]);
  // Made once, by a rename of its own.
  writeFileSync(`${file}.flock`, '');
  await sleep(30);
  const folder = tempFolder();
  const log = join(folder, 'trace');
  const code = `
    import * as ledger from ${JSON.stringify(PACKAGE)};
    await ${ledger}.updateApiKeyUsage('known', 5, 'model');
    process.exit(0);
  `;
  const filter = 'trace=openat,fsync,fdatasync,rename,renameat,renameat2';
  const args = [
    '-f',
    '-qq',
    '-e',
    filter,
    '-e',
    'signal=none',
    '-o',
    log,
    process.execPath,
    ...evaluate(code),
  ];
  const { code: status, stderr } = await start('strace', args, { DATA_FILE: file, ...settings })
    .ended;
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
  return (
    readFileSync(log, 'utf8')
      .split('\n')
      .map(line => line.replace(/^\d+\s+/, ''))
      // The lock's own files are another matter.
      .filter(line => !line.includes(`${file}.`))
      .filter(
        line =>
          /^(f(data)?sync|rename)/.test(line) ||
          (line.includes('O_EXCL') && line.includes(dirname(file))),
      )
  );
}
