/** What happens where there is no binary, or not the right one. */
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { root } from '../../scripts/prepare.mjs';
import { makeProject, removeProjects, run, serve } from './registry.js';
import { bun } from './runtimes.js';

let registry: Awaited<ReturnType<typeof serve>>;
let project: string;
beforeAll(async () => {
  registry = await serve();
});
afterEach(removeProjects);
afterAll(() => registry.server.close());

const GNU = 'keyledger-linux-x64-gnu';
const MUSL = 'keyledger-linux-x64-musl';
const place = (name: string) => join(project, 'node_modules', name);

/** Installs it, and changes what was installed. */
async function install(change: () => void): Promise<void> {
  project = makeProject(registry.url, { type: 'module' });
  await run(project, {}, 'npm', 'install', '--no-audit', '--no-fund', 'keyledger');
  change();
}

function copyBinary(from: string, to: string): void {
  mkdirSync(place(`keyledger-${to}`), { recursive: true });
  const name = `keyledger.${to}.node`;
  cpSync(join(root, 'artifacts', `keyledger.${from}.node`), join(place(`keyledger-${to}`), name));
  const manifest = { name: `keyledger-${to}`, version: '0.1.0', main: name };
  writeFileSync(join(place(`keyledger-${to}`), 'package.json'), JSON.stringify(manifest));
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
  const MUSL_REPORT = 'process.report.getReport = () => ({ header: {} });';

  test('a package that was left out is named, and how to install it', async () => {
    await install(() => rmSync(place(GNU), { recursive: true }));
    const { code, message } = await load();
    expect(code).toBe('ERR_KEYLEDGER_BINARY');
    expect(message).toMatch(/can't be loaded on linux x64/);
    expect(message).toContain(`- ${GNU}@0.1.0: not installed`);
    expect(message).toContain(`- ${MUSL}@0.1.0: not installed`);
    expect(message).toContain(`npm install ${GNU}@0.1.0`);
    expect(message).toContain('--omit=optional');
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
      rmSync(place(GNU), { recursive: true });
      copyBinary('linux-x64-gnu', 'linux-arm64-gnu');
      writeFileSync(
        join(place('keyledger-linux-arm64-gnu'), 'keyledger.linux-arm64-gnu.node'),
        '\x7fELF',
      );
    });
    const { message } = await load(pretend('arch', 'arm64'));
    expect(message).toMatch(/- keyledger-linux-arm64-gnu@0\.1\.0: .*(ELF|file too short)/);
    expect(message).toContain('- keyledger-linux-arm64-musl@0.1.0: not installed');
  });

  test('where it is wrong about the C library the other binary is loaded', async () => {
    await install(() => {});
    expect(await load(MUSL_REPORT)).toEqual({});
    expect(
      await load('process.report.getReport = () => { throw new Error("no report"); };'),
    ).toEqual({});
  });

  test('where the first binary does not load the other one is tried', async () => {
    await install(() => copyBinary('linux-x64-musl', 'linux-x64-musl'));
    expect(await load(MUSL_REPORT)).toEqual({});
    rmSync(place(GNU), { recursive: true });
    const { message } = await load();
    expect(message).toContain(`- ${GNU}@0.1.0: not installed`);
    expect(message).toMatch(new RegExp(`- ${MUSL}@0\\.1\\.0: .*(libc|musl)`));
  });

  test('a binary of your own is loaded in place of them', async () => {
    await install(() => rmSync(place(GNU), { recursive: true }));
    const own = join(root, 'artifacts', 'keyledger.linux-x64-gnu.node');
    expect(await load(`process.env.KEYLEDGER_BINARY = ${JSON.stringify(own)};`)).toEqual({});
    const nowhere = await load(`process.env.KEYLEDGER_BINARY = '/nowhere.node';`);
    expect(nowhere.message).toContain('/nowhere.node');
  });
});
