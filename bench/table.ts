// Rows as a table in Markdown. Beside a figure of the baseline the others are ratios to it, the absolute figures beside them.
import { type Bound, COLUMNS, type Column, type Figure, type Row } from './measure.ts';

/** Three digits, more only in front of the point. */
export function digits(number: number): string {
  return String(Math.abs(number) >= 1000 ? Math.round(number) : Number(number.toPrecision(3)));
}

function isFigure(cell: Figure | string | undefined): cell is Figure {
  return typeof cell === 'object' && cell !== null;
}

function figureOf({ figures }: Row, column: Column): Figure | undefined {
  const cell = figures[column];
  return isFigure(cell) ? cell : undefined;
}

/** The number that a bound is about; `undefined` where one of those that it takes is missing. */
export function boundValue(row: Row, { on = 'keyledger', to }: Bound): number | undefined {
  const figure = figureOf(row, on)?.median;
  if (to === undefined || figure === undefined) return figure;
  const other = figureOf(row, to)?.median;
  return other === undefined ? undefined : figure / other;
}

/** Whether all bounds of a row are met. */
export function isMet(row: Row): boolean | undefined {
  if (!row.bounds || row.bounds.length === 0) return undefined;
  return row.bounds.every(bound => {
    const value = boundValue(row, bound);
    if (value === undefined) return false;
    return bound.least ? value >= bound.limit : value <= bound.limit;
  });
}

function boundText(row: Row, { limit, on, to, least }: Bound): string {
  const sign = least ? '≥' : '≤';
  const who = on === undefined ? '' : `${on} `;
  return `${who}${sign} ${digits(limit)}${to === undefined ? ` ${row.unit}` : `x ${to}`}`;
}

function cellText(row: Row, column: Column): string {
  const cell = row.figures[column];
  const failed = row.failed?.[column];
  const parts = [isFigure(cell) ? figureText(row, column, cell) : (cell ?? '')];
  if (failed !== undefined) parts.push(failed);
  return parts.join('; ');
}

function figureText(row: Row, column: Column, { median, least, most }: Figure): string {
  const spread = least === most ? '' : ` (${digits(least)} to ${digits(most)})`;
  const absolute = `${digits(median)} ${row.unit}${spread}`;
  const baseline = figureOf(row, 'baseline')?.median ?? 0;
  // Of what is a ratio itself, or next to nothing, a ratio tells nothing.
  if (column === 'baseline' || baseline <= 0 || ['', '%', 'x'].includes(row.unit)) return absolute;
  return `**${digits(median / baseline)}x** ${absolute}`;
}

/** The table of these rows. */
export function markdown(rows: Row[]): string {
  const columns = COLUMNS.filter(column =>
    rows.some(({ figures }) => figures[column] !== undefined),
  );
  const hasBounds = rows.some(({ bounds }) => bounds !== undefined && bounds.length > 0);
  const head = ['what', ...columns, ...(hasBounds ? ['bound', 'met'] : [])];
  const body = rows.map(row => {
    const cells = [row.what, ...columns.map(column => cellText(row, column))];
    if (!hasBounds) return cells;
    const met = isMet(row);
    const bounds = (row.bounds ?? []).map(bound => boundText(row, bound)).join(', ');
    return [...cells, bounds, met === undefined ? '' : met ? 'yes' : 'NO'];
  });
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...body.map(line)].join('\n');
}
