// Providers as they really answer: their discovery documents, key sets, callbacks and tokens, in the shapes that their
// documentation and their public endpoints show. Whoever comes is mina@example.com; nobody is asked anything.
//
//   node forms.mjs CLIENT_ID
//
// It prints its address. Each provider is an issuer below it: /entra/TENANT/v2.0, /google, /okta/oauth2/default,
// /auth0/ and /keycloak/realms/story. `POST /clock/SECONDS` puts their clocks so far ahead; `POST /address/EMAIL` makes
// whoever comes somebody else.

import http from "node:http";
import * as jose from "jose";

const [clientId] = process.argv.slice(2);
const TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad";
const ISSUERS = {
  entra: `/entra/${TENANT}/v2.0`,
  google: "/google",
  okta: "/okta/oauth2/default",
  auth0: "/auth0/",
  keycloak: "/keycloak/realms/story",
};
let ahead = 0;
let email = "mina@example.com";
let base;

const pair = await jose.generateKeyPair("RS256", { extractable: true });
const publicKey = await jose.exportJWK(pair.publicKey);
const other = await jose.exportJWK((await jose.generateKeyPair("RS256", { extractable: true })).publicKey);

// What a sign-in that is under way wants: by its code.
const codes = new Map();

const now = () => Math.floor(Date.now() / 1000) + ahead;

const FORMS = {
  entra: {
    // No `alg`; and members that nobody else has.
    keys: () => [
      { kty: "RSA", use: "sig", kid: "old", x5t: "old", n: other.n, e: other.e, x5c: ["MIIC"], issuer: `${base}${ISSUERS.entra}` },
      { kty: "RSA", use: "sig", kid: "now", x5t: "now", n: publicKey.n, e: publicKey.e, x5c: ["MIIC"], cloud_instance_name: "microsoftonline.com" },
    ],
    metadata: {
      token_endpoint_auth_methods_supported: ["client_secret_post", "private_key_jwt", "client_secret_basic"],
      response_modes_supported: ["query", "fragment", "form_post"],
      http_logout_supported: true,
      tenant_region_scope: null,
    },
    callback: { session_state: "00aa0000-0000-0000-0000-000000000000" },
    // Of a work account nothing is said of the verification.
    claims: () => ({
      nbf: now(), email, name: "Mina", oid: "00000000-0000-0000-66f3-3332eca7ea81", preferred_username: email,
      rh: "0.AXkA", sub: "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", tid: TENANT, uti: "fqiBqXLPj0eQa82S-IYFAA", ver: "2.0",
    }),
  },
  google: {
    keys: () => [
      { n: other.n, kty: "RSA", kid: "old", e: other.e, alg: "RS256", use: "sig" },
      { n: publicKey.n, kty: "RSA", kid: "now", e: publicKey.e, alg: "RS256", use: "sig" },
    ],
    metadata: { token_endpoint_auth_methods_supported: ["client_secret_post", "client_secret_basic"], claims_supported: ["aud", "email", "email_verified"] },
    callback: { scope: "email openid https://www.googleapis.com/auth/userinfo.email", authuser: "0", hd: "example.com", prompt: "none" },
    claims: () => ({ azp: clientId, sub: "110169484474386276334", hd: "example.com", email, email_verified: true, at_hash: "HK6E_P6Dh8Y93mRNtsDB1Q" }),
  },
  okta: {
    keys: () => [{ kty: "RSA", alg: "RS256", kid: "now", use: "sig", e: publicKey.e, n: publicKey.n }],
    metadata: { token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"], request_parameter_supported: true },
    callback: {},
    // A thin token: the address is told at the userinfo endpoint alone.
    claims: () => ({ sub: "00uid4BxXw6I6TV4m0g3", ver: 1, jti: "ID.4eAWJOCMB3SX8XewDfVR", amr: ["pwd"], idp: "00o1n8sbwArJ7OQRw406", auth_time: now(), at_hash: "prt_9z" }),
    userinfo: () => ({ sub: "00uid4BxXw6I6TV4m0g3", email, email_verified: true, locale: "en_US", zoneinfo: "America/Los_Angeles", updated_at: 1311280970 }),
  },
  auth0: {
    keys: () => [{ kty: "RSA", use: "sig", n: publicKey.n, e: publicKey.e, kid: "now", x5t: "now", x5c: ["MIIC"], alg: "RS256" }],
    metadata: { token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "private_key_jwt"], mfa_challenge_endpoint: "https://tenant.auth0.example/mfa/challenge" },
    callback: {},
    claims: () => ({
      nickname: "mina", name: email, picture: "https://s.gravatar.com/avatar/0", updated_at: "2026-01-01T00:00:00.000Z", email, email_verified: true,
      sub: "auth0|5f7c8ec7c33c6c004bbafe82", sid: "ID_w",
    }),
  },
  keycloak: {
    // The key for encryption comes first.
    keys: () => [
      { kid: "enc", kty: "RSA", alg: "RSA-OAEP", use: "enc", n: other.n, e: other.e, x5c: ["MIIC"], x5t: "e", "x5t#S256": "e" },
      { kid: "now", kty: "RSA", alg: "RS256", use: "sig", n: publicKey.n, e: publicKey.e, x5c: ["MIIC"], x5t: "n", "x5t#S256": "n" },
    ],
    metadata: {
      authorization_response_iss_parameter_supported: true,
      token_endpoint_auth_methods_supported: ["private_key_jwt", "client_secret_basic", "client_secret_post", "tls_client_auth", "client_secret_jwt"],
    },
    callback: { session_state: "0f1a5ae4", iss: "ISSUER" },
    claims: () => ({
      auth_time: now(), jti: "6b5d6f8a", sub: "f2a9c5b0-7b7f-4a5c-9d50-1f1fd2f4d6c1", typ: "ID", azp: clientId, sid: "0f1a5ae4",
      at_hash: "zPv", acr: "1", email_verified: true, preferred_username: "mina", email,
    }),
  },
};

const json = (response, value) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(value));
};

const body = async (request) => {
  let text = "";
  for await (const part of request) text += part;
  return new URLSearchParams(text);
};

const handlers = {
  "/.well-known/openid-configuration": (form, root, issuer, response) =>
    json(response, {
      issuer,
      authorization_endpoint: `${root}/authorize`,
      token_endpoint: `${root}/token`,
      userinfo_endpoint: `${root}/userinfo`,
      jwks_uri: `${root}/keys`,
      response_types_supported: ["code", "id_token", "code id_token"],
      subject_types_supported: ["pairwise"],
      id_token_signing_alg_values_supported: ["RS256"],
      scopes_supported: ["openid", "profile", "email", "offline_access"],
      ...form.metadata,
    }),
  "/keys": (form, _root, _issuer, response) => json(response, { keys: form.keys() }),
  "/userinfo": (form, _root, _issuer, response) => json(response, form.userinfo?.() ?? { sub: form.claims().sub }),
  "/authorize": (form, _root, issuer, response, url) => {
    const code = Math.random().toString(36).slice(2);
    codes.set(code, url.searchParams.get("nonce"));
    const back = new URL(url.searchParams.get("redirect_uri"));
    const more = Object.entries(form.callback).map(([name, value]) => [name, value === "ISSUER" ? issuer : value]);
    for (const [name, value] of [["code", code], ["state", url.searchParams.get("state")], ...more]) back.searchParams.set(name, value);
    response.writeHead(302, { location: back.href }).end();
  },
  "/token": async (form, _root, issuer, response, _url, request) => {
    const nonce = codes.get((await body(request)).get("code"));
    const claims = { aud: clientId, iss: issuer, iat: now(), exp: now() + 3600, nonce, ...form.claims() };
    const token = new jose.SignJWT(claims).setProtectedHeader({ typ: "JWT", alg: "RS256", kid: "now" });
    json(response, { token_type: "Bearer", scope: "openid email", expires_in: 3599, access_token: "opaque", id_token: await token.sign(pair.privateKey) });
  },
};

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, base);
  const control = /^\/(clock|address)\/(.*)$/.exec(url.pathname);
  if (control) {
    if (control[1] === "clock") ahead = Number(control[2]);
    else email = control[2];
    return response.end();
  }
  for (const [name, path] of Object.entries(ISSUERS)) {
    const root = path.replace(/\/$/, "");
    if (!url.pathname.startsWith(`${root}/`)) continue;
    const handler = handlers[url.pathname.slice(root.length)];
    if (handler) return handler(FORMS[name], `${base}${root}`, `${base}${path}`, response, url, request);
  }
  response.writeHead(404).end();
});
server.listen(0, "127.0.0.1", () => {
  base = `http://127.0.0.1:${server.address().port}`;
  console.log(base);
});
// The test holds this end open for as long as it wants them.
process.stdin.on("end", () => process.exit(0)).resume();
