// The example gateway under load, in a process of its own, in front of an upstream that costs next to nothing: on
// keyledger, on the baseline, and on a storage that does nothing, which is the ceiling. Cold is a process that has just
// started; warm the same one after that.
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { type Child, start } from './child.ts';
import { type Answer, type Question, TEXT, TOKENS } from './gateway/server.ts';
import { type Load, load, needWrk } from './gateway/wrk.ts';
import {
  type Bound,
  figure,
  finish,
  folder,
  makeData,
  makeKey,
  type Row,
  shuffled,
  total,
} from './measure.ts';

type Who = 'keyledger' | 'baseline' | 'no storage';

interface Case {
  connections: number;
  keys: number;
  /** Whether the load on a process that has just started is a row as well, or only warms it up. */
  cold: boolean;
  /** What part of the ceiling's requests keyledger is held to. */
  least?: number;
}

const isBun = 'bun' in process.versions;
const TRIALS = 3;
const SECONDS = 3;
const WARM_UP_SECONDS = 1;
const WHO: Who[] = ['keyledger', 'baseline', 'no storage'];
const FULL: Case[] = [
  { connections: 50, keys: 10, cold: true, least: 0.85 },
  { connections: 50, keys: 100, cold: true, least: 0.85 },
  { connections: 50, keys: 1000, cold: true, least: 0.7 },
  { connections: 50, keys: 10_000, cold: true, least: 0.55 },
  { connections: 200, keys: 10, cold: false },
  { connections: 200, keys: 100, cold: false },
  { connections: 200, keys: 1000, cold: false },
];
/** Nobody's bounds are for Node, where the server itself is the limit: what tells nothing new there is left out. */
const CASES = isBun ? FULL : FULL.filter(({ keys }) => keys === 10 || keys === 1000);
/** What p99 of keyledger may be of the ceiling's. */
const P99 = 3;
const NONE: Bound = { limit: 0 };

const root = fileURLToPath(new URL('..', import.meta.url));

/** The gateway on this storage, as an owner would change it: its `storage.ts` and `cache.ts` are one line each. */
function makeGateway(who: Who): string {
  const gateway = join(folder, `gateway on ${who}`);
  const original = join(root, 'examples', 'gateway');
  cpSync(original, gateway, { recursive: true, filter: path => !path.includes('node_modules') });
  const lines = {
    keyledger: undefined,
    baseline: `export * from '${join(root, 'bench', 'baseline', 'storage.ts')}';\n`,
    'no storage': `export * from '${join(root, 'bench', 'gateway', 'none.ts')}';\n`,
  };
  const line = lines[who];
  if (line) for (const name of ['storage.ts', 'cache.ts']) writeFileSync(join(gateway, name), line);
  return gateway;
}

/** What was measured of a load. */
interface Phase extends Load {
  /** Of one processor, in percent. */
  cpu: number;
}

interface Trial {
  cold: Phase;
  warm: Phase;
  /** How many were served and recorded; without a storage none are. */
  tokens?: { served: number; recorded: number };
  /** Bytes. */
  peak: number;
  /** What the gateway has logged. */
  errors: string;
}

type Gateway = Child<Question, Answer>;

/** What is wrong with the answers of a gateway. */
async function fault(url: string, who: Who, keys: string[]): Promise<string | undefined> {
  const get = async (path: string, key: string, init: RequestInit = {}) => {
    const response = await fetch(url + path, { ...init, headers: { 'x-api-key': key } });
    const body = (await response.json()) as {
      status?: string;
      key?: string;
      choices?: { message: { content: string } }[];
    };
    return { status: response.status, body };
  };
  const ask = (key: string) => get('/v1/chat/completions', key, { method: 'POST', body: '{}' });

  if ((await get('/health', '')).body.status !== 'ok') return 'it is not healthy';
  for (const key of keys.slice(0, 5)) {
    const { status, body } = await ask(key);
    if (body.choices?.[0]?.message.content !== TEXT) return `a known key gives ${status}`;
    if (who === 'no storage') continue;
    if ((await get('/stats', key)).body.key !== key) return 'a key has the record of another';
  }
  if (who === 'no storage') return undefined;
  const { status } = await ask(makeKey());
  return status === 401 ? undefined : `an unknown key gives ${status}`;
}

async function phase(gateway: Gateway, keys: string, connections: number, seconds: number) {
  const before = await gateway.ask('state');
  const begun = performance.now();
  const measured = load(before.url, keys, connections, seconds);
  const elapsed = (performance.now() - begun) / 1e3;
  const { cpu } = await gateway.ask('state');
  return { ...measured, cpu: ((cpu - before.cpu) / elapsed) * 100 };
}

let runs = 0;

/** On a data file of its own. Gives what is wrong, if the answers are. */
async function trial(who: Who, { connections, keys: count, cold }: Case): Promise<Trial | string> {
  const place = join(folder, `run ${runs++}`);
  const file = join(place, 'apikeys.json');
  mkdirSync(place);
  const data = makeData(count);
  writeFileSync(file, JSON.stringify(data, null, 2));
  const list = join(place, 'keys');
  const keys = shuffled(data.keys.map(({ key }) => key));
  writeFileSync(list, `${keys.join('\n')}\n`);

  const run = async <T>(work: (gateway: Gateway) => Promise<T>): Promise<[T, Answer]> => {
    const env = { DATA_FILE: file, GATEWAY: gateways[who] };
    const gateway: Gateway = await start('gateway/server.ts', env);
    try {
      return [await work(gateway), await gateway.ask('stop')];
    } finally {
      await gateway.end();
    }
  };
  const [wrong, first] = await run(async gateway => {
    return fault((await gateway.ask('state')).url, who, keys);
  });
  if (wrong) return `wrong answer: ${wrong}`;
  const [phases, second] = await run(async gateway => ({
    cold: await phase(gateway, list, connections, cold ? SECONDS : WARM_UP_SECONDS),
    warm: await phase(gateway, list, connections, SECONDS),
  }));
  const served = (first.served + second.served) * TOKENS;
  const written = total(JSON.parse(readFileSync(file, 'utf8'))) - total(data);
  return {
    ...phases,
    ...(who !== 'no storage' && { tokens: { served, recorded: written } }),
    peak: second.peak,
    errors:
      second.errors === 0
        ? ''
        : `${second.errors} errors, the first: ${second.error.replaceAll(folder, '')}`,
  };
}

needWrk();
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
const gateways = Object.fromEntries(WHO.map(who => [who, makeGateway(who)])) as Record<Who, string>;

/** The trials of one case. */
type Trials = Map<Who, (Trial | string)[]>;

/** A row of what `number` makes of each trial. */
function row(
  trials: Trials,
  what: string,
  unit: string,
  number: (trial: Trial) => number | undefined,
  bound?: Bound | false,
): Row {
  const figures: Row['figures'] = {};
  for (const [who, all] of trials) {
    const wrong = all.find(one => typeof one === 'string');
    const numbers = all.flatMap(one => (typeof one === 'string' ? [] : (number(one) ?? [])));
    if (wrong) figures[who] = wrong;
    else if (numbers.length > 0) figures[who] = figure(numbers);
  }
  return { what, unit, figures, bounds: bound ? [bound] : [] };
}

/** The same of the worst trial: one that fails is not to be seen in a median. */
function worst(trials: Trials, what: string, number: (trial: Trial) => number | undefined): Row {
  const all = row(trials, what, '', number, NONE);
  for (const [who, cell] of Object.entries(all.figures)) {
    if (typeof cell === 'object') all.figures[who as Who] = figure([cell.most]);
  }
  return all;
}

/** A row of what part `number` is of the ceiling's in the same turn. */
function againstCeiling(
  trials: Trials,
  what: string,
  number: (trial: Trial) => number,
  bound?: Bound | false,
): Row {
  const ceiling = trials.get('no storage') ?? [];
  const figures: Row['figures'] = {};
  for (const who of WHO.filter(who => who !== 'no storage')) {
    const ratios = (trials.get(who) ?? []).flatMap((one, turn) => {
      const most = ceiling[turn];
      return typeof one === 'object' && typeof most === 'object' ? number(one) / number(most) : [];
    });
    if (ratios.length > 0) figures[who] = figure(ratios);
  }
  return { what, unit: 'x', figures, bounds: bound ? [bound] : [] };
}

/** What of a load was not answered well. */
function failures({ refused, broken, late }: Load): number {
  return refused + broken + late;
}

function phaseRows(trials: Trials, name: string, kind: 'cold' | 'warm', least?: number): Row[] {
  // Node's own server takes so long that little is to be seen of a storage.
  const bounded = isBun && least !== undefined;
  const of = (number: (phase: Phase) => number) => (one: Trial) => number(one[kind]);
  const rate = of(({ requests, refused, seconds }) => (requests - refused) / seconds);
  const p99 = of(phase => phase.p99);
  return [
    row(trials, `${name}: requests`, '/s', rate),
    againstCeiling(
      trials,
      `${name}: requests against the ceiling`,
      rate,
      bounded && { limit: least, least: true },
    ),
    row(
      trials,
      `${name}: p50`,
      'ms',
      of(phase => phase.p50),
    ),
    row(trials, `${name}: p99`, 'ms', p99),
    againstCeiling(trials, `${name}: p99 against the ceiling`, p99, bounded && { limit: P99 }),
    row(
      trials,
      `${name}: p99.9`,
      'ms',
      of(phase => phase['p99.9']),
    ),
    worst(trials, `${name}: requests that failed`, of(failures)),
    row(
      trials,
      `${name}: processor`,
      '%',
      of(phase => phase.cpu),
    ),
  ];
}

const rows: Row[] = [];
for (const each of CASES) {
  const { connections, keys, cold, least } = each;
  const trials: Trials = new Map(WHO.map(who => [who, []]));
  for (let turn = 0; turn < TRIALS; turn++) {
    for (const [who, all] of trials) all.push(await trial(who, each));
  }
  const name = `${connections} connections, ${keys} keys`;
  if (cold) rows.push(...phaseRows(trials, `${name}, cold`, 'cold', least));
  rows.push(...phaseRows(trials, `${name}, warm`, 'warm', least));
  const recorded = row(trials, `${name}: recorded`, '%', ({ tokens }) =>
    tokens ? (tokens.recorded / tokens.served) * 100 : undefined,
  );
  recorded.failed = {};
  for (const [who, all] of trials) {
    const errors = all.map(one => (typeof one === 'string' ? '' : one.errors)).find(Boolean);
    if (errors) recorded.failed[who] = errors;
  }
  rows.push(
    recorded,
    worst(trials, `${name}: tokens lost, or counted twice`, ({ tokens }) =>
      tokens ? Math.abs(tokens.served - tokens.recorded) : undefined,
    ),
    row(trials, `${name}: memory`, 'MB', one => one.peak / 1e6),
  );
}
finish(rows);
