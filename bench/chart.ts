// A chart of a benchmark's figures: for each runtime a column, for each row of its table a group of bars, on a logarithmic
// scale. Made of the medians.
import { init } from 'echarts';
import type { Result } from './main.ts';
import { COLUMNS, type Column, type Row } from './measure.ts';
import { digits } from './table.ts';

const WIDTH = 1400;
const NAMES_WIDTH = 330;
const HEAD = 90;
const BAR = 9;
const GAP = 16;
const COLOURS = [
  '#0072b2',
  '#56b4e9',
  '#999999',
  '#000000',
  '#cccccc',
  '#009e73',
  '#e69f00',
  '#d55e00',
  '#cc79a7',
  '#f0e442',
];

/** Rows that have nothing in common with the others' scale are left to the table. */
function isShown({ unit }: Row): boolean {
  return unit !== 'x' && unit !== '%';
}

function medianOf(row: Row | undefined, column: Column): number | null {
  const figure = row?.figures[column];
  return typeof figure === 'object' && figure.median > 0 ? figure.median : null;
}

/** The SVG text. */
export function chart({ benchmark, machine, tables }: Result): string {
  const names = [
    ...new Set(tables.flatMap(({ rows }) => rows.filter(isShown).map(row => row.what))),
  ];
  const rowOf = (rows: Row[], what: string) => rows.find(row => row.what === what);
  const columns = COLUMNS.filter(column =>
    tables.some(({ rows }) => names.some(what => medianOf(rowOf(rows, what), column) !== null)),
  );
  const height = HEAD + names.length * (columns.length * BAR + GAP) + 30;
  const panel = (WIDTH - NAMES_WIDTH - 20) / tables.length;
  const units = new Map(tables.flatMap(({ rows }) => rows.map(row => [row.what, row.unit])));
  const page = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  page.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    color: columns.map(column => COLOURS[COLUMNS.indexOf(column)] as string),
    title: [
      { text: `keyledger: ${benchmark}`, subtext: machine, left: 10, top: 5 },
      ...tables.map(({ runtime }, i) => ({
        text: runtime,
        left: NAMES_WIDTH + i * panel,
        top: HEAD - 25,
        textStyle: { fontSize: 13 },
      })),
    ],
    legend: { data: [...columns], top: 12, left: NAMES_WIDTH, itemGap: 18 },
    grid: tables.map((_, i) => ({
      left: NAMES_WIDTH + i * panel,
      width: panel - 70,
      top: HEAD,
      bottom: 30,
    })),
    xAxis: tables.map((_, i) => ({
      type: 'log' as const,
      gridIndex: i,
      axisLabel: { fontSize: 9, hideOverlap: true },
      splitLine: { lineStyle: { color: '#eeeeee' } },
    })),
    yAxis: tables.map((_, i) => ({
      type: 'category' as const,
      gridIndex: i,
      inverse: true,
      data: names.map(what => `${what} [${units.get(what)}]`),
      axisLabel: { show: i === 0, fontSize: 10, interval: 0 },
      axisTick: { show: false },
    })),
    series: tables.flatMap(({ rows }, i) =>
      columns.map(column => ({
        name: column,
        type: 'bar' as const,
        xAxisIndex: i,
        yAxisIndex: i,
        barWidth: BAR - 1,
        barGap: '10%',
        data: names.map(what => medianOf(rowOf(rows, what), column)),
        label: {
          show: true,
          position: 'right' as const,
          fontSize: 8,
          color: '#333333',
          textBorderWidth: 0,
          formatter: ({ value }: { value?: unknown }) =>
            typeof value === 'number' ? digits(value) : '',
        },
      })),
    ),
  });
  const svg = page.renderToSVGString();
  page.dispose();
  return `${svg}\n`;
}
