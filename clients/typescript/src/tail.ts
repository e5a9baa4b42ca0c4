import { Backoff } from "./backoff.js";
import { StreamRefused, lost, type Ending } from "./endings.js";
import type { Operation, Result, Transport } from "./transport.js";

/** What every item of a durable stream has; select `__typename`, `cursor` and, of StreamReady, `recovered`. */
export interface StreamItem {
  __typename?: string;
  cursor: string;
  previousCursor?: string;
  recovered?: boolean;
}

export interface TailOptions<Item extends StreamItem = StreamItem> {
  transport: Transport;
  /** Declares `$after: EventCursor` and hands it to its one root field. */
  subscription: Operation;
  /** Each change once, in order. */
  onItem: (item: Item) => void;
  /** The gateway refused for good; nothing follows. */
  onRefused?: (error: StreamRefused) => void;
  /** What happens to the connection, in words. */
  onConnection?: (what: string) => void;
  backoff?: Backoff;
  /** Go on after this cursor; from now on when absent. */
  after?: string;
  /** What came after the cursor is not to be had any more: read the state anew. */
  onGap?: () => void;
}

export interface SnapshotOptions<Snapshot, Item extends StreamItem>
  extends Omit<TailOptions<Item>, "after" | "onGap"> {
  /** Reads the state, and `eventCursor` with it. */
  query: Operation;
  /** The state: at first, and again whenever changes were missed that are not to be had any more. */
  onSnapshot: (state: Snapshot) => void;
}

/** A stream that is being followed. */
export interface Tail {
  /** Where it stands: everything up to here was handed over. */
  readonly cursor: string | undefined;
  stop(): void;
}

/** Follow a stream from a cursor on. */
export function tail<Item extends StreamItem>(options: TailOptions<Item>): Tail {
  const following = new Following<Item>(options, options.after, undefined);
  void following.run();
  return following;
}

/**
 * Read the state, then follow every change since: none is missed and none comes twice, because the gateway answers
 * `eventCursor` before every other field, so the state is at least as new as the place where the stream begins.
 */
export function snapshotThenTail<Snapshot, Item extends StreamItem>(options: SnapshotOptions<Snapshot, Item>): Tail {
  const read = async () => {
    const { data } = await options.transport.query(options.query);
    const cursor = data?.["eventCursor"];
    if (typeof cursor !== "string") throw new StreamRefused("The query has to select eventCursor.", "BAD_REQUEST");
    return { cursor, show: () => options.onSnapshot(data as Snapshot) };
  };
  const following = new Following<Item>(options, undefined, read);
  void following.run();
  return following;
}

interface Place {
  cursor: string;
  show: () => void;
}

/** How one connection's turn ended; after a gap the state has to be read anew. */
type Turn = Ending | { kind: "gap" };

/** As many cursors are remembered, to leave out what was seen. */
const REMEMBERED = 1_000;

class Following<Item extends StreamItem> implements Tail {
  readonly #options: TailOptions<Item>;
  readonly #read: (() => Promise<Place>) | undefined;
  readonly #backoff: Backoff;
  readonly #seen = new Set<string>();
  #cursor: string | undefined;
  #mustRead: boolean;
  #stopped = false;
  #interrupt: () => void = () => undefined;

  constructor(options: TailOptions<Item>, after: string | undefined, read: (() => Promise<Place>) | undefined) {
    this.#options = options;
    this.#read = read;
    this.#backoff = options.backoff ?? new Backoff();
    this.#cursor = after;
    this.#mustRead = read !== undefined;
  }

  get cursor(): string | undefined {
    return this.#cursor;
  }

  stop(): void {
    this.#stopped = true;
    this.#interrupt();
  }

  async run(): Promise<void> {
    while (!this.#stopped) {
      const turn = await this.#once();
      if (this.#stopped) return;
      if (turn.kind === "refused") {
        this.#stopped = true;
        this.#options.onRefused?.(turn.error);
        return;
      }
      const reason = turn.kind === "gap" ? "changes were missed; reading the state anew" : turn.reason;
      const pause = this.#backoff.next();
      this.#options.onConnection?.(`${reason}; again in ${Math.round(pause)} ms`);
      await this.#sleep(pause);
    }
  }

  async #once(): Promise<Turn> {
    try {
      if (this.#mustRead && this.#read) {
        const place = await this.#read();
        if (this.#stopped) return lost("stopped");
        this.#cursor = place.cursor;
        this.#mustRead = false;
        place.show();
      }
      return await this.#follow();
    } catch (problem) {
      if (problem instanceof StreamRefused) return { kind: "refused", error: problem };
      return lost(problem instanceof Error ? problem.message : String(problem));
    }
  }

  #follow(): Promise<Turn> {
    return new Promise((resolve) => {
      const { subscription, transport } = this.#options;
      const variables = { ...subscription.variables, after: this.#cursor ?? null };
      let stop: (() => void) | undefined;
      let done = false;
      const end = (turn: Turn) => {
        if (done) return;
        done = true;
        stop?.();
        resolve(turn);
      };
      this.#interrupt = () => end(lost("stopped"));
      stop = transport.subscribe(
        { query: subscription.query, variables },
        { next: (result) => done || this.#take(result, end), end },
      );
      if (done) stop();
    });
  }

  #take(result: Result, end: (turn: Turn) => void): void {
    const item = Object.values(result.data ?? {})[0] as Item | undefined;
    if (!item) return;
    if (item.recovered !== undefined) {
      this.#stand(item, end);
      return;
    }
    const { cursor, previousCursor } = item;
    if (this.#seen.has(cursor)) return;
    if (previousCursor !== undefined && previousCursor !== this.#cursor) {
      // Something between was lost on the way; the log still has it.
      end(lost("an item is missing"));
      return;
    }
    this.#remember(cursor);
    if (item.__typename !== "StreamCheckpoint") this.#options.onItem(item);
  }

  #stand(ready: Item, end: (turn: Turn) => void): void {
    const gap = ready.recovered === false && this.#cursor !== undefined;
    if (gap && this.#read) {
      this.#mustRead = true;
      end({ kind: "gap" });
      return;
    }
    this.#backoff.reset();
    this.#remember(ready.cursor);
    this.#options.onConnection?.("following");
    if (gap) this.#options.onGap?.();
  }

  #remember(cursor: string): void {
    this.#cursor = cursor;
    this.#seen.add(cursor);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value as string);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#interrupt = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
