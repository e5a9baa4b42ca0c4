import { createClient } from "graphql-sse";

import { endingOfErrors, endingOfProblem, lost, type Ending } from "./endings.js";
import { queryOverHttp, type Result, type Transport, type TransportOptions } from "./transport.js";

/** Each subscription on an event stream (SSE) of its own: through proxies that know no WebSockets. */
export function eventStreamTransport(options: TransportOptions): Transport {
  let stale = false;
  const client = createClient({
    url: options.url,
    headers: async () => {
      const token = await options.token({ fresh: stale });
      stale = false;
      return { authorization: `Bearer ${token}` };
    },
    // The library would subscribe again after the cursor that the stream began with.
    retryAttempts: 0,
    ...(options.fetch ? { fetchFn: options.fetch } : {}),
  });

  return {
    query: (operation) => queryOverHttp(options, operation),
    subscribe(operation, sink) {
      let ended = false;
      let wasFresh = stale;
      const end = (ending: Ending) => {
        if (ended) return;
        ended = true;
        stale ||= ending.kind === "lost" && ending.stale;
        sink.end(ending);
      };
      const stop = client.subscribe<Record<string, unknown>>(operation, {
        next: (value) => {
          const result = value as Result;
          // The last word of a stream that ends for a reason is an item without data.
          if (result.errors?.length && !result.data) end(endingOfErrors(result.errors));
          else if (!ended) sink.next(result);
        },
        error: (problem) => end(endingOfResponse(problem, wasFresh)),
        complete: () => end(lost("the stream ended")),
      });
      return () => {
        ended = true;
        stop();
      };
    },
    dispose: () => client.dispose(),
  };
}

/** 401 may mean no more than that the token has ended: a fresh one decides. */
function endingOfResponse(problem: unknown, wasFresh: boolean): Ending {
  const status = (problem as { response?: { status?: number } } | undefined)?.response?.status;
  if (status === 401 && !wasFresh) return lost("the token was refused", true);
  if (status !== undefined && status >= 400 && status < 500 && status !== 429) {
    return endingOfErrors([{ message: `HTTP ${status}`, extensions: { code: `HTTP_${status}` } }]);
  }
  return endingOfProblem(problem);
}
