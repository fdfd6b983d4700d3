/** What is held in memory: no more than twice the file and 1.5 KB for each cached entry, and the engine knows of it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, evaluate, PACKAGE, sampleKey, save, start, tempFolder } from './helpers.ts';

afterEach(cleanUp);

/** A file of many keys. */
function large(count: number): string {
  const file = join(tempFolder(), 'large.json');
  save(
    file,
    Array.from({ length: count }, (_, n) => sampleKey(`sk-${n}-${'x'.repeat(20)}`)),
  );
  return file;
}

/** Runs a script that may collect garbage, and gives what it prints. `createLedger`, `rss` and `FILE` are in its scope. */
async function measured(code: string, file: string) {
  const source = `
    import { createLedger } from ${JSON.stringify(PACKAGE)};
    const { Ledger } = await import(new URL('lib/native.js', ${JSON.stringify(PACKAGE)}).href);
    const FILE = process.env.LARGE;
    const collect = async () => {
      for (let n = 0; n < 3; n++) {
        globalThis.gc?.();
        globalThis.Bun?.gc(true);
        await new Promise(resolve => setTimeout(resolve, 20));
      }
    };
    const rss = async () => {
      await collect();
      return process.memoryUsage().rss;
    };
    ${code}
    process.exit(0);`;
  const flags = process.versions.bun ? [] : ['--expose-gc'];
  const child = start(process.execPath, [...flags, ...evaluate(source)], {
    DATA_FILE: join(tempFolder(), 'none.json'),
    LARGE: file,
  });
  const { stdout, stderr } = await child.ended;
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

/** Everything that is measured, on a file: what is run for the first time takes memory of its own. */
const USE = `
  const name = n => 'sk-' + n + '-' + 'x'.repeat(20);
  const use = async (file, count, report = () => {}) => {
    const ledger = createLedger({ dataFile: file, maxSize: count });
    await ledger.findApiKey('none');
    await report('loaded');
    await ledger.warmupCache();
    await report('warm');
    for (let n = 0; n < count; n++) await ledger.findApiKey(name(n));
    await report('cached');
    for (let n = 0; n < 20; n++) await ledger.updateApiKeyUsage(name(n), 1, 'model');
    await report('updated');
    return ledger;
  };`;

describe('a large file', () => {
  it('takes no more than twice its size, and 1.5 KB for each cached entry', async () => {
    const COUNT = 40_000;
    const file = large(COUNT);
    const size = readFileSync(file).length;
    const small = large(100);
    const code = `${USE}
      // The space for what is new grows with what is made, and stays.
      for (let n = 0; n < 300; n++) globalThis.garbage = Array.from({ length: 20000 }, (_, i) => ({ i: String(i) }));
      globalThis.garbage = undefined;
      await use(${JSON.stringify(small)}, 100);
      const seen = { start: await rss() };
      const ledger = await use(FILE, ${COUNT}, async what => { seen[what] = await rss(); });
      seen.size = (await ledger.cacheStats()).size;
      console.log(JSON.stringify(seen));`;
    const seen = await measured(code, file);
    expect(seen.size).toBe(COUNT);
    expect(seen.loaded - seen.start).toBeLessThan(2 * size);
    expect(seen.cached - seen.start).toBeLessThan(2 * size + 1536 * COUNT);
    expect(seen.updated - seen.start).toBeLessThan(2 * size + 1536 * COUNT);
  }, 60000);
});

describe('the engine', () => {
  it('knows what is held for it, once, and on Node when it is freed', async () => {
    const file = large(10_000);
    const size = readFileSync(file).length;
    const code = `
      const { writeFileSync } = await import('node:fs');
      const settings = { dataFile: FILE, maxSize: 10, ttlMs: 1000, revalidateMs: 0, fsync: false };
      const [one, two] = [Ledger.open(settings, false), Ledger.open(settings, false)];
      const before = one.account();
      await one.load(Date.now());
      const seen = { loaded: one.account() - before, twice: two.account() - before };
      writeFileSync(FILE, '{"keys":[]}');
      await one.load(Date.now());
      seen.emptied = one.account() - before;
      console.log(JSON.stringify(seen));`;
    const seen = await measured(code, file);
    expect(seen.loaded).toBeGreaterThan(size);
    expect(seen.loaded).toBeLessThan(1.5 * size);
    expect(seen.twice).toBeLessThan(1.5 * size);
    // JavaScriptCore takes no note of what is freed until it collects.
    if (!process.versions.bun) expect(seen.emptied).toBeLessThan(0.5 * size);
  });

  it('is told by the functions themselves', async () => {
    const file = large(10_000);
    const code = `
      const { findApiKey } = createLedger({ dataFile: FILE });
      const other = Ledger.alone({ dataFile: process.env.DATA_FILE, maxSize: 1, ttlMs: 1, revalidateMs: 0, fsync: false });
      const before = other.account();
      await findApiKey('none');
      console.log(JSON.stringify({ found: other.account() - before }));`;
    const { found } = await measured(code, file);
    expect(found).toBeGreaterThan(readFileSync(file).length);
  });
});
