type Fetch = (request: Request) => Response | Promise<Response>;

export interface Listener {
  port: number;
  /** Stops accepting and resolves once the running requests have ended; after `graceMs` they are cut. */
  close(graceMs: number): Promise<void>;
}

/** The part of Bun's server that is used here. */
interface BunRuntime {
  serve(options: { hostname: string; port: number; idleTimeout: number; fetch: Fetch }): {
    port: number;
    stop(closeActiveConnections?: boolean): Promise<void>;
  };
}

/** Listens on the server of the runtime: `Bun.serve`, or that of Node. */
export function listen(fetch: Fetch, hostname: string, port: number): Promise<Listener> {
  const bun = (globalThis as { Bun?: BunRuntime }).Bun;
  return bun ? listenOnBun(bun, fetch, hostname, port) : listenOnNode(fetch, hostname, port);
}

async function listenOnBun(
  bun: BunRuntime,
  fetch: Fetch,
  hostname: string,
  port: number,
): Promise<Listener> {
  // Bun cuts a connection that is silent for 10 s; a model may think for longer than that.
  const server = bun.serve({ hostname, port, idleTimeout: 0, fetch: request => fetch(request) });
  return {
    port: server.port,
    async close(graceMs) {
      const cut = setTimeout(() => void server.stop(true), graceMs);
      await server.stop();
      clearTimeout(cut);
    },
  };
}

async function listenOnNode(fetch: Fetch, hostname: string, port: number): Promise<Listener> {
  const { createAdaptorServer } = await import('@hono/node-server');
  const server = createAdaptorServer({ fetch, hostname }) as import('node:http').Server;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, hostname, resolve);
  });
  return {
    port: (server.address() as import('node:net').AddressInfo).port,
    async close(graceMs) {
      const closed = new Promise<void>(resolve => server.close(() => resolve()));
      // `close` leaves a connection open that becomes idle only later.
      const idle = setInterval(() => server.closeIdleConnections(), 20);
      const cut = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearInterval(idle);
      clearTimeout(cut);
    },
  };
}
