/** `DATA_FILE.flock`, which all writers of a data file lock: it is for whom the data file is for, whoever wrote first. */
import { chmodSync, chownSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, inFile, leftovers, open, sampleKey, script } from './helpers.ts';

afterEach(cleanUp);

const NOBODY = 65534;

/** The mode and the owner of a file. */
function attributes(path: string) {
  const { mode, uid, gid } = statSync(path);
  return { mode: mode & 0o7777, uid, gid };
}

describe('a new lock file', () => {
  it.each([0o600, 0o640, 0o666])('has the mode of the data file, %o', async mode => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
    chmodSync(file, mode);
    await updateApiKeyUsage('a', 5, 'model');
    expect(attributes(`${file}.flock`)).toEqual(attributes(file));
    expect(attributes(`${file}.flock`).mode).toBe(mode);
  });

  it('has mode 0600 where there is no data file yet', async () => {
    const { writeApiKeys, file } = await open();
    await writeApiKeys({ keys: [] });
    expect(attributes(`${file}.flock`).mode).toBe(0o600);
  });

  const root = process.getuid?.() === 0;
  it.skipIf(!root)('made by root lets the owner of the data file write', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
    for (const path of [file, dirname(file)]) chownSync(path, NOBODY, NOBODY);
    chmodSync(file, 0o640);
    await updateApiKeyUsage('a', 1, 'model');
    expect(attributes(`${file}.flock`)).toEqual({ mode: 0o640, uid: NOBODY, gid: NOBODY });
    const code = `
      process.setgid(${NOBODY});
      process.setuid(${NOBODY});
      await ledger.updateApiKeyUsage('a', 10, 'model');
      await ledger.withLock(async () => console.log('locked'));
      process.exit(0);
    `;
    const ended = await script(code, { DATA_FILE: file }).ended;
    expect(ended).toMatchObject({ code: 0, stdout: 'locked\n', stderr: '' });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(11);
    expect(leftovers(file)).toEqual([]);
  });
});
