// This script is where graphql-ws queries and subscribes over one socket.

import { createClient } from "graphql-ws";
import WebSocket from "ws";

import { signIn, tell, webSocketUrl } from "./flow.mjs";

const authorization = await signIn();
const client = createClient({ url: webSocketUrl, webSocketImpl: WebSocket, connectionParams: { authorization } });

await tell("graphql-ws", authorization, {
  query: async (query) => {
    for await (const { data, errors } of client.iterate({ query })) {
      if (errors) throw new Error(JSON.stringify(errors));
      return data;
    }
  },
  watch: (query, onItem) =>
    client.subscribe({ query }, { next: ({ data }) => onItem(data), error: fail, complete: () => {} }),
  close: () => client.dispose(),
});

function fail(problem) {
  console.error(problem);
  process.exit(1);
}
