// This script is where the one story stands that every client tells: sign in, query, watch, change, see the change.

const DEADLINE_MS = 20_000;

export const FLEET = `query Fleet {
  viewer { user { displayName } tenant { slug } }
  workspaces(first: 5) { totalCount nodes { id name status } }
}`;

export const CHANGES = `subscription Changes {
  workspaceStatus {
    __typename
    ... on StreamReady { cursor recovered }
    ... on WorkspaceItem { cursor kind workspace { id name status } }
  }
}`;

const CREATE = `mutation Create($input: CreateWorkspaceInput!) {
  createWorkspace(input: $input) { workspace { id name } userErrors { code message } }
}`;

const LOGIN = `mutation SignIn($input: LoginInput!) {
  login(input: $input) { accessToken userErrors { message } }
}`;

/** The gateway and whom to sign in as, as the test hands them over. */
export const { url, credentials } = JSON.parse(process.argv[2]);
export const webSocketUrl = url.replace(/^http/, "ws");

/** An access token, fetched as any page would. */
export async function signIn() {
  const { data } = await post(LOGIN, { input: credentials });
  if (!data.login.accessToken) throw new Error(JSON.stringify(data.login.userErrors));
  return `Bearer ${data.login.accessToken}`;
}

/**
 * Runs the story and prints what came of it as one line of JSON.
 *
 * `query(document)` resolves to data; `watch(document, onItem)` starts a subscription, calls back with each item's
 * data and returns a function that ends it.
 */
export async function tell(name, authorization, { query, watch, close = () => {} }) {
  const overdue = setTimeout(() => {
    console.error(`${name}: nothing within ${DEADLINE_MS} ms`);
    process.exit(1);
  }, DEADLINE_MS);
  const fleet = await query(FLEET);

  const items = [];
  const listeners = new Set();
  const stop = await watch(CHANGES, (data) => {
    items.push(data.workspaceStatus);
    listeners.forEach((listener) => listener());
  });
  const seen = (matches) =>
    new Promise((resolve) => {
      const look = () => {
        const item = items.find(matches);
        if (!item) return;
        listeners.delete(look);
        resolve(item);
      };
      listeners.add(look);
      look();
    });

  const ready = await seen((item) => item.__typename === "StreamReady");
  const workspaceName = `${name}-${process.pid}-${Date.now()}`;
  const { data } = await post(CREATE, { input: { name: workspaceName } }, authorization);
  const change = await seen((item) => item.workspace?.name === workspaceName);
  await stop();
  await close();
  clearTimeout(overdue);
  console.log(JSON.stringify({ name, fleet, ready, created: data.createWorkspace, change }));
}

async function post(query, variables, authorization) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  if (authorization) headers.authorization = authorization;
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
  const answer = await response.json();
  if (answer.errors) throw new Error(JSON.stringify(answer.errors));
  return answer;
}
