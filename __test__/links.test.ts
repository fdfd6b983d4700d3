/** A data file behind symbolic links, one after the other, that lead to a file which is not there yet. */
import { existsSync, lstatSync, mkdirSync, readlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, inFile, leftovers, load, rejection, sampleKey, tempFolder } from './helpers.ts';

afterEach(cleanUp);

describe('a chain of two dangling symlinks', () => {
  it.each([
    ['absolute', (_: string, path: string) => path],
    ['relative', (name: string) => join('..', name)],
  ])('of %s paths keeps both links, and the file is made at its end', async (_, target) => {
    const folder = tempFolder();
    for (const name of ['one', 'two', 'end']) mkdirSync(join(folder, name));
    const [first, second, real] = ['one', 'two', 'end'].map(name =>
      join(folder, name, 'apikeys.json'),
    ) as [string, string, string];
    const targets = [target('two/apikeys.json', second), target('end/apikeys.json', real)] as const;
    symlinkSync(targets[0], first);
    symlinkSync(targets[1], second);

    const ledger = await load({ DATA_FILE: first });
    expect(await ledger.findApiKey('a')).toBeNull();
    await ledger.writeApiKeys({ keys: [sampleKey('a')] });
    await ledger.updateApiKeyUsage('a', 5, 'model');

    expect([readlinkSync(first), readlinkSync(second)]).toEqual(targets);
    expect(lstatSync(real).isFile()).toBe(true);
    expect(inFile(real, 'a').total_lifetime_tokens).toBe(5);
    for (const file of [first, second, real]) expect(leftovers(file)).toEqual([]);
    // All writers lock beside the file, by whichever link they come.
    expect([first, second, real].map(file => existsSync(`${file}.flock`))).toEqual([
      false,
      false,
      true,
    ]);
  });

  it('that lead to each other is an error, and both stay', async () => {
    const folder = tempFolder();
    const [first, second] = [join(folder, 'first.json'), join(folder, 'second.json')];
    symlinkSync(second, first);
    symlinkSync(first, second);
    const ledger = await load({ DATA_FILE: first });
    await rejection(ledger.writeApiKeys({ keys: [] }));
    expect([readlinkSync(first), readlinkSync(second)]).toEqual([second, first]);
  });
});
