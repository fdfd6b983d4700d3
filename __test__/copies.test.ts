/** Two copies of the package in one process, as two dependents with an install of their own bring them: like two processes. */
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import {
  cleanUp,
  evaluate,
  inFile,
  leftovers,
  open,
  sampleKey,
  start,
  tempFolder,
} from './helpers.ts';

afterEach(cleanUp);

const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs a script in which `one` and `two` are the exports of two copies. */
async function run(code: string, file: string) {
  const folder = tempFolder();
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const packed = readdirSync(root).filter(
    name => files.includes(name) || name.endsWith('.node') || name === 'package.json',
  );
  const urls = ['one', 'two'].map(name => {
    const copy = join(folder, name, 'node_modules', 'keyledger');
    for (const path of packed) cpSync(join(root, path), join(copy, path), { recursive: true });
    return pathToFileURL(join(copy, 'index.js')).href;
  });
  const source = `
    const [one, two] = await Promise.all(${JSON.stringify(urls)}.map(url => import(url)));
    ${code}`;
  const settings = { DATA_FILE: file, CACHE_REVALIDATE_MS: '50', LOCK_TIMEOUT_MS: '5000' };
  return start(process.execPath, evaluate(source), settings).ended;
}

it('record all usage, and see what the other wrote within CACHE_REVALIDATE_MS', async () => {
  const { file } = await open([sampleKey('a')]);
  const code = `
    console.log(one.findApiKey === two.findApiKey);
    await Promise.all([one.findApiKey('a'), two.findApiKey('a')]);
    const updates = [];
    for (let n = 0; n < 50; n++) {
      for (const copy of [one, two]) updates.push(copy.updateApiKeyUsage('a', 1, 'model'));
      if (n % 10 === 0) await new Promise(resolve => setTimeout(resolve, 2));
    }
    await Promise.all(updates);
    await new Promise(resolve => setTimeout(resolve, 50));
    for (const copy of [one, two])
      console.log((await copy.findApiKey('a')).total_lifetime_tokens, (await copy.cacheStats()).size);`;
  const { stdout, stderr, code: status } = await run(code, file);
  expect({ stdout, stderr, status }).toEqual({
    stdout: 'false\n100 1\n100 1\n',
    stderr: '',
    status: 0,
  });
  expect(leftovers(file)).toEqual([]);
});

it('both save what is pending at the end of the process, whichever has the lock', async () => {
  const { file } = await open([sampleKey('a')]);
  const code = `
    await one.withLock(async () => {
      void one.updateApiKeyUsage('a', 1, 'model');
      void two.updateApiKeyUsage('a', 10, 'model');
      process.exit(0);
    });`;
  const { stdout, stderr, code: status } = await run(code, file);
  expect({ stdout, stderr, status }).toEqual({ stdout: '', stderr: '', status: 0 });
  expect(inFile(file, 'a').total_lifetime_tokens).toBe(11);
  expect(leftovers(file)).toEqual([]);
});
