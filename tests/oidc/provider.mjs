// A certified provider with a login page of our own: who writes an address there is that person.
//
//   node provider.mjs REDIRECT_URI CLIENT_ID CLIENT_SECRET
//
// It prints its issuer. `POST /test/MODE` says what is to be wrong with the next tokens: nonce, audience,
// expired, issuer, unsigned; `silent`: there is no email_verified, `nameless`: no email; `right`: nothing; `rotate`: it makes new keys, and forgets the old ones.

import http from "node:http";
import * as jose from "jose";
import Provider from "oidc-provider";

const [redirectUri, clientId, clientSecret] = process.argv.slice(2);
let mode = "right";
let key;
let serve;

const makeKey = async () => {
  const { privateKey } = await jose.generateKeyPair("RS256", { extractable: true });
  const jwk = await jose.exportJWK(privateKey);
  return { ...jwk, kid: `key-${Math.random().toString(36).slice(2)}`, alg: "RS256", use: "sig" };
};

// The same token with one thing changed, signed by the provider's own key.
const forge = async (token) => {
  const claims = jose.decodeJwt(token);
  const hour = 3600;
  if (mode === "nonce") claims.nonce = "another";
  if (mode === "audience") claims.aud = "another-client";
  if (mode === "issuer") claims.iss = "https://another.example";
  if (mode === "expired") Object.assign(claims, { iat: claims.iat - 2 * hour, exp: claims.iat - hour });
  if (mode === "unsigned") return new jose.UnsecuredJWT(claims).encode();
  const header = { alg: "RS256", kid: key.kid };
  return new jose.SignJWT(claims).setProtectedHeader(header).sign(await jose.importJWK(key, "RS256"));
};

const make = async (issuer) => {
  key = await makeKey();
  const provider = new Provider(issuer, {
    clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUri] }],
    jwks: { keys: [key] },
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    pkce: { required: () => true, methods: ["S256"] },
    cookies: { keys: ["test"] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    // Nobody is asked whether the console may know the address.
    loadExistingGrant: async (context) => {
      const grant = new context.oidc.provider.Grant({
        clientId: context.oidc.client.clientId,
        accountId: context.oidc.session.accountId,
      });
      grant.addOIDCScope("openid email");
      await grant.save();
      return grant;
    },
    findAccount: (_context, id) => ({
      accountId: id,
      // Entra ID says nothing of the verification for work accounts, and may send no address.
      claims: () => ({
        sub: id,
        ...(mode === "nameless" ? {} : { email: id }),
        ...(mode === "silent" ? {} : { email_verified: !id.startsWith("unverified") }),
      }),
    }),
  });
  provider.use(async (context, next) => {
    await next();
    if (!["right", "silent", "nameless"].includes(mode) && context.path === "/token" && context.body?.id_token) {
      context.body.id_token = await forge(context.body.id_token);
    }
  });
  const handle = provider.callback();
  serve = (request, response) =>
    request.url.startsWith("/interaction/") ? ask(provider, request, response) : handle(request, response);
};

// One field and a button; whoever it is, they are believed.
const ask = async (provider, request, response) => {
  if (request.method !== "POST") {
    response.setHeader("content-type", "text/html");
    return response.end(`<form method="post"><input name="login"><button type="submit">in</button></form>`);
  }
  let body = "";
  for await (const part of request) body += part;
  const accountId = new URLSearchParams(body).get("login");
  await provider.interactionFinished(request, response, { login: { accountId } });
};

const server = http.createServer(async (request, response) => {
  const wanted = /^\/test\/(\w+)$/.exec(request.url);
  if (!wanted) return serve(request, response);
  if (wanted[1] === "rotate") await make(issuer);
  else mode = wanted[1];
  response.end();
});

let issuer;
server.listen(0, "127.0.0.1", async () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  await make(issuer);
  console.log(issuer);
});
// The test holds this end open for as long as it wants a provider.
process.stdin.on("end", () => process.exit(0)).resume();
