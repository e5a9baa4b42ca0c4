// This script is where Apollo Client queries over HTTP and subscribes: node apollo.mjs <gateway> <multipart|websocket>.

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

import { signIn, tell, url, webSocketUrl } from "./flow.mjs";

const overWebSocket = process.argv[3] === "websocket";
const authorization = await signIn();
const http = new HttpLink({ uri: url, headers: { authorization } });
const socket = createClient({ url: webSocketUrl, webSocketImpl: WebSocket, connectionParams: { authorization } });
const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: overWebSocket
    ? ApolloLink.split(({ operationType }) => operationType === "subscription", new GraphQLWsLink(socket), http)
    : http,
});

await tell(`apollo-${process.argv[3]}`, authorization, {
  query: async (document) => (await client.query({ query: gql(document) })).data,
  watch: (document, onItem) => {
    const stream = client.subscribe({ query: gql(document), fetchPolicy: "no-cache" });
    const subscription = stream.subscribe({
      next: ({ data, error }) => (error ? fail(error) : onItem(data)),
      error: fail,
    });
    return () => subscription.unsubscribe();
  },
  close: async () => {
    client.stop();
    await socket.dispose();
  },
});

function fail(problem) {
  console.error(problem);
  process.exit(1);
}
