/** A registry that has the packages in `dist`, on 127.0.0.1: npm and Bun choose among them as they would among published ones. */
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
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
export async function serve(): Promise<{ url: string; server: Server }> {
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
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}

let projects = 0;

/** An empty project of this type whose packages come from the registry; away with `removeProjects`. */
export function makeProject(registry: string, fields: object, at: string = tmpdir()): string {
  const project = join(at, `keyledger-packages-${process.pid}-${projects++}`);
  made.push(project);
  mkdirSync(project);
  writeFileSync(join(project, '.npmrc'), `registry=${registry}\n`);
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'gateway', version: '1.0.0', ...fields }),
  );
  return project;
}

const made: string[] = [];

export function removeProjects(): void {
  for (const project of made.splice(0)) rmSync(project, { recursive: true, force: true });
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
