/** the contract: 'Recording usage' and `writeApiKeys`, when the folder of the data file can't be synced. */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanUp,
  type Env,
  evaluate,
  inFile,
  leftovers,
  open,
  PACKAGE,
  print,
  sampleKey,
  script,
  start,
} from './helpers.ts';

afterEach(cleanUp);

/** Runs a script whose folder syncs fail; those of the data, by `fdatasync`, succeed. */
function unsynced(code: string, env: Env, error = 'EIO') {
  const source = `
    import { readFileSync } from 'node:fs';
    import * as ledger from ${JSON.stringify(PACKAGE)};
    const total = () => JSON.parse(readFileSync(process.env.DATA_FILE, 'utf8')).keys[0].total_lifetime_tokens;
    const show = async promise => console.log(await promise.then(() => 'done', error => \`\${error.code} \${error.path}\`));
    ${code}`;
  const injected = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', '-e', 'signal=none'];
  const args = [...injected, '-e', `inject=fsync:error=${error}`, process.execPath];
  return start('strace', [...args, ...evaluate(source)], env).ended;
}

const traces = spawnSync('strace', ['true']).status === 0;
const untraced = traces ? '' : ' (skipped: strace is missing or may not trace)';
describe.skipIf(!traces)(`when the sync of the folder fails${untraced}`, () => {
  it('an update rejects with the fault, and nothing of it is in the file', async () => {
    const { file } = await open([sampleKey('a')]);
    const before = readFileSync(file, 'utf8');
    const code = `
      const updates = [1, 2].map(tokens => ledger.updateApiKeyUsage('a', tokens, 'model'));
      await show(updates[0]);
      await show(updates[1]);
      console.log(total(), (await ledger.findApiKey('a')).total_lifetime_tokens);
      await show(ledger.updateApiKeyUsage('a', 10, 'model'));
      await ledger.flush();
    `;
    const { stdout, stderr } = await unsynced(code, { DATA_FILE: file });
    const [rejected, ...rest] = stdout.split('\n');
    expect(rejected).toMatch(/^EIO /);
    expect(rejected).toContain(dirname(file));
    expect({ rest, stderr }).toEqual({ rest: [rejected, '0 0', rejected, ''], stderr: '' });
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(leftovers(file)).toEqual([]);
  }, 20000);

  it('writeApiKeys rejects with EUNSYNCED, and has written', async () => {
    const { file } = await open([sampleKey('a')]);
    const data = { keys: [sampleKey('b')] };
    const code = `
      await show(ledger.writeApiKeys(${JSON.stringify(data)}));
      console.log((await ledger.findApiKey('b')).key, await ledger.findApiKey('a'));
    `;
    const { stdout, stderr } = await unsynced(code, { DATA_FILE: file });
    expect({ stdout, stderr }).toEqual({ stdout: `EUNSYNCED ${file}\nb null\n`, stderr: '' });
    expect(readFileSync(file, 'utf8')).toBe(print(data));
    expect(leftovers(file)).toEqual([]);
  }, 20000);

  it.each([
    ['right after the call', ''],
    ['while the commit is under way', 'await new Promise(resolve => setImmediate(resolve));'],
    [
      'after the commit, before anybody is told how it ended',
      `await new Promise(resolve => setImmediate(resolve));
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);`,
    ],
  ])(
    'process.exit(), %s, leaves nothing of an update in the file, and says so',
    async (_, wait) => {
      const { file } = await open([sampleKey('a')]);
      const before = readFileSync(file, 'utf8');
      const code = `
      ledger.updateApiKeyUsage('a', 5, 'model').catch(() => {});
      ${wait}
      process.exit(0);
    `;
      const { code: status, stdout, stderr } = await unsynced(code, { DATA_FILE: file });
      expect({ status, said: `${stdout}${stderr}` }).toEqual({
        status: 0,
        said: expect.stringContaining('EIO'),
      });
      expect(readFileSync(file, 'utf8')).toBe(before);
      expect(leftovers(file)).toEqual([]);
    },
    20000,
  );

  it.each([
    ['DATA_FSYNC=false', 'EIO', 'false'],
    ['a file system that does not sync folders', 'EINVAL', undefined],
  ])(
    'an update resolves all the same with %s',
    async (_, error, DATA_FSYNC) => {
      const { file } = await open([sampleKey('a')]);
      const code = `await show(ledger.updateApiKeyUsage('a', 5, 'model'));`;
      const { stdout } = await unsynced(code, { DATA_FILE: file, DATA_FSYNC }, error);
      expect(stdout).toBe('done\n');
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    },
    20000,
  );
});

const root = process.getuid?.() === 0;
const unprivileged = root ? '' : ' (skipped: only root can be somebody else)';
describe.skipIf(!root)(`when the folder can be written but not opened${unprivileged}`, () => {
  it('an update and writeApiKeys reject with EACCES, and nothing is written', async () => {
    const { file } = await open([sampleKey('a')]);
    const before = readFileSync(file, 'utf8');
    for (const path of [file, dirname(file)]) chownSync(path, 65534, 65534);
    chmodSync(dirname(file), 0o333);
    const code = `
      process.setgid(65534);
      process.setuid(65534);
      await ledger.updateApiKeyUsage('a', 5, 'model').catch(error => console.log(error.code));
      await ledger.writeApiKeys({ keys: [] }).catch(error => console.log(error.code));
      console.log((await ledger.findApiKey('a')).total_lifetime_tokens);
      process.exit(0);
    `;
    const { stdout, stderr } = await script(code, { DATA_FILE: file }).ended;
    expect({ stdout, stderr }).toEqual({ stdout: 'EACCES\nEACCES\n0\n', stderr: '' });
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(leftovers(file)).toEqual([]);
  });
});
