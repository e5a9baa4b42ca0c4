// This module is where the page comes together: the bar, the sign-in dialog and GraphiQL itself.

import { TABS } from "./examples.js";
import { Session } from "./session.js";
import { createTransport } from "./transport.js";

const $ = (selector) => document.querySelector(selector);

const session = new Session();
const root = ReactDOM.createRoot($("#graphiql"));
const explorer = GraphiQLPluginExplorer.explorerPlugin();
const transport = createTransport(session, showStreams);

function showGraphiQL() {
  root.render(
    React.createElement(GraphiQL, {
      // A new function each time: GraphiQL then reads the schema again, as whoever is signed in now.
      fetcher: (params, options) => transport(params, options),
      plugins: [explorer],
      defaultTabs: TABS,
      defaultEditorToolsVisibility: true,
      isHeadersEditorEnabled: true,
      // Headers may hold keys; they end with the tab.
      shouldPersistHeaders: false,
      showPersistHeadersSettings: false,
      inputValueDeprecation: true,
    }),
  );
}

function showStreams(state, count) {
  const live = $("#live");
  live.dataset.state = state;
  const words = { idle: "No stream", connecting: "Connecting…", live: count === 1 ? "1 live stream" : `${count} live streams` };
  live.lastElementChild.textContent = words[state];
}

function showIdentity() {
  const viewer = session.viewer;
  $("#identity").hidden = $("#sign-out").hidden = !viewer;
  $("#open-sign-in").hidden = Boolean(viewer);
  if (!viewer) return;
  const name = viewer.user?.displayName ?? "API key";
  $("#identity b").textContent = initials(name);
  $("#identity strong").textContent = name;
  const roles = (viewer.roles ?? []).map((role) => role.toLowerCase().replace("_", " ")).join(", ");
  $("#identity small").textContent = [viewer.tenant?.name, roles].filter(Boolean).join(" · ");
}

function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  return words.slice(0, 2).map((word) => word[0].toUpperCase()).join("");
}

function setUpSignIn() {
  const dialog = $("#sign-in");
  const form = dialog.querySelector("form");
  const problem = dialog.querySelector(".problem");
  const submit = dialog.querySelector("[type=submit]");

  $("#open-sign-in").addEventListener("click", () => dialog.showModal());
  $("#sign-out").addEventListener("click", () => session.signOut());
  dialog.querySelector("[value=cancel]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { tenantSlug, email, password } = Object.fromEntries(new FormData(form));
    submit.disabled = true;
    problem.hidden = true;
    try {
      await session.signIn(tenantSlug.trim(), email.trim(), password);
      form.reset();
      dialog.close();
    } catch (failure) {
      problem.textContent = failure.message;
      problem.hidden = false;
    } finally {
      submit.disabled = false;
    }
  });
  if (!session.viewer) dialog.showModal();
}

session.addEventListener("change", () => {
  showIdentity();
  showGraphiQL();
});
showIdentity();
showGraphiQL();
setUpSignIn();
