// This script is where urql queries over HTTP and subscribes: node urql.mjs <gateway> <events|websocket>.

import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

import { signIn, tell, url, webSocketUrl } from "./flow.mjs";

const overWebSocket = process.argv[3] === "websocket";
const authorization = await signIn();
const socket = createClient({ url: webSocketUrl, webSocketImpl: WebSocket, connectionParams: { authorization } });
const overSocket = subscriptionExchange({
  forwardSubscription: ({ query = "", variables }) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
  }),
});
const client = new Client({
  url,
  preferGetMethod: false,
  fetchOptions: { headers: { authorization } },
  fetchSubscriptions: !overWebSocket,
  exchanges: overWebSocket ? [overSocket, fetchExchange] : [fetchExchange],
});

await tell(`urql-${process.argv[3]}`, authorization, {
  query: async (document) => checked(await client.query(document, {}).toPromise()),
  watch: (document, onItem) => {
    const { unsubscribe } = client.subscription(document, {}).subscribe((result) => onItem(checked(result)));
    return unsubscribe;
  },
  close: () => socket.dispose(),
});

function checked({ data, error }) {
  if (error) {
    console.error(error);
    process.exit(1);
  }
  return data;
}
