// The scenes that npm's oauth4webapi plays: every step by itself, every answer validated.
import * as oauth from 'oauth4webapi'
import { ask, given, key, play, visit } from './talk.mjs'

const { id, secret, back } = given
const issuer = new URL(given.issuer)
const mine = { client_id: id, id_token_signed_response_alg: 'ES256' }
const basic = secret && oauth.ClientSecretBasic(secret)
const es256 = { name: 'ECDSA', namedCurve: 'P-256' }

const discovered = async (algorithm) =>
  oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm }))

async function request(more = {}) {
  const verifier = oauth.generateRandomCodeVerifier()
  const parameters = {
    client_id: id,
    redirect_uri: back,
    response_type: 'code',
    scope: 'openid profile things.read offline_access',
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  }
  return { verifier, parameters }
}

function to(endpoint, parameters) {
  const url = new URL(endpoint)
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url
}

// Again with the nonce that the refusal brought (RFC 9449 section 8); `asked` counts how often that was needed.
let asked = 0
async function withNonce(attempt) {
  try {
    return await attempt()
  } catch (problem) {
    if (!oauth.isDPoPNonceError(problem)) throw problem
    asked += 1
    return attempt()
  }
}

async function redeemed(as, authentication, where, { verifier, parameters }, options) {
  const callback = oauth.validateAuthResponse(as, mine, where, parameters.state)
  const answer = await oauth.authorizationCodeGrantRequest(as, mine, authentication, callback, back, verifier, options)
  return oauth.processAuthorizationCodeResponse(as, mine, answer, {
    expectedNonce: parameters.nonce,
    requireIdToken: true,
  })
}

await play({
  async metadata() {
    const both = [await discovered('oidc'), await discovered('oauth2')]
    const resource = await oauth.processResourceDiscoveryResponse(issuer, await oauth.resourceDiscoveryRequest(issuer))
    return { issuers: both.map((as) => as.issuer), servers: resource.authorization_servers }
  },

  async program() {
    const as = await discovered()
    const answer = await oauth.clientCredentialsGrantRequest(as, mine, basic, {})
    const { access_token: token } = await oauth.processClientCredentialsResponse(as, mine, answer)
    const look = async () =>
      oauth.processIntrospectionResponse(as, mine, await oauth.introspectionRequest(as, mine, basic, token))
    const before = (await look()).active
    // As an API validates it (RFC 9068), with our keys and nothing else.
    const call = new Request('https://api.example.com/', { headers: { authorization: `Bearer ${token}` } })
    const claims = await oauth.validateJwtAccessToken(as, call, given.issuer)
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, mine, basic, token))
    return { before, claims, after: (await look()).active }
  },

  async code() {
    const as = await discovered()
    const wanted = await request()
    const tokens = await redeemed(as, basic, await visit(to(as.authorization_endpoint, wanted.parameters)), wanted)
    const claims = oauth.getValidatedIdTokenClaims(tokens)
    const answer = await oauth.userInfoRequest(as, mine, tokens.access_token)
    const person = await oauth.processUserInfoResponse(as, mine, claims.sub, answer)
    const renewal = await oauth.refreshTokenGrantRequest(as, mine, basic, tokens.refresh_token)
    const renewed = await oauth.processRefreshTokenResponse(as, mine, renewal)
    return { claims, person, scope: renewed.scope }
  },

  // Everything that FAPI 2.0 asks of a client: PAR, PKCE, private_key_jwt, DPoP, and `iss` in the answer.
  async strict() {
    const as = await discovered()
    const authentication = oauth.PrivateKeyJwt({ key: await key(given.key, es256), kid: given.key.kid })
    const DPoP = oauth.DPoP(mine, await oauth.generateKeyPair('ES256'))
    const wanted = await request()
    const pushed = await withNonce(async () =>
      oauth.processPushedAuthorizationResponse(
        as,
        mine,
        await oauth.pushedAuthorizationRequest(as, mine, authentication, wanted.parameters, { DPoP }),
      ),
    )
    const where = await visit(to(as.authorization_endpoint, { client_id: id, request_uri: pushed.request_uri }))
    const tokens = await withNonce(() => redeemed(as, authentication, where, wanted, { DPoP }))
    const answer = await withNonce(() =>
      oauth.protectedResourceRequest(tokens.access_token, 'GET', new URL('/things', issuer), undefined, undefined, { DPoP }),
    )
    return { type: tokens.token_type, status: answer.status, sub: oauth.getValidatedIdTokenClaims(tokens).sub }
  },

  async nonce() {
    const as = await discovered()
    const DPoP = oauth.DPoP(mine, await oauth.generateKeyPair('ES256'))
    const tokens = await withNonce(async () =>
      oauth.processClientCredentialsResponse(
        as,
        mine,
        await oauth.clientCredentialsGrantRequest(as, mine, basic, {}, { DPoP }),
      ),
    )
    const answer = await withNonce(() =>
      oauth.protectedResourceRequest(tokens.access_token, 'GET', new URL('/things', issuer), undefined, undefined, { DPoP }),
    )
    return { type: tokens.token_type, asked: asked > 0, status: answer.status }
  },

  async signed() {
    const as = await discovered()
    const mineToo = { key: await key(given.key, es256), kid: given.key.kid }
    const wanted = await request({ scope: 'openid' })
    const signed = await oauth.issueRequestObject(as, mine, wanted.parameters, mineToo)
    const where = await visit(to(as.authorization_endpoint, { client_id: id, request: signed }))
    const tokens = await redeemed(as, oauth.PrivateKeyJwt(mineToo), where, wanted)
    return { sub: oauth.getValidatedIdTokenClaims(tokens).sub }
  },

  async device() {
    const as = await discovered()
    const answer = await oauth.deviceAuthorizationRequest(as, mine, basic, { scope: 'things.read' })
    const codes = await oauth.processDeviceAuthorizationResponse(as, mine, answer)
    const poll = async () =>
      oauth.processDeviceCodeResponse(as, mine, await oauth.deviceCodeGrantRequest(as, mine, basic, codes.device_code))
    let waiting = ''
    await poll().catch((problem) => (waiting = problem.error))
    await ask({ device: codes.verification_uri, code: codes.user_code })
    return { waiting, type: (await poll()).token_type }
  },
})
