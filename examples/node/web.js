// A web service that uses the database as its caller: with the role and the rights of each user.
//
// AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET identify the application; the caller sends an access token for it.
// Entra validates the token when it is exchanged. A service that uses the token in another way must validate it itself.
import "./setup.js";
import express from "express";
import pg from "pg";
import { AuthenticationError, AuthenticationRequiredError, entraConfig } from "pgentra";
import { OnBehalfOfCredential } from "pgentra/identity";

const { AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, PORT = "3000" } = process.env;

/** Connects as the caller while `work` runs. */
async function asCaller(request, work) {
  const [, userAssertionToken] = /^Bearer (\S+)$/i.exec(request.get("authorization") ?? "") ?? [];
  if (userAssertionToken === undefined || isOver(userAssertionToken))
    throw Object.assign(new Error("sign in first"), { status: 401 });
  // A credential for each request is cheap: tokens are cached by user, for the last 12,000 users, each while it is valid.
  const credential = new OnBehalfOfCredential({
    tenantId: AZURE_TENANT_ID,
    clientId: AZURE_CLIENT_ID,
    clientSecret: AZURE_CLIENT_SECRET,
    userAssertionToken,
  });
  const client = new pg.Client(await entraConfig({}, credential));
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Entra validates the token when it is exchanged, but the resulting token is cached and can be valid for longer. */
function isOver(token) {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
    return !(exp > Date.now() / 1000);
  } catch {
    return true;
  }
}

const app = express();

app.get("/me", async (request, response) => {
  const { rows } = await asCaller(request, (client) => client.query("select current_user as role"));
  response.json(rows[0]);
});

app.use((error, request, response, next) => {
  if (response.headersSent) return next(error);
  if (error instanceof AuthenticationRequiredError) {
    // Entra requires an action of the user: a second factor, a consent. The caller's client signs the user in again with the
    // claims challenge, and repeats its request with the new token.
    const claims = Buffer.from(error.detail.claims ?? "{}").toString("base64");
    response.set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="${claims}"`);
    return response.status(401).json({ error: error.code, aadsts: error.aadsts });
  }
  // An expired token, or one for another application, is an error of the caller; any other error is one of the service.
  const isCallers = error instanceof AuthenticationError && error.errorResponse?.error === "invalid_grant";
  const status = error.status ?? (isCallers ? 401 : 500);
  if (status === 401) response.set("WWW-Authenticate", "Bearer");
  else console.error(error.message);
  response.status(status).json({ error: error.code ?? error.message });
});

const server = app.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
