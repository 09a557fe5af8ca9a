// The scenes that npm's openid-client plays.
import * as client from 'openid-client'
import { ask, given, key, play, visit } from './talk.mjs'

const { issuer, id, secret, back, after } = given
const es256 = { name: 'ECDSA', namedCurve: 'P-256' }

const discovered = (authentication = client.ClientSecretBasic(secret), url = issuer) =>
  client.discovery(new URL(url), id, { id_token_signed_response_alg: 'ES256' }, authentication)

const things = async (config, token, options) =>
  (await client.fetchProtectedResource(config, token, new URL('/things', issuer), 'GET', undefined, undefined, options)).status

async function request(scope, more = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const parameters = {
    redirect_uri: back,
    scope,
    state: client.randomState(),
    nonce: client.randomNonce(),
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  }
  const checks = {
    pkceCodeVerifier: verifier,
    expectedState: parameters.state,
    expectedNonce: parameters.nonce,
    idTokenExpected: true,
  }
  return { parameters, checks }
}

async function signedIn(config, scope, url = client.buildAuthorizationUrl) {
  const { parameters, checks } = await request(scope)
  const where = await visit(await url(config, parameters))
  const tokens = await client.authorizationCodeGrant(config, where, checks)
  return { tokens, where, checks }
}

const refused = async (promise) => {
  try {
    await promise
  } catch (problem) {
    return problem.error ?? problem.code ?? problem.name
  }
  return 'taken'
}

await play({
  async discovery() {
    const told = (await discovered()).serverMetadata()
    return { issuer: told.issuer, pkce: told.supportsPKCE(), elsewhere: await refused(discovered(undefined, given.elsewhere)) }
  },

  async program() {
    const config = await discovered()
    const { access_token: token } = await client.clientCredentialsGrant(config)
    const before = [(await client.tokenIntrospection(config, token)).active, await things(config, token)]
    await client.tokenRevocation(config, token)
    const { active } = await client.tokenIntrospection(config, token)
    return { before, active, after: await refused(things(config, token)) }
  },

  async signer() {
    const config = await discovered(client.PrivateKeyJwt({ key: await key(given.key, es256), kid: given.key.kid }))
    const { access_token: token } = await client.clientCredentialsGrant(config)
    return { status: await things(config, token) }
  },

  async code() {
    const config = await discovered()
    const { tokens, where, checks } = await signedIn(config, 'openid profile things.read offline_access')
    const claims = tokens.claims()
    const person = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
    const before = await things(config, tokens.access_token)
    const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
    const others = await refused(client.authorizationCodeGrant(config, where, { ...checks, expectedState: 'another' }))
    const again = await refused(client.authorizationCodeGrant(config, where, checks))
    const ended = await refused(things(config, renewed.access_token))
    return { claims, person, before, others, again, ended, renewed: renewed.refresh_token !== tokens.refresh_token }
  },

  async mixed() {
    const config = await discovered()
    const { parameters, checks } = await request('openid')
    const where = await visit(client.buildAuthorizationUrl(config, parameters))
    where.searchParams.set('iss', 'https://another.example.com')
    return { refused: await refused(client.authorizationCodeGrant(config, where, checks)) }
  },

  async pushed() {
    const config = await discovered()
    const { tokens } = await signedIn(config, 'openid', client.buildAuthorizationUrlWithPAR)
    return { sub: tokens.claims().sub }
  },

  async signed() {
    const mine = { key: await key(given.key, es256), kid: given.key.kid }
    const config = await discovered(client.PrivateKeyJwt(mine))
    const { tokens } = await signedIn(config, 'openid', (...words) => client.buildAuthorizationUrlWithJAR(...words, mine))
    return { sub: tokens.claims().sub }
  },

  async bound() {
    const config = await discovered()
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
    const { parameters, checks } = await request('openid offline_access')
    const where = await visit(await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP }))
    const tokens = await client.authorizationCodeGrant(config, where, checks, undefined, { DPoP })
    const { sub } = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP })
    const renewed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
    const other = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
    return {
      sub,
      type: renewed.token_type,
      status: await things(config, renewed.access_token, { DPoP }),
      other: await refused(things(config, renewed.access_token, { DPoP: other })),
      unproved: await refused(things(config, renewed.access_token)),
    }
  },

  // It fetches a nonce by itself: what is refused with one is asked again.
  async nonce() {
    const config = await discovered()
    let refusals = 0
    config[client.customFetch] = async (...words) => {
      const answer = await fetch(...words)
      refusals += answer.status >= 400 && answer.headers.has('dpop-nonce') ? 1 : 0
      return answer
    }
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
    const tokens = await client.clientCredentialsGrant(config, {}, { DPoP })
    const status = await things(config, tokens.access_token, { DPoP })
    return { type: tokens.token_type, asked: refusals > 0, status }
  },

  async device() {
    const config = await discovered()
    const codes = await client.initiateDeviceAuthorization(config, { scope: 'openid things.read' })
    await ask({ device: codes.verification_uri, code: codes.user_code })
    const tokens = await client.pollDeviceAuthorizationGrant(config, codes)
    return { sub: tokens.claims().sub, status: await things(config, tokens.access_token) }
  },

  async logout() {
    const config = await discovered()
    const { tokens } = await signedIn(config, 'openid')
    const url = client.buildEndSessionUrl(config, {
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: after,
      state: 'bye',
    })
    const where = await visit(url)
    return { where: where.href, status: await refused(things(config, tokens.access_token)) }
  },
})
