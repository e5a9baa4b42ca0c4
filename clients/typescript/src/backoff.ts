/** Growing pauses, anywhere in their span: clients that were sent away together must not come back together. */
export class Backoff {
  #failures = 0;

  constructor(
    readonly firstMs = 500,
    readonly longestMs = 30_000,
  ) {}

  /** The next pause. */
  next(): number {
    const longest = Math.min(this.longestMs, this.firstMs * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    return Math.random() * longest;
  }

  /** All is well: the next trouble is the first. */
  reset(): void {
    this.#failures = 0;
  }
}
