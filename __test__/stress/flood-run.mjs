/**
 * The process of `flood.test.ts`: looks valid keys up, in batches, in every other round with lookups of unknown keys in
 * between, each of which is another one. Prints what it found.
 */
import process from 'node:process';
import * as ledger from '../../index.js';
import { memory } from './memory.mjs';

const { valid, rounds, batches, each, percentile } = JSON.parse(String(process.env.JOB));
/** Valid lookups whose time is taken together: one alone is too short for the clock. */
const BATCH = 20;
/** One in so many unknown keys is too long to be cached. */
const LONG = 10;
const LONGEST_CACHED = 512;
const FILLER = 'x'.repeat(2 * LONGEST_CACHED);
/** How often memory is measured. */
const SAMPLES = 4;

const report = {
  /** How many unknown keys were looked up, and their bytes. */
  unknown: 0,
  bytes: 0,
  /** How many lookups of valid keys there were among them, and what they were. */
  lookups: 0,
  hits: 0,
  misses: 0,
  /** Answers that were not the very object that the key had in the beginning, or not `null`. */
  wrong: 0,
  /** Entries in the cache: with all valid keys, after long unknown keys too, and the most that were ever seen. */
  sizes: { valid: 0, long: 0, most: 0 },
  /** The percentile of each round, in microseconds for a batch. */
  slow: { flooded: /** @type {number[]} */ ([]), quiet: /** @type {number[]} */ ([]) },
  /** What the process occupied, and the bytes of all unknown keys until then. */
  memory: /** @type {{ bytes: number, rss: number }[]} */ ([]),
};

let made = 0;
/** @param {number} length */
function unknownKey(length) {
  made += 1;
  // A string of its own, as one that comes with a request.
  return Buffer.from(`sk-unknown-${made}-${FILLER}`.slice(0, length)).toString();
}

function anyLength() {
  if (made % LONG === 0) return LONGEST_CACHED + 1 + (made % LONGEST_CACHED);
  return 30 + ((made * 7) % (LONGEST_CACHED - 30));
}

/** @param {string} key */
async function findUnknown(key) {
  report.unknown += 1;
  report.bytes += key.length;
  if ((await ledger.findApiKey(key)) !== null) report.wrong += 1;
}

/** @type {(import('../../index.js').ApiKey | null)[]} */
const objects = [];
let at = 0;

async function findValid() {
  for (let n = 0; n < BATCH; n += 1) {
    at = (at + 1) % valid.length;
    if ((await ledger.findApiKey(valid[at])) !== objects[at]) report.wrong += 1;
  }
}

/**
 * Gives the percentile of what a batch takes.
 *
 * @param {(key: string) => Promise<void>} meet what is done with the unknown keys that come before each
 */
async function round(meet) {
  const times = new Float64Array(batches);
  for (let n = 0; n < batches; n += 1) {
    for (let m = 0; m < each; m += 1) await meet(unknownKey(anyLength()));
    report.sizes.most = Math.max(report.sizes.most, ledger.apiKeyCache.size);
    const start = performance.now();
    await findValid();
    times[n] = (performance.now() - start) * 1000;
  }
  return /** @type {number} */ (times.sort()[Math.floor((batches * percentile) / 100)]);
}

async function flooded() {
  const before = ledger.apiKeyCache.getStats();
  const slow = await round(findUnknown);
  const after = ledger.apiKeyCache.getStats();
  report.lookups += batches * BATCH;
  report.hits += after.hits - before.hits;
  // Each of the unknown keys is a miss, since none comes twice.
  report.misses += after.misses - before.misses - batches * each;
  return slow;
}

for (const key of valid) objects.push(await ledger.findApiKey(key));
report.sizes.valid = ledger.apiKeyCache.size;
for (let n = 1; n <= LONGEST_CACHED; n += 1) await findUnknown(unknownKey(LONGEST_CACHED + n));
report.sizes.long = ledger.apiKeyCache.size;
for (let n = 1; n <= rounds; n += 1) {
  report.slow.flooded.push(await flooded());
  // The same keys come, but are asked of nobody.
  report.slow.quiet.push(await round(async () => {}));
  if (n % (rounds / SAMPLES) === 0) report.memory.push({ bytes: report.bytes, rss: memory().rss });
}
console.log(JSON.stringify(report));
