/** How a subscription ended, told alike by every transport. */
export type Ending =
  /** Come back after the last cursor; with a fresh token when `stale`. */
  | { kind: "lost"; reason: string; stale: boolean }
  /** Coming back as it is would get the same answer. */
  | { kind: "refused"; error: StreamRefused };

/** The gateway said no for good. */
export class StreamRefused extends Error {
  override readonly name = "StreamRefused";

  constructor(
    message: string,
    /** `extensions.code`, or `CLOSED_4401` and its like for a socket's close code. */
    readonly code: string,
  ) {
    super(message);
  }
}

interface ErrorLike {
  message: string;
  extensions?: Record<string, unknown>;
}

const PASSING = new Set(["UNAVAILABLE", "THROTTLED", "INTERNAL", "TOKEN_EXPIRED"]);
// Bad message, dead credentials, wrong subprotocol, id in use, second init; graphql-ws takes the same for final.
const FINAL_CLOSES = new Set([4400, 4401, 4406, 4409, 4429]);

export function lost(reason: string, stale = false): Ending {
  return { kind: "lost", reason, stale };
}

/** What the `errors` of a stream's last word mean. */
export function endingOfErrors(errors: readonly ErrorLike[]): Ending {
  const error = errors[0] ?? { message: "The stream failed." };
  const code = String(error.extensions?.["code"] ?? "UNKNOWN");
  if (error.extensions?.["retryable"] === true || PASSING.has(code)) {
    return lost(error.message, code === "TOKEN_EXPIRED");
  }
  return { kind: "refused", error: new StreamRefused(error.message, code) };
}

/** What a socket's close, or whatever else a client library raised, means. */
export function endingOfProblem(problem: unknown): Ending {
  if (problem instanceof StreamRefused) return { kind: "refused", error: problem };
  if (Array.isArray(problem)) return endingOfErrors(problem);
  if (isClose(problem)) {
    if (FINAL_CLOSES.has(problem.code)) {
      return { kind: "refused", error: new StreamRefused(problem.reason || "Refused", `CLOSED_${problem.code}`) };
    }
    return lost(`closed with ${problem.code} ${problem.reason}`.trim(), problem.code === 4403);
  }
  return lost(problem instanceof Error ? problem.message : String(problem));
}

function isClose(value: unknown): value is { code: number; reason: string } {
  return typeof value === "object" && value !== null && "code" in value && "reason" in value;
}
