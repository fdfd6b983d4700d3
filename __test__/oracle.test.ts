// Random sequences of calls, against the reference (bench/baseline) and against keyledger: the same answers, the same
// bytes in the file. KEYLEDGER_SEED=<number> repeats a run.
//
// Where keyledger is better on purpose, the steps keep out of the way:
// - the reference does not see an edit of the file for as long as the TTL runs: whoever writes the file past
//   `updateApiKeyUsage` clears both caches after it;
// - the reference does not count a miss of `findApiKey`: the test does it for it;
// - the reference's `withLock` waits for itself: nothing that takes the lock is called inside.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { cleanUp, clock } from './helpers.ts';
import { loadPair, type Pair, printed, Random, SEED, type Side } from './oracle-pair.ts';

const RUNS = 20;
const STEPS = 250;
const HOUR = 3_600_000;
const START = Date.UTC(2031, 2, 1, 12);

const LISTED = ['sk-alpha', 'sk-beta', 'sk "q\\', 'sk-é✓', 'sk-🦀', 'sk-\0', 'sk-\ud800', '', '7'];
const UNLISTED = ['nobody', 'sk-alph', 'SK-ALPHA', 'sk-\ufffd', '__proto__', 'constructor'];
const KEYS = [...LISTED, ...UNLISTED];
const NAMES = ['Ann', 'Zoë ✓', '🦀 & co', 'a\u2028b\u007f', 'lone \udfff', 'tab\t"quote"\\/', ''];
const EXTRAS: unknown[] = [null, true, [], {}, [[], {}, [1]], { a: { b: [1.5, 'x'] } }, 'é', 1e300];
const TOTALS = [0, 1, 41, 0.1, 2 ** 53, 1e21, 1e-7, -3, '5', null];
const TOKENS = [0, 1, 3, 1000, 0.2, -5, 2 ** 53, 1e21, 1e-7, -0];
const TICKS = [1, 2, 20, 999, 1000, 1001, 60_000, 299_999, 300_000, 300_001, HOUR, 5 * HOUR];

type Fields = Record<string, unknown>;

function aWindow(random: Random): Fields {
  const age = random.pick([0, 1, HOUR, 5 * HOUR - 1, 5 * HOUR, 5 * HOUR + 1, 7 * HOUR]);
  return {
    window_start: new Date(Date.now() - age).toISOString(),
    tokens_used: random.pick([0, 7, 0.1, 2 ** 53, '4']),
    ...(random.chance(0.1) && { note: random.pick(EXTRAS) }),
  };
}

function aRecord(random: Random, key: string): Fields {
  const fields: [string, unknown][] = [
    ['key', key],
    ['name', random.pick(NAMES)],
    ['model', 'glm-4.6'],
    ['token_limit_per_5h', 100000],
    ['expiry_date', '2032-12-31T23:59:59Z'],
    ['created_at', '2025-01-01T00:00:00Z'],
    ['last_used', '2025-01-01T00:00:00Z'],
    ['total_lifetime_tokens', random.pick(TOTALS)],
    ['usage_windows', Array.from({ length: random.int(5) }, () => aWindow(random))],
    ['glmkey', random.pick(EXTRAS)],
    ['rolling_window_cache', random.pick(EXTRAS)],
  ];
  if (random.chance(0.3)) fields.sort(() => random.next() - 0.5);
  return Object.fromEntries(fields.filter(([name]) => name === 'key' || random.chance(0.9)));
}

/** A whole file, printed, so that each side can have a copy of its own. */
function aFile(random: Random): string {
  const keys = LISTED.filter(() => random.chance(0.7)).map(key => aRecord(random, key));
  if (keys.length > 0 && random.chance(0.3)) keys.push({ ...random.pick(keys), name: 'second' });
  return JSON.stringify({
    ...(random.chance(0.3) && { version: 2 }),
    keys,
    ...(random.chance(0.3) && { owner: random.pick(EXTRAS) }),
  });
}

type Change = (data: { keys: Fields[] } & Fields) => void;

function aChange(random: Random): Change {
  const place = random.int(1000);
  const added = JSON.stringify(aRecord(random, random.pick(LISTED)));
  const extra = JSON.stringify(random.pick(EXTRAS));
  const at = (keys: Fields[]) => place % Math.max(keys.length, 1);
  return random.pick<Change>([
    data => void data.keys.push(JSON.parse(added)),
    data => void data.keys.unshift(JSON.parse(added)),
    data => void data.keys.splice(at(data.keys), 1),
    data => void data.keys.reverse(),
    data => void Object.assign(data.keys[at(data.keys)] ?? {}, { name: 'edited', added: place }),
    data => void Object.assign(data, { noted: JSON.parse(extra) }),
  ]);
}

interface Step {
  name: string;
  run(side: Side): unknown;
  /** What keeps both sides comparable after a step that the reference answers worse on purpose. */
  after?(side: Side): void;
}

const forget = (side: Side) => side.storage.apiKeyCache.clear();

function aStep(random: Random): Step {
  const key = random.pick(random.chance(0.8) ? LISTED : KEYS);
  const tokens = random.pick(TOKENS);
  const show = JSON.stringify(key);
  const steps: [number, () => Step][] = [
    [8, () => ({ name: `find ${show}`, run: ({ storage }) => storage.findApiKey(key) })],
    [2, () => ({ name: `key stats ${show}`, run: ({ storage }) => storage.getKeyStats(key) })],
    [
      8,
      () => ({
        name: `update ${show} by ${tokens}`,
        run: ({ storage }) => storage.updateApiKeyUsage(key, tokens, 'glm-4.6'),
      }),
    ],
    [1, () => ({ name: 'read', run: ({ storage }) => storage.readApiKeys() })],
    [1, () => writeStep(aFile(random))],
    [2, () => editStep(aChange(random))],
    [1, () => failStep()],
    [1, () => disabledStep(key, tokens)],
    [1, () => ({ name: 'warm up', run: ({ storage }) => storage.warmupCache() })],
    [2, () => ({ name: `get ${show}`, run: ({ storage }) => storage.apiKeyCache.get(key) })],
    [2, () => setStep(random, key)],
    [2, () => ({ name: `has ${show}`, run: ({ storage }) => storage.apiKeyCache.has(key) })],
    [1, () => ({ name: `delete ${show}`, run: ({ storage }) => storage.apiKeyCache.delete(key) })],
    [0.3, () => ({ name: 'clear', run: ({ storage }) => storage.apiKeyCache.clear() })],
  ];
  let weight = random.next() * steps.reduce((sum, [each]) => sum + each, 0);
  const chosen = steps.find(([each]) => {
    weight -= each;
    return weight < 0;
  });
  return (chosen ?? (steps[0] as [number, () => Step]))[1]();
}

function writeStep(file: string): Step {
  return {
    name: 'write',
    run: ({ storage }) => storage.writeApiKeys(JSON.parse(file)),
    after: forget,
  };
}

function editStep(change: Change): Step {
  return {
    name: `edit ${change}`,
    run: ({ storage }) =>
      storage.withLock(async () => {
        const data = await storage.readApiKeys();
        change(data as unknown as Parameters<Change>[0]);
        await storage.writeApiKeys(data);
        return data.keys.length;
      }),
    after: forget,
  };
}

function failStep(): Step {
  return {
    name: 'fail inside the lock',
    run: ({ storage }) =>
      storage
        .withLock(() => Promise.reject(new Error('of the caller')))
        .catch(error => String(error)),
  };
}

/** What is counted and cached while the cache is off is nobody's rule, so both sides start afresh after it. */
function disabledStep(key: string, tokens: number): Step {
  return {
    name: `with the cache off, update ${JSON.stringify(key)} by ${tokens}`,
    async run({ storage }) {
      process.env.CACHE_ENABLED = 'false';
      try {
        const before = await storage.findApiKey(key);
        await storage.updateApiKeyUsage(key, tokens, 'glm-4.6');
        const { enabled } = await storage.cacheStats();
        return [before, await storage.findApiKey(key), enabled];
      } finally {
        delete process.env.CACHE_ENABLED;
      }
    },
    after({ storage }) {
      storage.apiKeyCache.clear();
      storage.apiKeyCache.resetStats();
    },
  };
}

function setStep(random: Random, key: string): Step {
  const value = random.chance(0.3) ? 'null' : JSON.stringify(aRecord(random, key));
  const ttl = random.pick([undefined, undefined, 0, 1, 1000, 400_000, Infinity, -1]);
  return {
    name: `set ${JSON.stringify(key)} to ${value} for ${ttl}`,
    run: ({ storage }) => storage.apiKeyCache.set(key, JSON.parse(value), ttl),
  };
}

let pair: Pair;
let time: ReturnType<typeof clock>;
beforeAll(async () => {
  pair = await loadPair();
});
afterAll(() => pair.remove());
beforeEach(() => {
  time = clock(START);
});
afterEach(cleanUp);

async function runSequence(seed: number): Promise<void> {
  const { reference, ledger } = pair;
  const random = new Random(seed);
  const trail: string[] = [];
  const same = (what: string, mine: unknown, wanted: unknown) => {
    const message = `${what} differs; KEYLEDGER_SEED=${SEED}\n${trail.slice(-12).join('\n')}`;
    expect(mine, message).toEqual(wanted);
  };

  const start = random.chance(0.1) ? null : JSON.stringify(JSON.parse(aFile(random)), null, 2);
  for (const side of [reference, ledger]) {
    side.plant(start);
    // Keyledger sees the edit here, not at a later step, where it would rightly replace what that step cached.
    await side.storage.findApiKey('nobody');
    side.storage.apiKeyCache.clear();
    side.storage.apiKeyCache.resetStats();
  }
  let uncounted = 0;

  for (let i = 0; i < STEPS; i++) {
    if (random.chance(0.5)) time.advance(random.pick(TICKS));
    const step = aStep(random);
    trail.push(`${i} at ${time.iso()}: ${step.name}`);

    const found = /^(?:find|key stats) (.*)$/.exec(step.name)?.[1];
    if (found && !reference.storage.apiKeyCache.has(JSON.parse(found))) uncounted++;

    const wanted = await step.run(reference);
    same('the answer', printed(await step.run(ledger)), printed(wanted));
    same('the file', ledger.text(), reference.text());

    if (step.after) {
      step.after(reference);
      step.after(ledger);
    }
    if (step.name.startsWith('with the cache off')) uncounted = 0;
    const stats = await reference.storage.cacheStats();
    const misses = stats.misses + uncounted;
    const asked = stats.hits + misses;
    const { hitRate, ...counts } = await ledger.storage.cacheStats();
    same('the count', counts, { ...stats, misses, hitRate: undefined });
    expect(hitRate).toBeCloseTo(asked === 0 ? 0 : (100 * stats.hits) / asked, 9);
  }
}

describe('random calls are answered as the reference answers them', () => {
  for (let run = 0; run < RUNS; run++) {
    test(`run ${run + 1} of seed ${SEED}`, () => runSequence(SEED + run), 30_000);
  }
});

describe('LRUCacheImpl behaves as the reference', () => {
  for (let run = 0; run < RUNS; run++) {
    test(`run ${run + 1} of seed ${SEED}`, () => {
      const random = new Random(SEED + run);
      const size = 1 + random.int(6);
      const ttl = random.pick([1, 50, 1000]);
      const wanted = new pair.reference.storage.LRUCacheImpl<unknown>(size, ttl);
      const mine = new pair.ledger.storage.LRUCacheImpl<unknown>(size, ttl);
      for (let i = 0; i < 2000; i++) {
        time.advance(random.pick([0, 0, 0, 1, 1, 10, 49, 50, 51, 1000]));
        const key = random.pick(KEYS);
        const own = random.pick([undefined, undefined, 0, 1, 60, Infinity, -1]);
        const value = random.pick<unknown>([i, null, undefined, false, '', { i }, [i]]);
        const step = random.pick<(cache: typeof wanted) => unknown>([
          cache => cache.get(key),
          cache => cache.get(key),
          cache => cache.set(key, value, own),
          cache => cache.set(key, value),
          cache => cache.has(key),
          cache => cache.delete(key),
          cache => (i % 50 === 0 ? cache.clear() : cache.size),
          cache => (i % 50 === 1 ? cache.resetStats() : cache.maxSize),
        ]);
        const message = `step ${i} ${step}; KEYLEDGER_SEED=${SEED}`;
        expect(step(mine), message).toBe(step(wanted));
        const { hitRate, ...counts } = mine.getStats();
        const { hitRate: wantedRate, ...wantedCounts } = wanted.getStats();
        expect(counts, message).toEqual(wantedCounts);
        expect(hitRate, message).toBeCloseTo(wantedRate, 9);
      }
    });
  }
});
