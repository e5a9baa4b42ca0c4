// This module is where the tab's session is: signing in and out, and fresh tokens before the old ones end.

const STORE = "signalbox.session";
const PATH = "/graphql";
// Renewed this long before the access token ends, so that no request meets an expired one.
const MARGIN_MS = 60_000;
const RETRY_MS = 5_000;

const AUTH = `
  accessToken accessTokenExpiresAt refreshToken
  viewer { roles user { displayName email } tenant { name slug } }
  userErrors { message }
`;
const LOGIN = `mutation SignIn($input: LoginInput!) { auth: login(input: $input) { ${AUTH} } }`;
const REFRESH = `mutation Refresh($input: RefreshSessionInput!) { auth: refreshSession(input: $input) { ${AUTH} } }`;
const LOGOUT = `mutation SignOut($input: LogoutInput!) { logout(input: $input) { userErrors { message } } }`;

/** What a person can read of a failed sign-in. */
export class SignInProblem extends Error {}

/** Dispatches "change" when somebody else is signed in, "renewed" when the same one has a newer token. */
export class Session extends EventTarget {
  #auth = read();
  #renewal = null;
  #timer = null;

  constructor() {
    super();
    this.#schedule();
  }

  get viewer() {
    return this.#auth?.viewer ?? null;
  }

  /** The header value for the next request; renews a token that is about to end first. */
  async authorization() {
    if (this.#auth && this.#left() < MARGIN_MS / 2) await this.renew();
    return this.#auth ? `Bearer ${this.#auth.accessToken}` : null;
  }

  async signIn(tenantSlug, email, password) {
    const auth = await ask(LOGIN, { tenantSlug: tenantSlug || null, email, password });
    this.#adopt(auth);
    this.dispatchEvent(new Event("change"));
  }

  async signOut() {
    const refreshToken = this.#auth?.refreshToken;
    this.#adopt(null);
    this.dispatchEvent(new Event("change"));
    if (refreshToken) await request(LOGOUT, { refreshToken }).catch(() => {});
  }

  /** One renewal at a time: a refresh token is good for one successor. */
  renew() {
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = null));
    return this.#renewal;
  }

  async #renew() {
    try {
      this.#adopt(await ask(REFRESH, { refreshToken: this.#auth.refreshToken }));
      this.dispatchEvent(new Event("renewed"));
    } catch (problem) {
      if (problem instanceof SignInProblem || this.#left() <= 0) {
        this.#adopt(null);
        this.dispatchEvent(new Event("change"));
      } else {
        // The gateway could not be reached; the old token is still good for a while.
        this.#timer = setTimeout(() => this.renew(), RETRY_MS);
      }
    }
  }

  #adopt(auth) {
    this.#auth = auth;
    if (auth) sessionStorage.setItem(STORE, JSON.stringify(auth));
    else sessionStorage.removeItem(STORE);
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (this.#auth) this.#timer = setTimeout(() => this.renew(), Math.max(this.#left() - MARGIN_MS, RETRY_MS));
  }

  #left() {
    return this.#auth ? Date.parse(this.#auth.accessTokenExpiresAt) - Date.now() : 0;
  }
}

// Per tab, not per browser: two tabs that share a refresh token would race each other's renewals.
function read() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE));
  } catch {
    return null;
  }
}

async function ask(query, input) {
  const auth = (await request(query, input)).auth;
  if (!auth?.accessToken) throw new SignInProblem(auth?.userErrors?.[0]?.message ?? "Signing in failed.");
  return auth;
}

async function request(query, input) {
  const response = await fetch(PATH, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({ query, variables: { input } }),
  });
  const { data, errors } = await response.json();
  if (errors?.length) throw new Error(errors[0].message);
  return data;
}
