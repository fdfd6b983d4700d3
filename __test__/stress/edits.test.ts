/** the contract: 'A miss is answered from the file as it is now', after edits that leave the size of the file as it was, as
 * fast as they can follow each other: many fall into one tick of the clock by which the system stamps files. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiKey } from '../../index.js';
import { cleanUp, later, load, sampleKey, save, sleep, tempFolder } from '../helpers.ts';
import { RUNTIME } from './programs.ts';
import { full, times } from './stress.ts';

afterEach(cleanUp);

const LIMIT_MS = 1_200_000;
const KEYS = ['a', 'b', 'c', 'd', 'e'];
const FIELD = '"token_limit_per_5h": ';
/** Where links lead to. */
const TARGETS = ['one', 'two'];
/** Limits from this one on, and below ten times as much, have the same number of digits. */
const LEAST = 100_000;
/** Now and then a file rests for up to so many milliseconds, after which it is trusted by what it looks like. */
const LONGEST_REST = 30;
const REST_EVERY = times(50, 500);
const READ_EVERY = 20;
/** More faults than this tell nothing new. */
const MOST_FAULTS = 10;

const random = (limit: number) => Math.floor(Math.random() * limit);
const pick = <T>(values: T[]): T => values[random(values.length)] as T;

/** What is to be in the file, and where the part is that differs from what is there. */
interface Edit {
  text: string;
  at: number;
  value: string;
}

/** Puts a file in the place of another, by its name. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** Ways to edit a file, which may be a link that one of them has made. */
const WAYS: Record<string, (file: string, edit: Edit) => void> = {
  'written by its name': (file, { text }) => writeFileSync(file, text),
  'written in place, only what differs': (file, { at, value }) => {
    const opened = openSync(file, 'r+');
    writeSync(opened, value, at);
    closeSync(opened);
  },
  'cut to nothing and written': (file, { text }) => {
    truncateSync(file);
    const opened = openSync(file, 'r+');
    writeSync(opened, text);
    closeSync(opened);
  },
  'renamed over': (file, { text }) => replace(file, text),
  'removed and made anew': (file, { text }) => {
    rmSync(file);
    writeFileSync(file, text);
  },
  'made a link to another file': (file, { text }) => {
    const target = TARGETS.find(name => name !== basename(realpathSync(file))) as string;
    writeFileSync(join(dirname(file), target), text);
    rmSync(file);
    symlinkSync(target, file);
  },
  'renamed over where it leads to': (file, { text }) => replace(realpathSync(file), text),
};

type Update = typeof import('../../index.js').updateApiKeyUsage;

/** The file as it should be. */
class Expected {
  readonly #file: string;
  readonly #update: Update;
  #text: string;
  readonly limits = new Map(KEYS.map(key => [key, LEAST]));
  readonly totals = new Map(KEYS.map(key => [key, 0]));

  constructor(file: string, update: Update) {
    this.#file = file;
    this.#update = update;
    this.#text = readFileSync(file, 'utf8');
  }

  /** Edits the limit of a key in one of the ways. */
  edit(key: string, way: string): void {
    const value = String(LEAST + random(9 * LEAST));
    const at = this.#text.indexOf(FIELD, this.#text.indexOf(`"${key}"`)) + FIELD.length;
    this.#text = this.#text.slice(0, at) + value + this.#text.slice(at + value.length);
    WAYS[way]?.(this.#file, { text: this.#text, at, value });
    this.limits.set(key, Number(value));
  }

  /** Has usage recorded, which must leave everything else as it is. */
  async record(key: string): Promise<void> {
    const tokens = 1 + random(9);
    await this.#update(key, tokens, 'model');
    this.totals.set(key, (this.totals.get(key) ?? 0) + tokens);
    this.#text = readFileSync(this.#file, 'utf8');
  }

  /** What is wrong with an entry; empty when nothing is. */
  fault(key: string, found: ApiKey | null | undefined): string {
    const limit = this.limits.get(key);
    const total = this.totals.get(key);
    if (found?.token_limit_per_5h === limit && found?.total_lifetime_tokens === total) return '';
    return `${key} has ${found?.token_limit_per_5h}, ${found?.total_lifetime_tokens}, not ${limit}, ${total}`;
  }
}

/** A file system on which states of a file that follow each other look the same, within one tick. */
function coarseFolder(): string {
  const folder = tempFolder();
  execFileSync('mount', ['-t', 'ramfs', 'ramfs', folder], { stdio: 'ignore' });
  later(() => execFileSync('umount', ['--lazy', folder]));
  return folder;
}

/** Why there is none; empty when there is. */
function obstacle(): string {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'it needs root, on Linux';
  try {
    const file = join(coarseFolder(), 'file');
    const looks = Array.from({ length: 100 }, () => {
      writeFileSync(file, 'x');
      return String(statSync(file, { bigint: true }).ctimeNs);
    });
    return new Set(looks).size < looks.length ? '' : 'each state of a file looks another way';
  } catch (error) {
    return `no ramfs can be mounted: ${error}`;
  } finally {
    cleanUp();
  }
}

const reason = obstacle();
const PLACES: [string, () => string, string][] = [
  ['in the usual place', tempFolder, ''],
  ['where states of a file may look the same', coarseFolder, reason],
];

for (const [place, makeFolder, missing] of PLACES)
  describe.skipIf(missing)(
    `edits of the same size ${place}${missing && ` (skipped: ${missing})`}`,
    () => {
      it.each([
        ['', times(3000, 1_000_000), 0],
        [', one in ten after an update of our own', times(1000, 200_000), 10],
      ])(
        `are not missed%s, %i of them`,
        async (what, edits, updateEvery) => {
          const file = join(makeFolder(), 'apikeys.json');
          save(
            file,
            KEYS.map(key => sampleKey(key, { token_limit_per_5h: LEAST })),
          );
          const settings = { DATA_FILE: file, CACHE_REVALIDATE_MS: '0', DATA_FSYNC: 'false' };
          const { findApiKey, readApiKeys, updateApiKeyUsage } = await load(settings);
          const expected = new Expected(file, updateApiKeyUsage);
          const faults: string[] = [];
          const started = performance.now();
          for (let n = 1; n <= edits && faults.length < MOST_FAULTS; n += 1) {
            const key = pick(KEYS);
            const way = pick(Object.keys(WAYS));
            if (updateEvery > 0 && n % updateEvery === 0) await expected.record(pick(KEYS));
            expected.edit(key, way);
            if (n % REST_EVERY === 0) await sleep(random(LONGEST_REST));
            let fault = expected.fault(key, await findApiKey(key));
            if (n % READ_EVERY === 0)
              for (const entry of (await readApiKeys()).keys)
                fault ||= expected.fault(entry.key, entry);
            if (fault) faults.push(`edit ${n}, ${way}: ${fault}`);
          }
          const seconds = Math.round((performance.now() - started) / 1000);
          if (full) console.log(`${RUNTIME}, ${edits} edits ${place}${what}: ${seconds} s`);
          expect(faults).toEqual([]);
        },
        LIMIT_MS,
      );
    },
  );
