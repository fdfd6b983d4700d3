/** A registry that has the packages in `dist`, on 127.0.0.1: npm and Bun choose among them as they would among published ones. */
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll } from 'vitest';
import { root } from '../../scripts/prepare.mjs';

export const dist = join(root, 'dist');
export const tarballs = readdirSync(dist).filter(name => name.endsWith('.tgz'));

export interface Manifest {
  name: string;
  version: string;
  [field: string]: unknown;
}

export function manifestOf(tarball: string): Manifest {
  const packed = join(dist, tarball);
  return JSON.parse(
    execFileSync('tar', ['-xzOf', packed, 'package/package.json'], { encoding: 'utf8' }),
  );
}

export const main = tarballs.find(name => /^keyledger-\d/.test(name)) ?? 'no main package';
export const { version } = manifestOf(main);

/** Serves the packages; what else is asked for does not exist. */
async function serve(): Promise<Server> {
  const packages = new Map(tarballs.map(tarball => [manifestOf(tarball).name, tarball]));
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').slice(1);
    const tarball = packages.get(path);
    if (tarball !== undefined) {
      const bytes = readFileSync(join(dist, tarball));
      const manifest = manifestOf(tarball);
      const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
      const source = { tarball: `http://${request.headers.host}/${tarball}`, integrity };
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({
          name: manifest.name,
          'dist-tags': { latest: manifest.version },
          versions: { [manifest.version]: { ...manifest, dist: source } },
        }),
      );
    } else if (tarballs.includes(path)) {
      response.end(readFileSync(join(dist, path)));
    } else {
      response.writeHead(404).end('{}');
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return server;
}

let registry = '';
const made: string[] = [];

/** Has the registry serve while the tests of a file run, and the projects go away after that. */
export function useRegistry(): void {
  let server: Server;
  beforeAll(async () => {
    server = await serve();
    registry = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  afterAll(() => {
    server.close();
    for (const project of made) rmSync(project, { recursive: true, force: true });
  });
}

/** An empty project of this type whose packages come from the registry. */
export function makeProject(type: 'commonjs' | 'module', at: string = tmpdir()): string {
  const project = join(at, `keyledger-packages-${process.pid}-${made.length}`);
  made.push(project);
  mkdirSync(project);
  writeFileSync(join(project, '.npmrc'), `registry=${registry}\n`);
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'gateway', version: '1.0.0', type }),
  );
  return project;
}

const execute = promisify(execFile);

/** Runs a command; gives what it printed. The registry goes on serving meanwhile. */
export async function run(
  cwd: string,
  env: Record<string, string>,
  command: string,
  ...args: string[]
): Promise<string> {
  // npm, and what it runs, hand their settings on by the environment, where they would count for more than the project's.
  const inherited = Object.entries(process.env).filter(([name]) => !/registry/i.test(name));
  const own = { npm_config_cache: join(cwd, '.npm'), ...env };
  const { stdout } = await execute(command, args, {
    cwd,
    env: { ...Object.fromEntries(inherited), ...own },
  });
  return stdout.trim();
}

export async function installByNpm(project: string): Promise<void> {
  await run(project, {}, 'npm', 'install', '--no-audit', '--no-fund', 'keyledger');
}

/** As it is deployed: from a lockfile, without scripts, in a place that has nothing yet. `bun` runs Bun in the project. */
export async function installByBun(
  project: string,
  bun: (...args: string[]) => Promise<string>,
): Promise<void> {
  await bun('add', '--ignore-scripts', 'keyledger');
  rmSync(join(project, 'node_modules'), { recursive: true });
  await bun('install', '--frozen-lockfile', '--production', '--ignore-scripts');
}
