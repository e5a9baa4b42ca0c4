// This module is where GraphiQL's operations leave: queries over HTTP, subscriptions over one WebSocket.

const PATH = "/graphql";
// The headers that a socket can carry besides the token; browsers set none on the handshake.
const SOCKET_HEADERS = ["authorization", "x-signalbox-tenant"];

/** A GraphiQL fetcher for a session; `onState(state, streams)` hears of the socket: idle, connecting or live. */
export function createTransport(session, onState) {
  let client = null;
  let clientKey = null;
  let socket = null;
  let streams = 0;
  let connected = false;

  const report = () => onState(streams === 0 ? "idle" : connected ? "live" : "connecting", streams);

  function clientFor(headers) {
    const own = pick(headers, SOCKET_HEADERS);
    const key = JSON.stringify(own);
    if (client && key === clientKey) return client;
    close();
    clientKey = key;
    client = graphqlWs.createClient({
      url: location.origin.replace(/^http/, "ws") + PATH,
      // Asked again for every connection, so that a socket which ended with its token comes back with a fresh one.
      connectionParams: async () => ({ ...(await credentials(session)), ...own }),
      retryAttempts: Infinity,
      shouldRetry: () => true,
      on: {
        connected: (opened) => { socket = opened; connected = true; report(); },
        closed: () => { socket = null; connected = false; report(); },
      },
    });
    return client;
  }

  function close() {
    client?.dispose();
    client = clientKey = socket = null;
    connected = false;
  }

  // An observable, not an async iterator: that one could only stop when its next item comes.
  function subscribe(params, headers) {
    return {
      subscribe(observer) {
        let open = true;
        const count = (change) => { streams += change; report(); };
        const end = () => { if (open) { open = false; count(-1); } };
        count(+1);
        const stop = clientFor(headers).subscribe(params, {
          next: (item) => observer.next(item),
          error: (problem) => {
            end();
            observer.next({ errors: Array.isArray(problem) ? problem : [{ message: describe(problem) }] });
            observer.complete();
          },
          complete: () => { end(); observer.complete(); },
        });
        return { unsubscribe() { end(); stop(); } };
      },
    };
  }

  async function post(params, headers) {
    const send = async () =>
      fetch(PATH, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/graphql-response+json, application/json;q=0.9",
          ...(await credentials(session)),
          ...headers,
        },
        body: JSON.stringify(params),
      });
    let response = await send();
    if (response.status === 401 && session.viewer && !headers.authorization) {
      await session.renew();
      response = await send();
    }
    return response.json();
  }

  // The socket outlives its token when it is shown a newer one.
  session.addEventListener("renewed", async () => {
    const payload = await credentials(session);
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "ping", payload }));
  });
  session.addEventListener("change", close);

  return (written, options = {}) => {
    const headers = lowerCased(options.headers);
    const [params, isSubscription] = settled(written);
    return isSubscription ? subscribe(params, headers) : post(params, headers);
  };
}

async function credentials(session) {
  const authorization = await session.authorization();
  return authorization ? { authorization } : {};
}

// Read from the text itself: what GraphiQL passes beside it lags behind when a tab was just changed.
function settled(params) {
  let operations = [];
  try {
    const document = GraphiQL.GraphQL.parse(params.query);
    operations = document.definitions.filter((node) => node.kind === "OperationDefinition");
  } catch {
    // The gateway says what is wrong with it.
  }
  const chosen = operations.find((node) => node.name?.value === params.operationName) ?? operations[0];
  const operationName = operations.length === 1 ? chosen.name?.value : params.operationName;
  return [{ ...params, operationName }, chosen?.operation === "subscription"];
}

function describe(problem) {
  if (problem instanceof CloseEvent) return `The connection was closed: ${problem.reason || problem.code}.`;
  return problem?.message ?? "The connection failed.";
}

function lowerCased(headers) {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
}

function pick(object, names) {
  return Object.fromEntries(names.filter((name) => object[name]).map((name) => [name, object[name]]));
}
