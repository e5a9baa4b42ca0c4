/** Signalbox streams: read the state, then follow every change of it, whatever happens to the connection. */

export { Backoff } from "./backoff.js";
export { StreamRefused, type Ending } from "./endings.js";
export { eventStreamTransport } from "./event-stream.js";
export { Session, type SignIn, type TokenSource } from "./session.js";
export { socketTransport, type SocketOptions } from "./socket.js";
export { snapshotThenTail, tail, type StreamItem, type Tail, type TailOptions, type SnapshotOptions } from "./tail.js";
export type { Operation, Result, Sink, Transport, TransportOptions } from "./transport.js";
