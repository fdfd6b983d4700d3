/** the contract: the row of the table at the end on read errors: no update overwrites a file that could not be read.
 * Where the fault is, faults that come and go between updates, and `withLock`. See also `files.test.ts`, `edits.test.ts`. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  captureLog,
  cleanUp,
  inFile,
  type Ledger,
  leftovers,
  open,
  parsed,
  print,
  rejection,
  sampleKey,
  save,
  script,
} from './helpers.ts';

beforeEach(() => {
  captureLog();
});
afterEach(cleanUp);

const AT_ONCE = { CACHE_REVALIDATE_MS: '0' };
const KEYS = ['a', 'b', 'c'].map(key => sampleKey(key));
const whole = print({ keys: KEYS });

/** A way of writing that builds on what the file holds. */
const WRITES: [string, (ledger: Ledger) => Promise<unknown>][] = [
  ['an update', ({ updateApiKeyUsage }) => updateApiKeyUsage('a', 5, 'model')],
  ['an update of an unknown key', ({ updateApiKeyUsage }) => updateApiKeyUsage('x', 5, 'model')],
  [
    'a batch of updates',
    ({ updateApiKeyUsage }) =>
      Promise.all(['a', 'b', 'x', 'a'].map(key => updateApiKeyUsage(key, 5, 'model'))),
  ],
  [
    'withLock(read, change, write)',
    ({ withLock, readApiKeys, writeApiKeys }) =>
      withLock(async () => {
        const { keys } = await readApiKeys();
        await writeApiKeys({ keys: [...keys, sampleKey('d')] });
      }),
  ],
  [
    'an update inside withLock',
    ({ withLock, updateApiKeyUsage }) => withLock(() => updateApiKeyUsage('a', 5, 'model')),
  ],
];

/** Everything that writes rejects with EDATA and the position, and the file stays as it is. */
async function expectLeft(ledger: Ledger, line: number, column: number): Promise<void> {
  const before = readFileSync(ledger.file);
  const { ino, mtimeMs } = statSync(ledger.file);
  for (const [, write] of WRITES) {
    const error = await rejection(write(ledger));
    expect(error.code).toBe('EDATA');
    expect(error.message).toContain(ledger.file);
    expect(error.message).toMatch(new RegExp(`line ${line} column ${column}\\b`));
  }
  expect(readFileSync(ledger.file)).toEqual(before);
  expect(statSync(ledger.file)).toMatchObject({ ino, mtimeMs });
  expect(leftovers(ledger.file)).toEqual([]);
}

/** Updates are recorded, those that were rejected are not. */
async function expectMended(ledger: Ledger): Promise<void> {
  const { total_lifetime_tokens: total, ...rest } = inFile(ledger.file, 'a');
  await ledger.updateApiKeyUsage('a', 7, 'model');
  expect(inFile(ledger.file, 'a')).toMatchObject({
    name: rest.name,
    total_lifetime_tokens: total + 7,
  });
  expect((await ledger.findApiKey('a'))?.total_lifetime_tokens).toBe(total + 7);
  expect(leftovers(ledger.file)).toEqual([]);
}

describe('the position of a fault', () => {
  /** `whole` with a fault, and where a reader first knows of it: the line and the column, from 1. */
  const faults: [string, string, number, number][] = [
    ['on the first line', `x${whole}`, 1, 1],
    ['in the middle', '{\n  "keys": [\n    { "key": "a" },\n    { "key": "b" x }\n  ]\n}', 4, 18],
    ['behind the end', '{\n  "keys": []\n}\n}', 4, 1],
    ['with CRLF', '{\r\n  "keys": [\r\n    5,,\r\n  ]\r\n}', 3, 7],
    ['behind a byte order mark', '\ufeff{\n  "keys": [}\n', 2, 12],
    ['on one long line', `{"keys":[${'5,'.repeat(50000)}]}`, 1, 100010],
  ];
  it.each(faults)('%s is in the message', async (_, text, line, column) => {
    const ledger = await open(text);
    await expectLeft(ledger, line, column);
    save(ledger.file, KEYS);
    await expectMended(ledger);
  });

  it('is that of the fault as it is now, not of an earlier one', async () => {
    const ledger = await open(whole, AT_ONCE);
    await ledger.findApiKey('a');
    save(ledger.file, '{ "keys": [ x ] }');
    await expectLeft(ledger, 1, 13);
    save(ledger.file, '{\n "keys": [ x ] }');
    await expectLeft(ledger, 2, 12);
    save(ledger.file, whole);
    await expectMended(ledger);
  });
});

describe('a file that is cut off', () => {
  it('anywhere is left as it is', async () => {
    const ledger = await open(whole, AT_ONCE);
    for (let length = 0; length < whole.length; length += 41) {
      const text = whole.slice(0, length);
      save(ledger.file, text);
      expect((await rejection(ledger.updateApiKeyUsage('a', 5, 'model'))).code).toBe('EDATA');
      expect(readFileSync(ledger.file, 'utf8')).toBe(text);
      expect((await rejection(ledger.findApiKey('a'))).code).toBe('EDATA');
    }
    save(ledger.file, whole);
    await expectMended(ledger);
  });
});

describe('a file that becomes bad', () => {
  it.each(WRITES)(
    'under a module that has it in memory is not put right by %s',
    async (_, write) => {
      const ledger = await open(KEYS, AT_ONCE);
      await ledger.warmupCache();
      await ledger.updateApiKeyUsage('a', 1, 'model');
      const bad = `${readFileSync(ledger.file, 'utf8')},`;
      save(ledger.file, bad);
      for (let n = 0; n < 2; n += 1) {
        expect((await rejection(write(ledger))).code).toBe('EDATA');
        expect(readFileSync(ledger.file, 'utf8')).toBe(bad);
        expect((await ledger.findApiKey('a'))?.total_lifetime_tokens).toBe(1);
      }
      save(ledger.file, bad.slice(0, -1));
      await expectMended(ledger);
      expect(inFile(ledger.file, 'a').total_lifetime_tokens).toBe(8);
    },
  );

  it('and keeps its size and its time is noticed', async () => {
    const ledger = await open(KEYS, AT_ONCE);
    const time = new Date('2025-01-01T00:00:00.000Z');
    utimesSync(ledger.file, time, time);
    await ledger.findApiKey('a');
    const bad = whole.replace('"keys": [', '"keys": ]');
    expect(bad.length).toBe(whole.length);
    save(ledger.file, bad);
    utimesSync(ledger.file, time, time);
    await expectLeft(ledger, 2, 11);
    save(ledger.file, whole);
    utimesSync(ledger.file, time, time);
    await expectMended(ledger);
  });

  it('between two updates in flight fails the second alone', async () => {
    const ledger = await open(KEYS, AT_ONCE);
    for (let round = 1; round <= 10; round += 1) {
      const first = ledger.updateApiKeyUsage('a', 1, 'model');
      const second = first.then(() => ledger.updateApiKeyUsage('a', 10, 'model'));
      const spoilt = first.then(() => save(ledger.file, '{ "keys": ['));
      await Promise.all([first, spoilt]);
      expect((await rejection(second)).code).toBe('EDATA');
      expect(readFileSync(ledger.file, 'utf8')).toBe('{ "keys": [');
      save(ledger.file, [sampleKey('a', { total_lifetime_tokens: round })]);
      expect((await ledger.findApiKey('a'))?.total_lifetime_tokens).toBe(round);
    }
  });

  it('inside withLock is left to the next writeApiKeys', async () => {
    const ledger = await open(KEYS);
    await ledger.withLock(async () => {
      await ledger.updateApiKeyUsage('a', 1, 'model');
      save(ledger.file, '{');
      expect((await rejection(ledger.updateApiKeyUsage('a', 10, 'model'))).code).toBe('EDATA');
      expect((await rejection(ledger.readApiKeys())).code).toBe('EDATA');
      expect(readFileSync(ledger.file, 'utf8')).toBe('{');
      await ledger.writeApiKeys({ keys: KEYS });
      await ledger.updateApiKeyUsage('a', 100, 'model');
    });
    expect(inFile(ledger.file, 'a').total_lifetime_tokens).toBe(100);
    await expectMended(ledger);
  });
});

describe('somebody who saves in place, slowly', () => {
  it('is not disturbed by updates: they reject or come after', async () => {
    const ledger = await open(KEYS, AT_ONCE);
    let recorded = 0;
    for (let round = 1; round <= 5; round += 1) {
      const { keys } = parsed(ledger.file);
      const text = print({ round, keys });
      const editor = openSync(ledger.file, 'w');
      for (let at = 0; at < text.length; at += 300) {
        writeSync(editor, text.slice(at, at + 300));
        if (at + 300 < text.length) {
          const error = await rejection(ledger.updateApiKeyUsage('b', 1, 'model'));
          expect(error.code).toBe('EDATA');
          expect(readFileSync(ledger.file, 'utf8')).toBe(text.slice(0, at + 300));
        }
      }
      closeSync(editor);
      await ledger.updateApiKeyUsage('b', 1, 'model');
      recorded += 1;
      expect(parsed(ledger.file)).toMatchObject({ round });
      expect(inFile(ledger.file, 'b').total_lifetime_tokens).toBe(recorded);
    }
  });
});

describe('the end of the process', () => {
  it('leaves a bad file as it is, and says so', async () => {
    const { file } = await open('{ "keys": [ x ] }');
    const code = `
      ledger.updateApiKeyUsage('a', 5, 'model').catch(() => {});
      process.exit(0);
    `;
    const ended = await script(code, { DATA_FILE: file }).ended;
    expect(ended.code).toBe(0);
    expect(ended.stdout + ended.stderr).toContain('line 1 column 13');
    expect(readFileSync(file, 'utf8')).toBe('{ "keys": [ x ] }');
    expect(leftovers(file)).toEqual([]);
  });
});

const pipes = process.platform !== 'win32';
describe.skipIf(!pipes)(`a pipe in place of the file${pipes ? '' : ' (skipped: no pipes)'}`, () => {
  it('is EDATA for whatever builds on it, without waiting for a writer, and stays', async () => {
    const ledger = await open();
    execFileSync('mkfifo', [ledger.file]);
    for (const [, write] of WRITES) expect((await rejection(write(ledger))).code).toBe('EDATA');
    expect(statSync(ledger.file).isFIFO()).toBe(true);
    expect(leftovers(ledger.file)).toEqual([]);
    rmSync(ledger.file);
    save(ledger.file, KEYS);
    await expectMended(ledger);
  });
});

it('a file that is empty where there was none: calls reject with EDATA, until it is filled', async () => {
  const { readApiKeys, updateApiKeyUsage, file } = await open();
  expect(await readApiKeys()).toEqual({ keys: [] });
  save(file, '');
  expect((await rejection(updateApiKeyUsage('a', 5, 'model'))).code).toBe('EDATA');
  expect((await rejection(readApiKeys())).code).toBe('EDATA');
  expect(readFileSync(file, 'utf8')).toBe('');
  save(file, [sampleKey('a')]);
  await updateApiKeyUsage('a', 5, 'model');
  expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
});
