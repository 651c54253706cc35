// An identity provider made of the npm package oidc-provider, which the OpenID Foundation has
// certified: node certified_provider.mjs DIRECTORY. DIRECTORY contains node_modules.
// The configuration is one JSON line of standard input. It prints its issuer.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const directory = process.argv[2];
const entry = `${directory}/node_modules/oidc-provider/lib/index.js`;
const { Provider } = await import(pathToFileURL(entry).href);
const [line] = await new Promise((resolve) => {
  createInterface({ input: process.stdin }).once("line", (text) => resolve([text]));
});
const setup = JSON.parse(line);

const server = createServer();
await new Promise((resolve) => server.listen(setup.port, "127.0.0.1", resolve));
// With an address of its own, it is behind a proxy.
const issuer = setup.issuer || `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: setup.client_id,
      client_secret: setup.client_secret,
      redirect_uris: [setup.redirect_uri],
    },
  ],
  acrValues: ["urn:mfa"],
  // As providers do by default, the ID token has the subject alone, and userinfo has the rest.
  claims: {
    openid: ["sub", "groups", "amr"],
    email: ["email", "email_verified"],
    profile: ["name", "preferred_username"],
  },
  features: { claimsParameter: { enabled: true }, devInteractions: { enabled: false } },
  cookies: { keys: ["only for tests"] },
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, ...setup.claims }),
  }),
  interactions: { url: (context, interaction) => `/interaction/${interaction.uid}` },
  async loadExistingGrant(context) {
    const grant = new context.oidc.provider.Grant({
      clientId: context.oidc.client.clientId,
      accountId: context.oidc.session.accountId,
    });
    grant.addOIDCScope("openid email profile");
    grant.addOIDCClaims(["auth_time", "amr"]);
    await grant.save();
    return grant;
  },
});
provider.proxy = Boolean(setup.issuer);
const handle = provider.callback();
server.on("request", (request, response) => {
  if (!request.url.startsWith("/interaction/")) return handle(request, response);
  // The person enters a password and a second factor.
  const login = { accountId: setup.subject, amr: ["pwd", "mfa"], acr: "urn:mfa" };
  return provider.interactionFinished(request, response, { login });
});
console.log(issuer);
