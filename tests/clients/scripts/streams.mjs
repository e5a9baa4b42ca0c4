// This script is where the TypeScript helper follows a stream through a network that cuts it off again and again.

import net from "node:net";

import WebSocket from "ws";

import { Backoff, Session, eventStreamTransport, snapshotThenTail, socketTransport, tail } from "../../../clients/typescript/dist/index.js";

const [{ url, credentials }, kind, scenario] = [JSON.parse(process.argv[2]), process.argv[3], process.argv[4]];
const CREATED = 60;
const CUTS = 5;

const QUERY = `query Fleet($search: String!) {
  eventCursor
  workspaces(first: 100, filter: { search: $search }) { nodes { id name } }
}`;
const CHANGES = `subscription Changes($after: EventCursor, $search: String!) {
  workspaceStatus(after: $after, filter: { search: $search }) {
    __typename
    ... on StreamItem { cursor }
    ... on StreamReady { recovered }
    ... on WorkspaceItem { previousCursor entityId workspace { name } }
  }
}`;
const FEED = `subscription Feed($after: EventCursor) {
  activityFeed(after: $after) { __typename ... on StreamItem { cursor } ... on StreamReady { recovered } ... on ActivityItem { event { kind } } }
}`;
const CREATE = `mutation Create($input: CreateWorkspaceInput!) {
  createWorkspace(input: $input) { workspace { id } userErrors { message } }
}`;
const LOGOUT = `mutation End($input: LogoutInput!) { logout(input: $input) { userErrors { message } } }`;

const overdue = setTimeout(() => fail("nothing within 45 s"), 45_000);
const scenarios = { cut, gap, renewal, refusal };
console.log(JSON.stringify(await scenarios[scenario]()));
clearTimeout(overdue);
process.exit(0);

/** Writers run all the time, the network is cut again and again: what is read and what comes is everything, once. */
async function cut() {
  const network = await cuttable(url);
  const session = await Session.signIn(url, credentials);
  const transport = transportTo(network.url, session);
  const writer = transportTo(url, session);
  const search = `cut${process.pid}x${Date.now()}`;
  const written = new Set();
  const known = new Set();
  const cursors = [];
  const connection = [];
  let snapshots = 0;

  const writing = (async () => {
    for (let number = 0; number < CREATED; number += 1) {
      const input = { name: `${search} ${number}` };
      const { data } = await writer.query({ query: CREATE, variables: { input } });
      written.add(data.createWorkspace.workspace.id);
    }
  })();
  await until(() => written.size >= 10);
  const following = snapshotThenTail({
    transport,
    backoff: new Backoff(50, 400),
    query: { query: QUERY, variables: { search } },
    subscription: { query: CHANGES, variables: { search } },
    onSnapshot: ({ workspaces }) => {
      snapshots += 1;
      workspaces.nodes.forEach(({ id }) => known.add(id));
    },
    onItem: ({ cursor, entityId }) => {
      cursors.push(cursor);
      known.add(entityId);
    },
    onRefused: fail,
    onConnection: (what) => connection.push(what),
  });
  const stands = () => connection.filter((what) => what === "following").length;
  for (let number = 1; number <= CUTS; number += 1) {
    await until(() => stands() >= number);
    network.cut();
  }
  await writing;
  await until(() => stands() > CUTS && [...written].every((id) => known.has(id)));
  following.stop();
  transport.dispose();
  return {
    written: written.size,
    missing: [...written].filter((id) => !known.has(id)).length,
    items: cursors.length,
    repeated: cursors.length - new Set(cursors).size,
    connections: stands(),
    snapshots,
  };
}

/** A place that the log no longer holds: told to whoever only follows, and read anew by whoever read the state. */
async function gap() {
  const session = await Session.signIn(url, credentials);
  const transport = transportTo(url, session);
  const told = await new Promise((resolve) => {
    const following = tail({
      transport,
      after: "nonsense",
      subscription: { query: FEED },
      onItem: () => undefined,
      onRefused: fail,
      onGap: () => {
        following.stop();
        resolve(true);
      },
    });
  });
  let reads = 0;
  const forgetful = {
    ...transport,
    query: async (operation) => {
      reads += 1;
      const result = await transport.query(operation);
      return reads === 1 ? { data: { ...result.data, eventCursor: "forgotten" } } : result;
    },
  };
  let snapshots = 0;
  const following = snapshotThenTail({
    transport: forgetful,
    backoff: new Backoff(10, 50),
    query: { query: QUERY, variables: { search: "Nothing" } },
    subscription: { query: CHANGES, variables: { search: "Nothing" } },
    onSnapshot: () => (snapshots += 1),
    onItem: () => undefined,
    onRefused: fail,
    onConnection: (what) => what === "following" && (stood = true),
  });
  let stood = false;
  await until(() => stood);
  following.stop();
  transport.dispose();
  return { told, snapshots };
}

/** A newer token on the open socket. */
async function renewal() {
  const session = await Session.signIn(url, credentials);
  const connection = [];
  let renewed = 0;
  const transport = socketTransport({
    url,
    token: session.token,
    webSocketImpl: WebSocket,
    renewBeforeMs: 598_000, // of ten minutes
    onRenewed: () => (renewed += 1),
  });
  const following = tail({
    transport,
    subscription: { query: FEED },
    onItem: () => undefined,
    onRefused: fail,
    onConnection: (what) => connection.push(what),
  });
  await until(() => renewed >= 2);
  following.stop();
  transport.dispose();
  return { renewed, connection };
}

/** The session is ended elsewhere: nothing follows, and nobody comes back for ever. */
async function refusal() {
  const session = await Session.signIn(url, credentials);
  const transport = transportTo(url, session);
  const refused = await new Promise((resolve) => {
    tail({
      transport,
      subscription: { query: FEED },
      onItem: () => undefined,
      onRefused: resolve,
      onConnection: (what) => {
        if (what !== "following") return;
        void transport.query({ query: LOGOUT, variables: { input: { refreshToken: session.refreshToken } } });
      },
    });
  });
  transport.dispose();
  return { code: refused.code };
}

function transportTo(address, session) {
  const options = { url: address, token: session.token };
  return kind === "socket" ? socketTransport({ ...options, webSocketImpl: WebSocket }) : eventStreamTransport(options);
}

/** The same gateway behind a cable that can be pulled. */
async function cuttable(target) {
  const { hostname, port } = new URL(target);
  const open = new Set();
  const server = net.createServer((client) => {
    const gateway = net.connect(Number(port), hostname);
    open.add(client);
    for (const [one, other] of [[client, gateway], [gateway, client]]) {
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        other.destroy();
        open.delete(client);
      });
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/graphql`, cut: () => open.forEach((one) => one.destroy()) };
}

async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}

function fail(problem) {
  console.error(problem);
  process.exit(1);
}
