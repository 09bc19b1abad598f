// A real OpenID Connect server for the tests: node-oidc-provider, with its own pages to sign in and to agree.
//
// Takes its settings as JSON in its one argument: port, client, redirect, keys (a JWKS with private keys), people (claims
// by what is typed as a login; any password is right), and prints "ready" once it listens.
import http from 'node:http';
import Provider from 'oidc-provider';

const settings = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${settings.port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: settings.client.id,
    client_secret: settings.client.secret,
    redirect_uris: [settings.redirect],
    id_token_signed_response_alg: settings.alg,
    token_endpoint_auth_method: settings.auth,
  }],
  jwks: settings.keys,
  cookies: { keys: ['only for tests'] },
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: settings.conform,
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, userinfo: { enabled: true } },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
  findAccount: (context, id) => ({ accountId: id, claims: () => ({ sub: id, ...settings.people[id] }) }),
  ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 600, IdToken: 300, Interaction: 600, Session: 3600 },
});
http.createServer(provider.callback()).listen(settings.port, '127.0.0.1', () => console.log('ready'));
