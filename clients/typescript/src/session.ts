import { StreamRefused } from "./endings.js";

/** Gives an access token or an API key; `fresh` when the one before was refused or ends soon. */
export type TokenSource = (wanted: { fresh: boolean }) => Promise<string>;

export interface SignIn {
  tenantSlug?: string;
  email: string;
  password: string;
}

interface Tokens {
  accessToken: string;
  accessTokenExpiresAt: string;
  refreshToken: string;
  userErrors: { message: string; code: string }[];
}

const FIELDS = "{ accessToken accessTokenExpiresAt refreshToken userErrors { message code } }";
const LOGIN = `mutation SignIn($input: LoginInput!) { tokens: login(input: $input) ${FIELDS} }`;
const REFRESH = `mutation Renew($input: RefreshSessionInput!) { tokens: refreshSession(input: $input) ${FIELDS} }`;

/** A person's session. Refresh tokens work once, so everybody who asks at once shares one renewal. */
export class Session {
  #tokens: Tokens;
  #renewal: Promise<void> | undefined;

  private constructor(
    readonly url: string,
    tokens: Tokens,
    readonly renewBeforeMs: number,
  ) {
    this.#tokens = tokens;
  }

  /** Throws StreamRefused for wrong credentials. */
  static async signIn(url: string, who: SignIn, renewBeforeMs = 60_000): Promise<Session> {
    return new Session(url, await ask(url, LOGIN, who), renewBeforeMs);
  }

  /** What `token` of a transport takes. */
  readonly token: TokenSource = async ({ fresh }) => {
    const left = Date.parse(this.#tokens.accessTokenExpiresAt) - Date.now();
    if (fresh || left < this.renewBeforeMs) await this.#renew();
    return this.#tokens.accessToken;
  };

  /** Keep it where a script of another page cannot read it. */
  get refreshToken(): string {
    return this.#tokens.refreshToken;
  }

  #renew(): Promise<void> {
    this.#renewal ??= ask(this.url, REFRESH, { refreshToken: this.#tokens.refreshToken })
      .then((tokens) => {
        this.#tokens = tokens;
      })
      .finally(() => {
        this.#renewal = undefined;
      });
    return this.#renewal;
  }
}

async function ask(url: string, query: string, input: object): Promise<Tokens> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({ query, variables: { input } }),
  });
  const { data, errors } = (await response.json()) as {
    data?: { tokens: Tokens | null };
    errors?: { message: string }[];
  };
  const tokens = data?.tokens;
  if (!tokens) throw new Error(errors?.[0]?.message ?? `HTTP ${response.status}`);
  const refusal = tokens.userErrors[0];
  if (refusal) throw new StreamRefused(refusal.message, refusal.code);
  return tokens;
}
