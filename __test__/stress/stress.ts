/** Whether the long form of the stress tests was asked for (`npm run stress`); else they run briefly, with `npm test`. */
export const full: boolean = process.env.KEYLEDGER_STRESS === 'full';

/** Gives the first in the short form, the second in the full one. */
export const times = (short: number, all: number): number => (full ? all : short);
