// This script is where graphql-sse queries and subscribes, each on a connection of its own.

import { createClient } from "graphql-sse";

import { signIn, tell, url } from "./flow.mjs";

const authorization = await signIn();
const client = createClient({ url, headers: { authorization } });

await tell("graphql-sse", authorization, {
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
