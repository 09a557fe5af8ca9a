// npm's oidc-provider on loopback, set up as our issuer is: who comes is Alice, and allows everything.
import { createServer } from 'node:http'
import Provider, { errors } from 'oidc-provider'

const { port, clients, resource, scope } = JSON.parse(process.argv[2])

const provider = new Provider(`http://localhost:${port}`, {
  clients,
  scopes: ['openid', 'offline_access', 'profile'],
  responseTypes: ['code'],
  pkce: { required: () => true },
  cookies: { keys: ['of a test'] },
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  rotateRefreshToken: () => true,
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, indicator) => {
        if (indicator !== resource) throw new errors.InvalidTarget()
        return { scope, audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 300 }
      },
    },
  },
})

async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response)
  let result = { login: { accountId: 'alice' } }
  if (prompt.name === 'consent') {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
    grant.addOIDCScope(params.scope ?? 'openid')
    grant.addResourceScope(resource, scope)
    result = { consent: { grantId: await grant.save() } }
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true })
}

const answer = provider.callback()
createServer((request, response) =>
  request.url.startsWith('/interaction/')
    ? interact(request, response).catch((problem) => response.writeHead(500).end(String(problem)))
    : answer(request, response),
).listen(port, '127.0.0.1', () => console.log('ready'))
