import { createClient } from "graphql-ws";

import { endingOfProblem, lost } from "./endings.js";
import { queryOverHttp, type Result, type Transport, type TransportOptions } from "./transport.js";

export interface SocketOptions extends TransportOptions {
  /** `WebSocket` of the package `ws`, where there is none (Node before 22). */
  webSocketImpl?: unknown;
  /** How long before the token ends a newer one is shown. */
  renewBeforeMs?: number;
  /** The gateway pings every 25 s; a socket that hears nothing for so long is dead. */
  silenceMs?: number;
  /** Called when the gateway took a newer token on the open socket. */
  onRenewed?: (expiresAt: Date) => void;
}

/** All subscriptions over one WebSocket, which keeps its place when its token is renewed. */
export function socketTransport(options: SocketOptions): Transport {
  const { renewBeforeMs = 60_000, silenceMs = 60_000 } = options;
  let stale = false;
  let renewal: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;

  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => client.terminate(), silenceMs);
  };

  const renewBefore = (socket: WebSocket, payload: unknown) => {
    const ends = (payload as { accessTokenExpiresAt?: string } | undefined)?.accessTokenExpiresAt;
    clearTimeout(renewal);
    if (!ends) return; // an API key lives until it is revoked
    const wait = Math.max(Date.parse(ends) - Date.now() - renewBeforeMs, 1_000);
    renewal = setTimeout(async () => {
      try {
        const token = await options.token({ fresh: true });
        socket.send(JSON.stringify({ type: "ping", payload: { authorization: `Bearer ${token}` } }));
      } catch {
        // The socket ends with its token (4403), and its streams come back with what the source gives then.
      }
    }, wait);
  };

  let current: WebSocket | undefined;
  const client = createClient({
    url: options.url.replace(/^http/, "ws"),
    ...(options.webSocketImpl ? { webSocketImpl: options.webSocketImpl } : {}),
    connectionParams: async () => {
      const token = await options.token({ fresh: stale });
      stale = false;
      return { authorization: `Bearer ${token}` };
    },
    connectionAckWaitTimeout: 10_000,
    // The library would subscribe again after the cursor that the stream began with.
    retryAttempts: 0,
    on: {
      connected: (socket, payload) => {
        current = socket as WebSocket;
        heard();
        renewBefore(current, payload);
      },
      message: heard,
      pong: (received, payload) => {
        const ends = received ? (payload as { accessTokenExpiresAt?: string } | undefined)?.accessTokenExpiresAt : undefined;
        if (!ends || !current) return;
        renewBefore(current, payload);
        options.onRenewed?.(new Date(ends));
      },
      closed: () => {
        clearTimeout(renewal);
        clearTimeout(silence);
      },
    },
  });

  return {
    query: (operation) => queryOverHttp(options, operation),
    subscribe(operation, sink) {
      let ended = false;
      const end = (problem: unknown) => {
        if (ended) return;
        ended = true;
        const ending = problem === undefined ? lost("the stream ended") : endingOfProblem(problem);
        stale ||= ending.kind === "lost" && ending.stale;
        sink.end(ending);
      };
      const complete = client.subscribe<Record<string, unknown>>(operation, {
        next: (result) => ended || sink.next(result as Result),
        error: end,
        complete: () => end(undefined),
      });
      return () => {
        ended = true;
        complete();
      };
    },
    dispose() {
      clearTimeout(renewal);
      clearTimeout(silence);
      void client.dispose();
    },
  };
}
