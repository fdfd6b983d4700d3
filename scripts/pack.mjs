// `npm run pack`: makes the packages to publish, in `dist`: the main one, and one for each platform from the binaries in
// `artifacts` (or another folder that is named). Fails when one of them is missing, or is not what it should be; `--built`
// takes those that are there.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { faultOf } from './binary.mjs';
import { napi, root } from './prepare.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { built: { type: 'boolean' } },
});
const [artifacts = join(root, 'artifacts')] = positionals;
const platforms = join(root, 'npm');
const dist = join(root, 'dist');
const main = join(dist, 'keyledger');

rmSync(platforms, { recursive: true, force: true });
execFileSync(process.execPath, [napi, 'create-npm-dirs'], { cwd: root, stdio: 'pipe' });

const targets = readdirSync(platforms);
const binary = (/** @type {string} */ target) => join(artifacts, `keyledger.${target}.node`);
const there = targets.filter(target => existsSync(binary(target)));
const faults = targets
  .filter(target => !values.built && !there.includes(target))
  .map(target => `${target}: there is no binary`);
for (const target of there) {
  const fault = faultOf(binary(target), target);
  if (fault !== undefined) faults.push(`${target}: ${fault}`);
}
if (there.length === 0) faults.push(`${artifacts}: there is no binary`);
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const crate = readFileSync(join(root, 'Cargo.toml'), 'utf8');
if (!crate.includes(`\nversion = "${manifest.version}"\n`)) {
  faults.push(`Cargo.toml: its version is not that of package.json, ${manifest.version}`);
}
if (faults.length > 0) {
  console.error(`No packages were made:\n${faults.map(fault => `- ${fault}\n`).join('')}`);
  process.exit(1);
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(main, { recursive: true });

/** @param {string} folder */
function pack(folder) {
  const options = ['--silent', '--pack-destination', dist];
  const name = execFileSync('npm', ['pack', ...options], { cwd: folder, encoding: 'utf8' });
  console.log(`dist/${name.trim()}`);
}

for (const target of there) {
  const folder = join(platforms, target);
  copyFileSync(binary(target), join(folder, `keyledger.${target}.node`));
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  pack(folder);
}

// What only serves to develop keyledger stays here. Above all no script can run when it is installed.
for (const name of ['devDependencies', 'napi', 'overrides', 'private', 'scripts', 'workspaces']) {
  delete manifest[name];
}
manifest.optionalDependencies = Object.fromEntries(
  targets.map(target => [`keyledger-${target}`, manifest.version]),
);
writeFileSync(join(main, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
for (const name of [...manifest.files, 'README.md', 'LICENSE']) {
  cpSync(join(root, name), join(main, name), { recursive: true });
}
pack(main);
