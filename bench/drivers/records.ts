// The records in a JSON file, for those that keep them in memory.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ApiKey, ApiKeysData } from '../../index.js';

const NAME = 'records.json';

export async function makeRecords(folder: string, data: ApiKeysData): Promise<void> {
  writeFileSync(join(folder, NAME), JSON.stringify(data));
}

export function readRecords(folder: string): ApiKey[] {
  return JSON.parse(readFileSync(join(folder, NAME), 'utf8')).keys;
}
