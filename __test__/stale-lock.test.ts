/**
 * the contract: a holder of the lock directory that dies is recovered from by itself, after 10 s without a change; one
 * that lives is not. What takes that long is done at the same time, each on a file of its own.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  type Child,
  cleanUp,
  type Ended,
  inFile,
  later,
  leftovers,
  PACKAGE,
  sampleKey,
  save,
  script,
  sleep,
  start,
  tempFolder,
} from './helpers.ts';

const ABANDONED_AFTER = 10_000;

/** A data file whose lock directory somebody has made. */
function locked() {
  const file = join(tempFolder(), 'apikeys.json');
  save(file, [sampleKey('a')]);
  mkdirSync(`${file}.lock`);
  return { file, lock: `${file}.lock`, since: performance.now() };
}

const total = (file: string) => inFile(file, 'a').total_lifetime_tokens;

/** For scripts: waits until the test calls {@link go}. */
const UNTIL_GO = `
  import { existsSync } from 'node:fs';
  const untilGo = async () => {
    while (!existsSync(process.env.DATA_FILE + '.go')) await new Promise(resolve => setTimeout(resolve, 5));
  };
`;
const go = (file: string) => writeFileSync(`${file}.go`, '');

/** A process of the module that this one replaces: it runs on Bun, as the gateway does. It is stopped inside `withLock`. */
async function stoppedOldHolder(file: string): Promise<Child> {
  rmdirSync(`${file}.lock`);
  const bun = fileURLToPath(new URL('../node_modules/.bin/bun', import.meta.url));
  const old = new URL('../bench/baseline/storage.ts', import.meta.url).href;
  const code = `
    const { withLock } = await import(${JSON.stringify(old)});
    await withLock(async () => {
      console.log('held');
      // Long enough to be stopped in.
      await new Promise(resolve => setTimeout(resolve, 3000));
    });
    console.log('released');
  `;
  const child = start(bun, ['-e', code], { DATA_FILE: file });
  await child.prints('held');
  child.kill('SIGSTOP');
  return child;
}

/** A process that adopts the lock, and holds it until the test calls {@link go}. */
function adopter(file: string): Child {
  return script(
    `${UNTIL_GO}
     await ledger.withLock(async () => {
       console.log('adopted');
       await untilGo();
     });`,
    { DATA_FILE: file },
  );
}

/** Wakes a stopped holder while another process holds the lock. Gives how it ended, and whether the lock still stood. */
async function wake(old: Child, file: string) {
  const holder = adopter(file);
  await holder.prints('adopted');
  old.kill('SIGCONT');
  const ended = await old.ended;
  const held = existsSync(`${file}.lock`);
  go(file);
  await holder.ended;
  return { file, ended, held };
}

const scenarios = {
  async dead() {
    const { file, since } = locked();
    const code = `await ledger.updateApiKeyUsage('a', 5, 'model');`;
    const ended = await script(code, { DATA_FILE: file }).ended;
    return { file, ended, took: performance.now() - since };
  },

  async filled() {
    const { file, lock } = locked();
    // As scripts do that say who has the lock.
    writeFileSync(join(lock, 'pid'), '1234');
    const code = `
      await ledger.updateApiKeyUsage('a', 5, 'model');
      await ledger.updateApiKeyUsage('a', 10, 'model');
    `;
    return { file, lock, ended: await script(code, { DATA_FILE: file }).ended };
  },

  async touched() {
    const { file, lock } = locked();
    const timer = setInterval(() => utimesSync(lock, new Date(), new Date()), 1000);
    later(() => clearInterval(timer));
    const inode = statSync(lock).ino;
    const code = `await ledger.updateApiKeyUsage('a', 5, 'model').catch(error => console.log(error.code));`;
    const env = { DATA_FILE: file, LOCK_TIMEOUT_MS: String(ABANDONED_AFTER + 2500) };
    const ended = await script(code, env).ended;
    return { file, ended, same: statSync(lock).ino === inode, inside: readdirSync(lock) };
  },

  async wokenWhileAdopted() {
    const { file } = locked();
    const old = await stoppedOldHolder(file);
    return wake(old, file);
  },

  async wokenLater() {
    const { file } = locked();
    const old = await stoppedOldHolder(file);
    const update = `await ledger.updateApiKeyUsage('a', 5, 'model');`;
    expect((await script(update, { DATA_FILE: file }).ended).code).toBe(0);
    return wake(old, file);
  },

  async two() {
    const { file } = locked();
    const marker = `${file}.inside`;
    const code = `
      import { mkdirSync, rmdirSync } from 'node:fs';
      const inside = ${JSON.stringify(marker)};
      const update = ledger.updateApiKeyUsage('a', 100, 'model');
      for (let n = 0; n < 10; n++)
        await ledger.withLock(async () => {
          mkdirSync(inside);
          const data = await ledger.readApiKeys();
          await new Promise(resolve => setTimeout(resolve, 3));
          data.keys[0].total_lifetime_tokens += 1;
          await ledger.writeApiKeys(data);
          rmdirSync(inside);
        });
      await update;
    `;
    const children = [1, 2].map(() => script(code, { DATA_FILE: file }));
    return { file, ended: await Promise.all(children.map(child => child.ended)) };
  },

  async killed() {
    const { file } = locked();
    const holder = adopter(file);
    await holder.prints('adopted');
    holder.kill('SIGKILL');
    await holder.ended;
    const code = `await ledger.updateApiKeyUsage('a', 5, 'model');`;
    const ended = await script(code, { DATA_FILE: file, LOCK_TIMEOUT_MS: '2000' }).ended;
    return { file, ended };
  },

  async released() {
    const files = Array.from({ length: 24 }, () => locked().file);
    // One process waits for all; its first two directories are never released, or long before.
    const code = `
      import { mkdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
      const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
      const files = ${JSON.stringify(files)};
      /** Releases at that time, and has the lock again at once if it is free. */
      const release = async (file, at) => {
        await sleep(at - (performance.now() - start));
        try {
          rmdirSync(file + '.lock');
          mkdirSync(file + '.lock');
        } catch {
          return 'adopted';
        }
        const data = JSON.parse(readFileSync(file, 'utf8'));
        await sleep(50);
        data.keys[0].total_lifetime_tokens += 100;
        writeFileSync(file + '.theirs', JSON.stringify(data, null, 2));
        renameSync(file + '.theirs', file);
        rmdirSync(file + '.lock');
        return 'released';
      };
      const updates = [];
      for (const [n, file] of files.entries()) {
        process.env.DATA_FILE = file;
        updates.push((await import('${new URL(PACKAGE).pathname}?' + n)).updateApiKeyUsage);
      }
      const start = performance.now();
      const outcomes = await Promise.all(files.map(async (file, n) => {
        const update = updates[n]('a', 5, 'model');
        const at = n === 1 ? 1000 : ${ABANDONED_AFTER - 60} + Math.random() * 120;
        const outcome = n === 0 ? 'adopted' : await release(file, at);
        await update;
        return outcome;
      }));
      console.log(JSON.stringify(outcomes));
    `;
    const env = { DATA_FILE: files[0], UV_THREADPOOL_SIZE: '32' };
    return { files, ended: await script(code, env).ended };
  },

  async refreshed() {
    const { file, lock } = locked();
    rmdirSync(lock);
    const holder = adopter(file);
    await holder.prints('adopted');
    const seen = new Set<number>();
    for (let n = 0; n < 24; n += 1) {
      seen.add(statSync(lock).mtimeMs);
      await sleep(250);
    }
    go(file);
    return { file, ended: await holder.ended, times: [...seen] };
  },
};

type Outcomes = { [name in keyof typeof scenarios]: ReturnType<(typeof scenarios)[name]> };
let outcomes: Outcomes;

beforeAll(() => {
  const started = Object.entries(scenarios).map(([name, run]) => [name, run()] as const);
  // Each is looked at by its test.
  for (const [, outcome] of started) outcome.catch(() => {});
  outcomes = Object.fromEntries(started) as unknown as Outcomes;
});
afterAll(cleanUp);

const LIMIT = 60_000;
const well: Partial<Ended> = { code: 0, stdout: '', stderr: '' };

it(
  'a lock directory that a dead holder left is adopted after 10 s',
  async () => {
    const { file, ended, took } = await outcomes.dead;
    expect(ended).toMatchObject(well);
    expect(took).toBeGreaterThanOrEqual(ABANDONED_AFTER);
    expect(total(file)).toBe(5);
    expect(leftovers(file)).toEqual([]);
  },
  LIMIT,
);

it(
  'so is one with something in it',
  async () => {
    const { file, lock, ended } = await outcomes.filled;
    expect(ended).toMatchObject(well);
    expect(total(file)).toBe(15);
    expect(existsSync(lock)).toBe(false);
  },
  LIMIT,
);

it(
  'one that is touched every second is never adopted',
  async () => {
    const { file, ended, same, inside } = await outcomes.touched;
    expect(ended).toMatchObject({ ...well, stdout: 'ELOCKED\n' });
    expect({ same, inside }).toEqual({ same: true, inside: [] });
    expect(total(file)).toBe(0);
  },
  LIMIT,
);

it(
  'of two processes that wait for one, one at a time has it, and both do their work',
  async () => {
    const { file, ended } = await outcomes.two;
    expect(ended).toMatchObject([well, well]);
    expect(total(file)).toBe(220);
    expect(leftovers(file)).toEqual([]);
  },
  LIMIT,
);

it(
  'one that is released while it is adopted is had by one of the two',
  async () => {
    const { files, ended } = await outcomes.released;
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    const who: string[] = JSON.parse(ended.stdout);
    expect(who.slice(0, 2)).toEqual(['adopted', 'released']);
    const expected = who.map(outcome => (outcome === 'released' ? 105 : 5));
    expect(files.map(total)).toEqual(expected);
    expect(files.flatMap(leftovers)).toEqual([]);
  },
  LIMIT,
);

it(
  'an old holder that was stopped and wakes up does not remove the lock of who has adopted it',
  async () => {
    const { file, ended, held } = await outcomes.wokenWhileAdopted;
    expect(ended).toMatchObject({ ...well, stdout: 'held\nreleased\n' });
    expect(held).toBe(true);
    expect(leftovers(file)).toEqual(['apikeys.json.go']);
  },
  LIMIT,
);

it(
  'nor the lock that another of ours has taken since',
  async () => {
    const { file, ended, held } = await outcomes.wokenLater;
    expect(ended).toMatchObject({ ...well, stdout: 'held\nreleased\n' });
    expect(held).toBe(true);
    expect(total(file)).toBe(5);
    expect(leftovers(file)).toEqual(['apikeys.json.go']);
  },
  LIMIT,
);

it(
  'one that was adopted by a process that is then killed is taken over at once',
  async () => {
    const { file, ended } = await outcomes.killed;
    expect(ended).toMatchObject(well);
    expect(total(file)).toBe(5);
    expect(leftovers(file)).toEqual([]);
  },
  LIMIT,
);

it(
  'that of a withLock changes while it is held, so that nobody takes it for abandoned',
  async () => {
    const { file, ended, times } = await outcomes.refreshed;
    expect(ended).toMatchObject({ ...well, stdout: 'adopted\n' });
    expect(times.length).toBeGreaterThanOrEqual(3);
    expect(times).toEqual([...times].sort((one, other) => one - other));
    expect(leftovers(file)).toEqual(['apikeys.json.go']);
  },
  LIMIT,
);
