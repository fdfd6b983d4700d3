// `npm run bench`, on a fresh clone too: installs and builds what is missing, then hands over to `main.ts`.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { prepare, root } from '../scripts/prepare.mjs';

prepare();
const args = ['--import', 'tsx', join(root, 'bench', 'main.ts'), ...process.argv.slice(2)];
process.exitCode = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
