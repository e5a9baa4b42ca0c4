import type { Ending } from "./endings.js";
import { endingOfErrors, StreamRefused } from "./endings.js";
import type { TokenSource } from "./session.js";

export interface Operation {
  query: string;
  variables?: Record<string, unknown>;
}

export interface Result {
  data?: Record<string, unknown> | null;
  errors?: readonly { message: string; extensions?: Record<string, unknown> }[];
}

/** Where a subscription's results go; `end` is called once, and nothing after it. */
export interface Sink {
  next(result: Result): void;
  end(ending: Ending): void;
}

/** A way to the gateway. It never resumes by itself: only the tail knows after which cursor. */
export interface Transport {
  query(operation: Operation): Promise<Result>;
  /** Starts a subscription; the function that comes back ends it, and then `end` is not called. */
  subscribe(operation: Operation, sink: Sink): () => void;
  dispose(): void;
}

export interface TransportOptions {
  /** `https://…/graphql` */
  url: string;
  token: TokenSource;
  fetch?: typeof fetch;
}

/** One query over plain HTTP; throws StreamRefused for an answer that another try would not change. */
export async function queryOverHttp(options: TransportOptions, operation: Operation): Promise<Result> {
  let response = await post(options, operation, await options.token({ fresh: false }));
  if (response.status === 401) response = await post(options, operation, await options.token({ fresh: true }));
  const result = (await response.json()) as Result;
  if (result.errors?.length && !result.data) {
    const ending = endingOfErrors(result.errors);
    throw ending.kind === "refused" ? ending.error : new Error(ending.reason);
  }
  if (!response.ok) throw new StreamRefused(`HTTP ${response.status}`, `HTTP_${response.status}`);
  return result;
}

function post(options: TransportOptions, operation: Operation, token: string): Promise<Response> {
  return (options.fetch ?? fetch)(options.url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/graphql-response+json, application/json",
      authorization: `Bearer ${token}`,
    },
    body: JSON.stringify(operation),
  });
}
