// Whether keyledger has become slower beside the others: ratios of the short forms against `bounds.json`. Never absolute
// times: those tell of the machine.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../scripts/prepare.mjs';
import type { Result } from './main.ts';
import type { Column } from './measure.ts';
import { boundValue, digits } from './table.ts';

/**
 * By benchmark and row: to whom keyledger is compared, and the most that it may be on each runtime.
 */
type Bounds = Record<string, Record<string, Limit>>;
interface Limit {
  to: Column;
  most: { Node: number; Bun: number };
}

const bounds: Bounds = JSON.parse(readFileSync(join(root, 'bench', 'bounds.json'), 'utf8'));

/** The benchmarks that have such bounds, and short forms. */
export const SHORT: string[] = Object.keys(bounds);

/** Prints how each ratio stands; gives how many are not as they should be. */
export function checkRatios({ benchmark, tables }: Result): number {
  let missed = 0;
  for (const [what, { to, most }] of Object.entries(bounds[benchmark] ?? {})) {
    for (const { runtime, rows } of tables) {
      const limit = most[runtime.startsWith('Bun') ? 'Bun' : 'Node'];
      const row = rows.find(candidate => candidate.what === what);
      const value = row && boundValue(row, { limit, to });
      const met = value !== undefined && value <= limit;
      const found = value === undefined ? 'not measured' : `${digits(value)}x ${to}`;
      console.log(
        `${met ? 'ok  ' : 'MISS'} ${benchmark}, ${runtime}: ${what}: ${found}, at most ${limit}`,
      );
      if (!met) missed++;
    }
  }
  return missed;
}
