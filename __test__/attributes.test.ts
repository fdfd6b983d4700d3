/** What is kept of a file that is replaced, beside its content: mode, owner, extended attributes, the links to it. See
 * also `commit.test.ts`, `links.test.ts` and `flock-file.test.ts`. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { afterEach, describe, expect, it } from 'vitest';
import { drive, type Outcome } from './driven.ts';
import {
  cleanUp,
  evaluate,
  inFile,
  leftovers,
  load,
  open,
  PACKAGE,
  sampleKey,
  save,
  start,
  tempFolder,
} from './helpers.ts';
import { type Attributes, maySet, xattrs } from './xattrs.ts';

afterEach(cleanUp);

const NOBODY = 65534;
const GROUP = 54321;
const root = process.getuid?.() === 0;
const needsRoot = root ? '' : ' (skipped: only root can be somebody else)';

const USER: Attributes = {
  'user.note': 'belongs to the gateway',
  'user.bytes': '\0\xff\n\0',
  'user.empty': '',
  'user.long': 'x'.repeat(1500),
};
const userUnable = maySet(USER) ? '' : ' (skipped: files can have none here)';

/** Ways to add 5 to the total of `a`; `ledger` is what they are called on. */
const WAYS = {
  updateApiKeyUsage: `ledger.updateApiKeyUsage('a', 5, 'model')`,
  'withLock(read, change, write)': `ledger.withLock(async () => {
    const data = await ledger.readApiKeys();
    data.keys[0].total_lifetime_tokens += 5;
    await ledger.writeApiKeys(data);
  })`,
};
type Module = Awaited<ReturnType<typeof load>>;
const call = (ledger: Module, way: string): Promise<unknown> =>
  new Function('ledger', `return ${way};`)(ledger);

/** Mode, owner and group. */
function looks(file: string) {
  const { mode, uid, gid } = statSync(file);
  return { mode: (mode & 0o7777).toString(8), uid, gid };
}

describe.each(Object.entries(WAYS))('%s', (_, way) => {
  it.skipIf(!root).each(['2640', '1600', '4711', '0'])(
    `by root keeps mode %s${needsRoot}`,
    async octal => {
      const ledger = await open([sampleKey('a')]);
      chmodSync(ledger.file, Number.parseInt(octal, 8));
      const before = looks(ledger.file);
      for (let n = 1; n <= 2; n += 1) {
        await call(ledger, way);
        expect(inFile(ledger.file, 'a').total_lifetime_tokens).toBe(5 * n);
        expect(looks(ledger.file)).toEqual(before);
      }
    },
  );

  it.each(['0', '077', '777'])('keeps the mode, whatever the umask is: %s', async umask => {
    const { file } = await open([sampleKey('a')]);
    chmodSync(file, 0o664);
    const before = looks(file);
    const child = await drive({ DATA_FILE: file });
    await child.run(`process.umask(0o${umask}); await ${way};`);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect(looks(file)).toEqual(before);
    expect(leftovers(file)).toEqual([]);
    await child.end();
  });

  it.skipIf(!root)(
    `by somebody who may not give files away goes on without${needsRoot}`,
    async () => {
      const { file } = await open([sampleKey('a')]);
      chownSync(dirname(file), 0, GROUP);
      chmodSync(dirname(file), 0o770);
      chownSync(file, 12345, GROUP);
      chmodSync(file, 0o660);
      const child = await drive({ DATA_FILE: file });
      await child.run(`
      process.setgroups([${GROUP}]);
      process.setgid(${NOBODY});
      process.setuid(${NOBODY});
      await ${way};
      await ${way};
    `);
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(10);
      // The group is one of its own, so that can be kept.
      expect(looks(file)).toEqual({ mode: '660', uid: NOBODY, gid: GROUP });
      expect(leftovers(file)).toEqual([]);
      await child.end();
    },
  );

  it.skipIf(!root)(`by somebody in neither group takes what it can get${needsRoot}`, async () => {
    const { file } = await open([sampleKey('a')]);
    chownSync(file, 12345, GROUP);
    chmodSync(file, 0o646);
    chmodSync(dirname(file), 0o777);
    const child = await drive({ DATA_FILE: file });
    await child.run(`
      process.setgroups([]);
      process.setgid(${NOBODY});
      process.setuid(${NOBODY});
      await ${way};
    `);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect(looks(file)).toEqual({ mode: '646', uid: NOBODY, gid: NOBODY });
    await child.end();
  });

  it('keeps a chain of symlinks, and replaces the file at its end', async () => {
    const folder = tempFolder();
    for (const name of ['one', 'two', 'end']) mkdirSync(join(folder, name));
    const [first, second, file] = ['one', 'two', 'end'].map(name =>
      join(folder, name, 'apikeys.json'),
    ) as [string, string, string];
    symlinkSync('../two/apikeys.json', first);
    symlinkSync(file, second);
    save(file, [sampleKey('a')]);
    chmodSync(file, 0o640);
    const before = looks(file);
    const ledger = await load({ DATA_FILE: first });
    for (let n = 1; n <= 2; n += 1) {
      await call(ledger, way);
      expect(inFile(first, 'a').total_lifetime_tokens).toBe(5 * n);
      expect([readlinkSync(first), readlinkSync(second)]).toEqual(['../two/apikeys.json', file]);
      expect(lstatSync(file).isFile()).toBe(true);
      expect(looks(file)).toEqual(before);
    }
    for (const path of [first, second, file]) expect(leftovers(path)).toEqual([]);
  });
});

describe.each(Object.entries(WAYS))('%s by an owner who is not root', (_, way) => {
  it.each(['600', '400', '2640', '4711'])('keeps mode %s and extended attributes', async octal => {
    const { file } = await open([sampleKey('a')]);
    const child = await drive({ DATA_FILE: file });
    if (root) {
      for (const one of [file, dirname(file)]) chownSync(one, NOBODY, NOBODY);
      await child.run(`process.setgid(${NOBODY}); process.setuid(${NOBODY});`);
    }
    const attributes = userUnable ? undefined : xattrs(file, USER);
    chmodSync(file, Number.parseInt(octal, 8));
    const before = looks(file);
    expect(before.mode).toBe(octal);
    for (let n = 1; n <= 2; n += 1) {
      const { code, message } = await child.run<Outcome>(`return outcome(${way});`);
      expect({ code, message }).toEqual({ code: 'done', message: '' });
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(5 * n);
      expect(looks(file)).toEqual(before);
      if (attributes) expect(xattrs(file)).toEqual(attributes);
    }
    expect(leftovers(file)).toEqual([]);
    await child.end();
  });
});

describe('a new file', () => {
  it.each(['0', '022', '777'])('has mode 0600, whatever the umask is: %s', async umask => {
    const { file } = await open();
    const child = await drive({ DATA_FILE: file });
    await child.run(`process.umask(0o${umask}); await ledger.writeApiKeys({ keys: [] });`);
    expect(looks(file).mode).toBe('600');
    await child.end();
  });
});

describe.skipIf(userUnable).each(Object.entries(WAYS))(
  `extended attributes are kept by %s${userUnable}`,
  (_, way) => {
    it('as they are at the time', async () => {
      const ledger = await open([sampleKey('a')]);
      expect(xattrs(ledger.file, USER)).toEqual(USER);
      await call(ledger, way);
      expect(xattrs(ledger.file)).toEqual(USER);
      const { 'user.note': _note, 'user.long': _long, ...rest } = USER;
      const next = { ...rest, 'user.long': 'short' };
      xattrs(ledger.file, { 'user.long': 'short' }, ['user.note']);
      await call(ledger, way);
      await call(ledger, way);
      expect(xattrs(ledger.file)).toEqual(next);
      expect(inFile(ledger.file, 'a').total_lifetime_tokens).toBe(15);
      expect(leftovers(ledger.file)).toEqual([]);
    });

    it('behind a symlink', async () => {
      const target = join(tempFolder(), 'real.json');
      save(target, [sampleKey('a')]);
      xattrs(target, USER);
      const ledger = await open();
      symlinkSync(target, ledger.file);
      await call(ledger, way);
      expect(lstatSync(ledger.file).isSymbolicLink()).toBe(true);
      expect(inFile(target, 'a').total_lifetime_tokens).toBe(5);
      expect(xattrs(target)).toEqual(USER);
    });
  },
);

it.skipIf(userUnable)(`a new file has no extended attributes${userUnable}`, async () => {
  const { writeApiKeys, file } = await open();
  await writeApiKeys({ keys: [] });
  expect(xattrs(file)).toEqual({});
});

const TRUSTED: Attributes = { 'trusted.note': 'root only' };
const trustedUnable = maySet(TRUSTED) ? '' : ' (skipped: only root can set them, if anybody)';
it.skipIf(trustedUnable)(`root keeps trusted attributes${trustedUnable}`, async () => {
  const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
  xattrs(file, TRUSTED);
  await updateApiKeyUsage('a', 5, 'model');
  expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
  expect(xattrs(file)).toEqual(TRUSTED);
});

const SECURITY: Attributes = { 'security.note': 'only root may set it' };
const securityUnable = !root || userUnable || !maySet(SECURITY);
it.skipIf(securityUnable)(
  `an attribute that may not be set is left out, and nothing else${
    securityUnable ? ' (skipped: needs root, and files that can have one)' : ''
  }`,
  async () => {
    const { file } = await open([sampleKey('a')]);
    for (const one of [file, dirname(file)]) chownSync(one, NOBODY, NOBODY);
    expect(xattrs(file, { ...USER, ...SECURITY })).toEqual({ ...USER, ...SECURITY });
    const child = await drive({ DATA_FILE: file });
    await child.run(`
      process.setgid(${NOBODY});
      process.setuid(${NOBODY});
      await ledger.updateApiKeyUsage('a', 5, 'model');
    `);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect(xattrs(file)).toEqual(USER);
    expect(leftovers(file)).toEqual([]);
    await child.end();
  },
);

/** An access control list as the system has it: version 2, then tag, permissions and id of each entry. */
function acl(...entries: [tag: number, permissions: number, id?: number][]): string {
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2, 0);
  entries.forEach(([tag, permissions, id = 0xffffffff], n) => {
    bytes.writeUInt16LE(tag, 4 + 8 * n);
    bytes.writeUInt16LE(permissions, 6 + 8 * n);
    bytes.writeUInt32LE(id, 8 + 8 * n);
  });
  return bytes.toString('latin1');
}
const [OWNER, USER_OF_ID, OWNING_GROUP, MASK, OTHER] = [0x01, 0x02, 0x04, 0x10, 0x20];
const LIST = acl([OWNER, 6], [USER_OF_ID, 6, 12345], [OWNING_GROUP, 4], [MASK, 6], [OTHER, 0]);
const ACCESS: Attributes = { 'system.posix_acl_access': LIST };
const aclUnable = maySet(ACCESS) ? '' : ' (skipped: files can have none here)';
describe.skipIf(aclUnable)(`an access control list${aclUnable}`, () => {
  it.each(Object.entries(WAYS))('is kept by %s', async (_, way) => {
    const ledger = await open([sampleKey('a')]);
    xattrs(ledger.file, ACCESS);
    const before = looks(ledger.file);
    expect(before.mode).toBe('660');
    for (let n = 0; n < 2; n += 1) {
      await call(ledger, way);
      expect(xattrs(ledger.file)).toEqual(ACCESS);
      expect(looks(ledger.file)).toEqual(before);
    }
  });

  it.each(Object.entries(WAYS))(
    'that new files of the folder get is not for %s',
    async (_, way) => {
      const ledger = await open([sampleKey('a')]);
      chmodSync(ledger.file, 0o660);
      xattrs(dirname(ledger.file), { 'system.posix_acl_default': LIST });
      await call(ledger, way);
      // Nobody may read the file who could not read it before.
      expect(xattrs(ledger.file)).toEqual({});
      expect(looks(ledger.file).mode).toBe('660');
    },
  );
});

const traces = spawnSync('strace', ['true']).status === 0;
const untraced = traces ? '' : ' (skipped: strace is missing or may not trace)';
it.skipIf(!traces)(
  `a replacement that is taken back leaves the file with all that it had${untraced}`,
  async () => {
    const { file } = await open([sampleKey('a')]);
    if (root) chownSync(file, 12345, GROUP);
    if (!userUnable) xattrs(file, USER);
    chmodSync(file, 0o640);
    const before = { ...looks(file), text: readFileSync(file, 'utf8') };
    const code = `
      import * as ledger from ${JSON.stringify(PACKAGE)};
      await ledger.updateApiKeyUsage('a', 5, 'model').catch(error => console.log(error.code));
    `;
    const injected = ['-f', '-qq', '-o', '/dev/null', '-e', 'signal=none', '-e', 'trace=fsync'];
    const failing = [...injected, '-e', 'inject=fsync:error=EIO', process.execPath];
    const ended = await start('strace', [...failing, ...evaluate(code)], { DATA_FILE: file }).ended;
    expect(ended).toMatchObject({ code: 0, stdout: 'EIO\n', stderr: '' });
    expect({ ...looks(file), text: readFileSync(file, 'utf8') }).toEqual(before);
    if (!userUnable) expect(xattrs(file)).toEqual(USER);
    expect(leftovers(file)).toEqual([]);
  },
  20000,
);
