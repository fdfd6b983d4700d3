import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readApiKeys, writeApiKeys } from './storage.ts';

/** Writes a data file with one demo key where there is none yet, and prints the demo key that the file holds. */
const file = process.env.DATA_FILE || join(process.cwd(), 'data', 'apikeys.json');
const prefix = 'sk-demo-';

if (!existsSync(file)) {
  const now = new Date();
  const inAYear = new Date(now);
  inAYear.setFullYear(now.getFullYear() + 1);
  await writeApiKeys({
    keys: [
      {
        key: prefix + randomBytes(12).toString('hex'),
        name: 'Demo',
        token_limit_per_5h: 100_000,
        expiry_date: inAYear.toISOString(),
        created_at: now.toISOString(),
        last_used: now.toISOString(),
        total_lifetime_tokens: 0,
        usage_windows: [],
      },
    ],
  });
}

const { keys } = await readApiKeys();
const demo = keys.find(record => record.key.startsWith(prefix));
if (demo) console.log(demo.key);
