// What an unauthorised client learns: 401, and by the SDK's own functions who gives out tokens (RFC 9728).

/**
 * Connects without the token and follows the refusal. `sdk` has the functions of either package: `connect(fetch)`,
 * `statusOf(error)`, `challenge(response)` and `metadata(url, options)`.
 */
export async function refused(check, options, sdk) {
  const refusals = [];
  const watching = async (...request) => {
    const response = await fetch(...request);
    if (response.status === 401) refusals.push(response);
    return response;
  };
  let error;
  try {
    await sdk.connect(watching);
  } catch (thrown) {
    error = thrown;
  }
  check(error !== undefined && sdk.statusOf(error) === 401, 'without a token the SDK does not connect and says 401', String(error));
  const { resourceMetadataUrl } = sdk.challenge(refusals[0]);
  check(resourceMetadataUrl !== undefined, 'WWW-Authenticate names the metadata', refusals[0].headers.get('www-authenticate'));
  // Where the challenge says, and where the SDK looks without one.
  for (const place of [resourceMetadataUrl, undefined]) {
    const metadata = await sdk.metadata(options.url, { resourceMetadataUrl: place });
    check(metadata.resource === options.url, 'the metadata is of this endpoint', metadata);
    check(metadata.authorization_servers?.includes(issuerOf(options.token)), 'whose tokens come from the issuer', metadata);
  }
}

/** The `iss` of a JWT, unverified: here it only says what the metadata has to name. */
function issuerOf(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).iss;
}
