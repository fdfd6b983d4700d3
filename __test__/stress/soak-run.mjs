/**
 * The process of `soak.test.ts`: calls everything that keyledger exports, again and again, compares each answer with what
 * it must be, and prints what was wrong and what the process occupied on the way.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { setTimeout } from 'node:timers/promises';
import * as ledger from '../../index.js';
import { handles, memory } from './memory.mjs';

/** @typedef {import('../../index.js').ApiKey} ApiKey */

const { calls, samples } = JSON.parse(String(process.env.JOB));
const file = String(process.env.DATA_FILE);
const revalidateMs = Number(process.env.CACHE_REVALIDATE_MS);

/** Keys over 512 bytes are not cached. */
const LONG = 'x'.repeat(600);
/** The share of the keys that most lookups ask for. They fit into the cache, all keys don't. */
const HOT = 1 / 3;
const BATCH = 8;
/** Batches of usage that may be under way at once. */
const MOST_UNDER_WAY = 8;
const MOST_TOKENS = 9;
/** Milliseconds in which what nobody refers to any more is freed. */
const FREED = 20;
/** More faults than this tell nothing new. */
const MOST_FAULTS = 10;

const report = {
  faults: /** @type {string[]} */ ([]),
  calls: 0,
  /** How often each part of the mix was done, and how many updates, hits and misses that were. */
  mix: /** @type {Record<string, number>} */ ({}),
  updates: 0,
  hits: 0,
  misses: 0,
  /** The ledgers that were opened on the way, and how many of them have been collected. */
  opened: 0,
  collected: 0,
  rss: /** @type {number[]} */ ([]),
  heapUsed: /** @type {number[]} */ ([]),
  files: /** @type {number[]} */ ([]),
  threads: /** @type {number[]} */ ([]),
  seconds: 0,
};

const random = (/** @type {number} */ limit) => Math.floor(Math.random() * limit);
/**
 * @template T
 * @param {T[]} values
 */
const pick = values => /** @type {T} */ (values[random(values.length)]);

/** @param {string} what */
function fault(what) {
  report.faults.push(`after ${report.calls} calls: ${what}`);
}

/** @param {string} text */
const entriesOf = text => /** @type {ApiKey[]} */ (JSON.parse(text).keys);

/** What must be in the file: a limit, and tokens that lie between what has resolved and what was called. */
const expected = new Map(
  entriesOf(readFileSync(file, 'utf8')).map(({ key, token_limit_per_5h: limit }) => [
    key,
    { limit, resolved: 0, called: 0 },
  ]),
);
const keys = [...expected.keys()];
const hot = keys.slice(0, keys.length * HOT);
const cold = keys.slice(hot.length);

/** @param {string} key */
function expect(key) {
  const known = expected.get(key);
  if (!known) throw new Error(`there should be no ${key}`);
  return known;
}

/**
 * @param {string} key
 * @param {ApiKey | null | undefined} found
 * @param {number} least tokens
 */
function check(key, found, least) {
  const { limit, called } = expect(key);
  const { token_limit_per_5h: has = Number.NaN, total_lifetime_tokens: total = Number.NaN } =
    found ?? {};
  if (found?.key === key && has === limit && total >= least && total <= called) return;
  fault(`${found?.key} has ${has}, ${total}; ${key} has ${limit}, ${least} to ${called}`);
}

/**
 * @param {ApiKey[]} entries
 * @param {(key: string) => number} least
 */
function checkAll(entries, least) {
  if (entries.length !== keys.length) fault(`${entries.length} keys`);
  for (const [n, key] of keys.entries()) check(key, entries[n], least(key));
}

const resolved = (/** @type {string} */ key) => expect(key).resolved;
const called = (/** @type {string} */ key) => expect(key).called;

/** Lookups that the counters of the cache must tell. */
let asked = 0;
/** Makes keys differ from all before. */
let made = 0;

/**
 * @param {string[]} among
 * @param {typeof ledger.findApiKey} find
 */
async function look(among, find) {
  const key = pick(among);
  const least = resolved(key);
  report.calls += 1;
  asked += 1;
  check(key, await find(key), least);
}

/** @param {string} filler */
async function lookUnknown(filler) {
  made += 1;
  report.calls += 1;
  asked += 1;
  const found = await ledger.findApiKey(`sk-unknown-${made}${filler}`);
  if (found !== null) fault(`${JSON.stringify(found)} for an unknown key`);
}

/** @param {import('../../index.js').LRUCache<any>} cache */
function useCache(cache) {
  made += 1;
  report.calls += 4;
  const key = `own-${made}`;
  const value = { made };
  cache.set(key, value);
  if (!cache.has(key) || cache.get(key) !== value) fault(`${key} is not in the cache`);
  if (cache !== own && !cache.delete(key)) fault(`${key} could not be deleted`);
}

const own = new ledger.LRUCacheImpl(100);

async function countLookups() {
  report.calls += 1;
  const { hits, misses, size, maxSize } = await ledger.cacheStats();
  if (hits + misses !== asked) fault(`${hits} hits and ${misses} misses of ${asked} lookups`);
  if (size > maxSize) fault(`${size} entries in the cache`);
}

/**
 * Records usage of some keys together. Resolves once the file has it.
 *
 * @param {import('../../index.js').Ledger} by
 */
async function record(by) {
  report.calls += BATCH + 1;
  report.updates += BATCH;
  const batch = Array.from({ length: BATCH }, () => ({
    of: pick(keys),
    tokens: 1 + random(MOST_TOKENS),
  }));
  const written = batch.map(({ of, tokens }) => {
    expect(of).called += tokens;
    return by.updateApiKeyUsage(of, tokens, 'model');
  });
  await Promise.all([...written, by.updateApiKeyUsage(`sk-unknown-${made}`, 1, 'model')]);
  for (const { of, tokens } of batch) expect(of).resolved += tokens;
}

/** @type {Set<Promise<void>>} */
const underWay = new Set();

async function recordMeanwhile() {
  const batch = record(ledger);
  underWay.add(batch);
  void batch.then(() => underWay.delete(batch));
  if (underWay.size === MOST_UNDER_WAY) await Promise.race(underWay);
}

async function quiet() {
  report.calls += 1;
  await ledger.flush();
  await Promise.all(underWay);
}

/** Waits until every lookup must show what others have written. */
const seen = () => setTimeout(revalidateMs + 2);

async function read() {
  report.calls += 1;
  const least = new Map(keys.map(key => [key, resolved(key)]));
  checkAll((await ledger.readApiKeys()).keys, key => least.get(key) ?? Number.NaN);
}

/** @param {ApiKey[]} entries */
function changeLimit(entries) {
  const entry = pick(entries);
  entry.token_limit_per_5h += 1;
  return () => {
    expect(entry.key).limit += 1;
  };
}

async function change() {
  report.calls += 3;
  await ledger.withLock(async () => {
    const data = await ledger.readApiKeys();
    checkAll(data.keys, called);
    const changed = changeLimit(data.keys);
    await ledger.writeApiKeys(data);
    changed();
    await record(ledger);
  });
}

/** Another program's edit: it takes no lock, so nothing else is written meanwhile. */
async function edit() {
  await quiet();
  const entries = entriesOf(readFileSync(file, 'utf8'));
  checkAll(entries, called);
  changeLimit(entries)();
  const over = made % 2 === 0;
  writeFileSync(over ? `${file}.new` : file, JSON.stringify({ keys: entries }, null, 2));
  if (over) renameSync(`${file}.new`, file);
  await seen();
}

const collected = new FinalizationRegistry(() => {
  report.collected += 1;
});
const clock = () => Date.now();

/** Opens another ledger, with a cache that no other has, and uses it for a while. */
async function useAnother() {
  report.opened += 1;
  report.calls += 5;
  const another = ledger.createLedger({
    dataFile: file,
    maxSize: keys.length,
    ttlMs: 1_000_000 + report.opened,
    ...(report.opened % 2 === 0 && { now: clock }),
  });
  collected.register(another.apiKeyCache, undefined);
  const key = pick(keys);
  const least = resolved(key);
  check(key, await another.findApiKey(key), least);
  await another.warmupCache();
  await record(another);
  check(key, await another.findApiKey(key), least);
  useCache(another.apiKeyCache);
  // Not that of all the others: it would take what they leave behind along.
  another.clearCache();
  await seen();
}

async function warmUp() {
  report.calls += 1;
  await ledger.warmupCache();
}

/** What is done, and how often in each pass. @type {[string, number, () => unknown][]} */
const MIX = [
  ['hits', 6000, () => look(hot, ledger.findApiKey)],
  ['hits of getKeyStats', 1000, () => look(hot, ledger.getKeyStats)],
  ['cold misses', 1000, () => look(cold, ledger.findApiKey)],
  ['unknown keys', 1500, () => lookUnknown('')],
  ['long keys', 200, () => lookUnknown(LONG)],
  [
    'apiKeyCache',
    500,
    () => {
      useCache(ledger.apiKeyCache);
      asked += 1;
    },
  ],
  ['LRUCacheImpl', 300, () => useCache(own)],
  ['another LRUCacheImpl', 20, () => useCache(new ledger.LRUCacheImpl())],
  ['cacheStats', 100, countLookups],
  ['batches', 25, recordMeanwhile],
  ['readApiKeys', 4, read],
  ['withLock', 2, change],
  ['edits', 1, edit],
  ['createLedger', 1, useAnother],
  ['warmupCache', 1, warmUp],
];
const pass = MIX.flatMap(([what, times, act]) =>
  Array.from({ length: times }, () => ({ what, act })),
);

function shuffle() {
  for (let n = pass.length - 1; n > 0; n -= 1) {
    const other = random(n + 1);
    [pass[n], pass[other]] = [
      /** @type {(typeof pass)[number]} */ (pass[other]),
      /** @type {(typeof pass)[number]} */ (pass[n]),
    ];
  }
}

async function measure() {
  await quiet();
  memory();
  await setTimeout(FREED);
  const { rss, heapUsed } = memory();
  const { files, threads } = handles();
  report.rss.push(rss);
  report.heapUsed.push(heapUsed);
  report.files.push(files);
  report.threads.push(threads);
}

const started = performance.now();
let due = calls / samples;
for (let n = 0; report.rss.length < samples && report.faults.length < MOST_FAULTS; n += 1) {
  if (n % pass.length === 0) shuffle();
  const { what, act } = /** @type {(typeof pass)[number]} */ (pass[n % pass.length]);
  report.mix[what] = (report.mix[what] ?? 0) + 1;
  await act();
  if (report.calls < due) continue;
  await measure();
  due += calls / samples;
}
await quiet();
await countLookups();
checkAll(entriesOf(readFileSync(file, 'utf8')), called);
({ hits: report.hits, misses: report.misses } = await ledger.cacheStats());
report.seconds = Math.round((performance.now() - started) / 1000);
console.log(JSON.stringify(report));
