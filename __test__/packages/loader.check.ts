/** What happens where there is no binary, or not the right one. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from '../../scripts/prepare.mjs';
import { installByNpm, makeProject, run, useRegistry, version } from './registry.js';
import { bun } from './runtimes.js';

let project: string;
useRegistry();

const GNU = 'keyledger-linux-x64-gnu';
const MUSL = 'keyledger-linux-x64-musl';
const place = (name: string) => join(project, 'node_modules', name);

/** Installs it, and changes what was installed. */
async function install(change: () => void): Promise<void> {
  project = makeProject('module');
  await installByNpm(project);
  change();
}

/** Puts a package there with a binary that is changed before. */
function addPackage(name: string, from: string, change: (bytes: Buffer) => void = () => {}): void {
  mkdirSync(place(name), { recursive: true });
  const bytes = readFileSync(join(root, 'artifacts', `keyledger.${from}.node`));
  change(bytes);
  writeFileSync(join(place(name), 'keyledger.node'), bytes);
  const manifest = { name, version, main: 'keyledger.node' };
  writeFileSync(join(place(name), 'package.json'), JSON.stringify(manifest));
}

describe.each([
  ['Node', process.execPath],
  ['Bun', bun],
])('on %s', (_, command) => {
  /** What importing it gives, after `before` in the same process. */
  async function load(before = ''): Promise<{ code?: string; message?: string }> {
    const source = `${before}
      const outcome = await import('keyledger').then(() => ({}), ({ code, message }) => ({ code, message }));
      console.log(JSON.stringify(outcome));`;
    writeFileSync(join(project, 'load.js'), source);
    return JSON.parse(await run(project, {}, command, 'load.js'));
  }
  const pretend = (what: string, value: string) =>
    `Object.defineProperty(process, '${what}', { value: '${value}' });`;
  const ON_MUSL = `import fs from 'node:fs';
    const read = fs.readFileSync;
    fs.readFileSync = (path, ...rest) => path === '/proc/self/maps' ? '/lib/ld-musl-' : read(path, ...rest);`;
  const WITHOUT_PROC = ON_MUSL.replace("'/lib/ld-musl-'", '(() => { throw 1; })()');

  test('a package that was left out is named, and how to install it', async () => {
    await install(() => rmSync(place(GNU), { recursive: true }));
    const { code, message } = await load();
    expect(code).toBe('ERR_KEYLEDGER_BINARY');
    expect(message).toMatch(/can't be loaded on linux x64/);
    expect(message).toContain(`- ${GNU}@${version}: not installed\n- ${MUSL}@${version}: not`);
    expect(message).toContain(`npm install --no-save ${GNU}@${version}`);
    expect(message).toContain('--omit=optional');
    expect((await load(ON_MUSL)).message).toContain(`npm install --no-save ${MUSL}@${version}`);
  });

  test('a platform without a package gets the list of those that have one', async () => {
    await install(() => {});
    for (const before of [pretend('arch', 'riscv64'), pretend('platform', 'freebsd')]) {
      const { code, message } = await load(before);
      expect(code).toBe('ERR_KEYLEDGER_BINARY');
      expect(message).toMatch(/can't be loaded on (linux riscv64|freebsd x64)/);
      expect(message).toContain('darwin-arm64, darwin-x64, linux-arm64-gnu');
      expect(message).toContain('KEYLEDGER_BINARY');
    }
  });

  test('a binary of another architecture is told from one that is missing', async () => {
    await install(() => {
      // ELF's field for the machine.
      addPackage(GNU, 'linux-x64-gnu', bytes => bytes.writeUInt16LE(0xb7, 0x12));
    });
    const { message } = await load();
    expect(message).toMatch(new RegExp(`- ${GNU}@${version}: .*keyledger\\.node`));
    expect(message).toContain(`- ${MUSL}@${version}: not installed`);
  });

  test('a binary of another version is told from a right one', async () => {
    await install(() => {
      addPackage(GNU, 'linux-x64-gnu', bytes => {
        // All that is as long: the version is among them.
        for (let at = bytes.indexOf(version); at >= 0; at = bytes.indexOf(version)) {
          bytes.write('9'.repeat(version.length), at);
        }
      });
    });
    expect((await load()).message).toMatch(/it is of version 9+, and keyledger of \d/);
  });

  test('where it is wrong about the C library the other binary is loaded', async () => {
    await install(() => {});
    expect(await load(ON_MUSL)).toEqual({});
    expect(await load(WITHOUT_PROC)).toEqual({});
  });

  test('where the first binary does not load the other one is tried', async () => {
    await install(() => addPackage(MUSL, 'linux-x64-musl'));
    expect(await load(ON_MUSL)).toEqual({});
    rmSync(place(GNU), { recursive: true });
    const { message } = await load();
    expect(message).toContain(`- ${GNU}@${version}: not installed`);
    expect(message).toMatch(new RegExp(`- ${MUSL}@${version}: .*(libc|musl)`));
  });

  test('a binary of your own is loaded in place of them', async () => {
    await install(() => rmSync(place(GNU), { recursive: true }));
    const own = join(root, 'artifacts', 'keyledger.linux-x64-gnu.node');
    expect(await load(`process.env.KEYLEDGER_BINARY = ${JSON.stringify(own)};`)).toEqual({});
    const nowhere = await load(`process.env.KEYLEDGER_BINARY = '/nowhere.node';`);
    expect(nowhere.code).toBe('ERR_KEYLEDGER_BINARY');
    expect(nowhere.message).toContain('KEYLEDGER_BINARY names /nowhere.node: ');
  });
});
