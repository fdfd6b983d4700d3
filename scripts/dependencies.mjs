// Writes `docs/dependencies.md`, the list of what is linked into the binaries; with `--check` it fails when that is not up to date.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { root } from './prepare.mjs';

const file = join(root, 'docs', 'dependencies.md');
const { napi } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** @type {Map<string, number>} */
const found = new Map();
for (const target of napi.targets) {
  const what = ['--locked', '--features', 'binding', '-e', 'no-dev,no-build,no-proc-macro'];
  const how = ['--target', target, '--prefix', 'none', '--no-dedupe', '-f', '{p} | {l} |'];
  const tree = execFileSync('cargo', ['tree', ...what, ...how], { cwd: root, encoding: 'utf8' });
  const [, ...lines] = tree.trim().split('\n');
  for (const line of new Set(lines)) found.set(line, (found.get(line) ?? 0) + 1);
}
const rows = [...found]
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(
    ([line, count]) =>
      `| ${line} ${count === napi.targets.length ? 'all' : `${count} of ${napi.targets.length}`} |`,
  );
const text = `# Dependencies

What is linked into the binaries, by \`scripts/dependencies.mjs\` from \`Cargo.lock\`. Why each of the direct ones is
there is in [design.md](design.md). The npm packages have no other dependencies.

| crate | licence | platforms |
|---|---|---|
${rows.join('\n')}
`;

if (!process.argv.includes('--check')) {
  writeFileSync(file, text);
} else if (readFileSync(file, 'utf8') !== text) {
  console.error('docs/dependencies.md is not up to date: run `node scripts/dependencies.mjs`.');
  process.exit(1);
}
