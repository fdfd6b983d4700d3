// Recording usage on awkward files, against the reference (bench/baseline) and against keyledger. On a file that the
// reference wrote both leave the same bytes; on one formatted otherwise keyledger changes the key's own text only.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { cleanUp, clock } from './helpers.ts';
import { loadPair, type Pair, printed } from './oracle-pair.ts';

const NOW = Date.UTC(2031, 2, 1, 12);
const HOUR = 3_600_000;
const MAX = 2 ** 53;

type Fields = Record<string, unknown>;

/** ISO time so many milliseconds before now. */
const ago = (milliseconds: number) => new Date(NOW - milliseconds).toISOString();
const windowOf = (milliseconds: number, tokens: unknown = 10): Fields => ({
  window_start: ago(milliseconds),
  tokens_used: tokens,
});

function record(fields: Fields = {}): Fields {
  return {
    key: 'sk-target',
    name: 'Ann',
    model: 'glm-4.6',
    token_limit_per_5h: 100000,
    expiry_date: '2032-12-31T23:59:59Z',
    created_at: '2025-01-01T00:00:00Z',
    last_used: '2025-01-01T00:00:00Z',
    total_lifetime_tokens: 100,
    usage_windows: [windowOf(HOUR)],
    ...fields,
  };
}

/** The record without some of its fields. */
function without(...names: string[]): Fields {
  return Object.fromEntries(Object.entries(record()).filter(([name]) => !names.includes(name)));
}

const windows = (...list: unknown[]) => record({ usage_windows: list });
const total = (value: unknown) => record({ total_lifetime_tokens: value });

let pair: Pair;
let time: ReturnType<typeof clock>;
beforeAll(async () => {
  pair = await loadPair();
});
afterAll(() => pair.remove());
beforeEach(() => {
  time = clock(NOW - HOUR);
});
afterEach(cleanUp);

/** Plants the text in both files and records usage twice, as the second update works on what the first one left. */
async function update(text: string, tokens: number, key = 'sk-target') {
  const { reference, ledger } = pair;
  const answers: { wanted: string; found: string; wantedFile: string; file: string }[] = [];
  for (const side of [reference, ledger]) side.plant(text);
  time.advance(HOUR);
  for (let round = 0; round < 2; round++) {
    for (const { storage } of [reference, ledger]) {
      await storage.updateApiKeyUsage(key, tokens, 'glm-4.6');
    }
    answers.push({
      wanted: printed(await reference.storage.findApiKey(key)),
      found: printed(await ledger.storage.findApiKey(key)),
      wantedFile: String(reference.text()),
      file: String(ledger.text()),
    });
    time.advance(1);
  }
  return answers;
}

async function expectSameBytes(text: string, tokens: number, key?: string): Promise<void> {
  for (const { wanted, found, wantedFile, file } of await update(text, tokens, key)) {
    expect(file).toBe(wantedFile);
    expect(found).toBe(wanted);
  }
}

/** A record between two others, as the reference prints it. */
function around(target: Fields): string {
  const keys = [{ ...record(), key: 'sk-before' }, target, { ...record(), key: 'sk-after' }];
  return JSON.stringify({ keys }, null, 2);
}

const many = (age: (index: number) => number) =>
  windows(...Array.from({ length: 10_000 }, (_, index) => windowOf(age(index), index)));

const RECORDS: [string, Fields, number][] = [
  ['an ordinary record', record(), 3],
  ['no usage_windows', without('usage_windows'), 3],
  ['usage_windows null', record({ usage_windows: null }), 3],
  ['usage_windows empty', windows(), 3],
  ['no total', without('total_lifetime_tokens'), 3],
  ['no last_used', without('last_used'), 3],
  ['nothing but a key', { key: 'sk-target' }, 3],
  ['the key as the last field', { ...without('key'), key: 'sk-target' }, 3],
  ['total null', total(null), 3],
  ['total a string', total('5'), 3],
  ['total an empty string', total(''), 3],
  ['total a string and fractional tokens', total('5'), 0.1],
  ['total a string and 1e21 tokens', total('x'), 1e21],
  ['total true', total(true), 3],
  ['total 0.1 and 0.2 tokens', total(0.1), 0.2],
  ['total 2^53 and 1 token', total(MAX), 1],
  ['total 2^53 and 2^53 tokens', total(MAX), MAX],
  ['total 1e21', total(1e21), 1],
  ['total just below 1e21', total(1e21 - 131072), 131072],
  ['total 1e-7', total(1e-7), 1e-7],
  ['total 1e-6', total(1e-6), 0],
  ['total 5e-324', total(5e-324), 0],
  ['total 123456789.123456', total(123456789.123456), 0.000001],
  ['total and tokens 1e308: past what a number holds', total(1e308), 1.5e308],
  ['total -0.5 and 0.5 tokens', total(-0.5), 0.5],
  ['negative tokens', record(), -3],
  ['no tokens', record(), 0],
  ['-0 tokens into a new window', windows(), -0],
  ['2^53 tokens into a new window', windows(), MAX],
  ['1e-7 tokens into a new window', windows(), 1e-7],
  ['a window exactly at the cutoff', windows(windowOf(5 * HOUR)), 3],
  ['a window just past the cutoff', windows(windowOf(5 * HOUR + 1)), 3],
  ['the first of two current windows', windows(windowOf(2 * HOUR), windowOf(HOUR)), 3],
  ['a window to come', windows(windowOf(-HOUR)), 3],
  ['old ones around a current one', windows(windowOf(9e7), windowOf(HOUR), windowOf(8e7)), 3],
  ['window tokens a string', windows(windowOf(HOUR, '4')), 3],
  ['window tokens null', windows(windowOf(HOUR, null)), 3],
  ['window tokens 0.1', windows(windowOf(HOUR, 0.1)), 0.2],
  ['unknown fields in a window', windows({ a: [], ...windowOf(HOUR), z: {} }), 3],
  ['window times compared as strings', windows({ window_start: '2031', tokens_used: 1 }), 3],
  ['window times that are words', windows({ window_start: 'today', tokens_used: 1 }), 3],
  ['10 000 current windows', many(() => HOUR), 3],
  ['10 000 old windows', many(() => 6 * HOUR), 3],
  ['10 000 windows of every age', many(index => (index % 11) * HOUR), 3],
  ['unknown fields after', record({ glmkey: 'g', rolling_window_cache: { a: [1, {}] } }), 3],
  ['unknown fields before and between', { x: [], ...without('key'), y: {}, ...record() }, 3],
  [
    'unknown numbers',
    record({ n: [1e21, 1e-7, 0.1, MAX, -1.5, 5e-324, 1.7976931348623157e308] }),
    3,
  ],
  ['field names that are numbers', record({ 7: 'seven', 1: 'one' }), 3],
  ['names with escapes', record({ name: 'tab\t"q" \\ / \b\f\n\r \u0000\u001f\u007f\u2028' }), 3],
  ['names beyond ASCII', record({ name: 'Zoë ✓ 🦀 \u00a0\ufeff\ufffe\uffff' }), 3],
  ['lone surrogates', record({ name: '\ud800 \udfff \udc00\ud800', '\udead': 1 }), 3],
  ['text that looks like JSON', record({ name: '"usage_windows": [], "key": "sk-after"}' }), 3],
  ['a field called __proto__', JSON.parse('{"__proto__":{"a":1},"key":"sk-target"}'), 3],
  ['fields inside that are called as ours', record({ more: record({ key: 'sk-after' }) }), 3],
];

describe('on a file that the reference wrote, recording usage leaves the same bytes', () => {
  test.each(RECORDS)('%s', (_, target, tokens) => expectSameBytes(around(target), tokens));

  test('total -0, which only a hand can write', () => {
    const text = around(total(12321)).replace('12321', '-0');
    return expectSameBytes(text, -0);
  });

  test('unknown fields at the top level, before and after', () => {
    const data = { version: 1, key: 'sk-target', keys: [record()], empty: {}, list: [[]] };
    return expectSameBytes(JSON.stringify(data, null, 2), 3);
  });

  test('of two entries with the same key the first one counts', () => {
    const keys = [record(), record({ name: 'second', total_lifetime_tokens: 7 })];
    return expectSameBytes(JSON.stringify({ keys }, null, 2), 3);
  });

  test.each([
    ['empty', ''],
    ['with a quote and a backslash', 'a"b\\'],
    ['beyond ASCII', 'é✓🦀'],
    ['with NUL', 'nul\0'],
    ['with a lone surrogate', '\ud800'],
    ['__proto__', '__proto__'],
    ['a number', '7'],
    ['long', 'x'.repeat(10_000)],
  ])('a key that is %s', (_, key) =>
    expectSameBytes(JSON.stringify({ keys: [record(), record({ key })] }, null, 2), 3, key),
  );

  test('an unknown key leaves the file as it is', async () => {
    const text = around(record());
    await expectSameBytes(text, 3, 'sk-nobody');
    expect(pair.ledger.text()).toBe(text);
  });

  test('an empty list of keys', () => expectSameBytes(JSON.stringify({ keys: [] }, null, 2), 3));
});

const print = (data: unknown, indent?: string | number) => JSON.stringify(data, null, indent);

/** A style is a way to print the data in which the target's own text can be told from what surrounds it. */
const STYLES: [string, (data: unknown) => string][] = [
  ['minified', data => print(data)],
  ['minified, with a newline at the end', data => `${print(data)}\n`],
  ['tabs', data => print(data, '\t')],
  ['tabs, with a newline at the end', data => `${print(data, '\t')}\n`],
  ['one space', data => print(data, 1)],
  ['4 spaces', data => print(data, 4)],
  ['4 spaces, with a newline at the end', data => `${print(data, 4)}\n`],
  ['2 spaces, with a newline at the end', data => `${print(data, 2)}\n`],
  ['CRLF', data => print(data, 2).replaceAll('\n', '\r\n')],
  ['CRLF, with one at the end', data => `${print(data, 2).replaceAll('\n', '\r\n')}\r\n`],
  ['blank lines', data => print(data, 2).replaceAll('\n', '\n\n \t')],
  ['white space around it all', data => `\n\t ${print(data, 2)} \r\n\n`],
  ['spaces around colons', data => print(data, 2).replaceAll('": ', '"  :\t')],
  ['a lone carriage return', data => print(data, 2).replaceAll('\n', '\r')],
];

const TARGETS: [string, Fields][] = [
  ['an ordinary record', record()],
  ['no windows', without('usage_windows')],
  ['empty windows and unknown fields', record({ usage_windows: [], glmkey: {}, more: [[], 1] })],
  ['nothing but a key', { key: 'sk-target' }],
  ['old and current windows', windows(windowOf(9e7), windowOf(HOUR), windowOf(HOUR))],
];

describe('on a file formatted otherwise, only the text of the changed key changes', () => {
  const hole = '@hole@';
  const data = (target: unknown) => ({
    note: { text: 'kept', list: [] },
    keys: [{ ...record(), key: 'sk-before' }, target, { ...record(), key: 'sk-after', n: 1.5 }],
    owner: null,
  });

  describe.each(STYLES)('%s', (_, style) => {
    test.each(TARGETS)('%s', async (__, target) => {
      const [head, tail] = style(data(hole)).split(`"${hole}"`) as [string, string];
      for (const answer of await update(style(data(target)), 3)) {
        expect(answer.file.slice(0, head.length)).toBe(head);
        expect(answer.file.slice(-tail.length)).toBe(tail);
        expect(printed(JSON.parse(answer.file))).toBe(printed(JSON.parse(answer.wantedFile)));
        expect(answer.found).toBe(answer.wanted);
      }
    });
  });

  test('spellings that a hand chose survive outside the changed key', async () => {
    const head =
      '{"a":1.50,"\\u0062":"\\/\\u00e9","n":[1E2,-0,1e999,1.0],\n"keys":[{"key":"x","t":1e2},';
    const tail = ' ,{"total_lifetime_tokens":1.00,"key":"y"}],"a":2}';
    let expected = 100;
    for (const { file } of await update(`${head}${print(record())}${tail}`, 3)) {
      expected += 3;
      expect(file.startsWith(head)).toBe(true);
      expect(file.endsWith(tail)).toBe(true);
      expect(JSON.parse(file).keys[1].total_lifetime_tokens).toBe(expected);
    }
  });

  test('a key spelled with escapes is the key that it stands for', async () => {
    const text = print({ keys: [record()] }).replace('sk-target', '\\u0073\\u006B-target');
    for (const answer of await update(text, 3)) {
      expect(printed(JSON.parse(answer.file))).toBe(printed(JSON.parse(answer.wantedFile)));
      expect(answer.found).toBe(answer.wanted);
    }
  });
});
