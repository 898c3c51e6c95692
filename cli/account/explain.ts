// What went wrong with a request to AWS, as an error that says what to do. It knows no service.
import { RetryableError, UserError } from '../../schemas/errors.ts'

const noCredentials = ['CredentialsProviderError', 'TokenProviderError']
const badCredentials = [
  'ExpiredToken',
  'ExpiredTokenException',
  'InvalidClientTokenId',
  'UnrecognizedClientException',
  'SignatureDoesNotMatch',
  'InvalidSignatureException',
  'RequestExpired',
]
const denied = ['AccessDenied', 'AccessDeniedException', 'UnauthorizedOperation']

/** `action` is what was asked for, as IAM writes it. */
export function explainAwsError(error: unknown, action: string): Error {
  if (error instanceof UserError || error instanceof RetryableError) return error
  const name = error instanceof Error ? error.name : ''
  const message = error instanceof Error ? error.message : String(error)
  const because = { cause: error }
  if (noCredentials.includes(name))
    return new UserError(
      'no credentials are found; run aws configure or aws sso login, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
      because,
    )
  if (badCredentials.includes(name))
    return new UserError(
      `the credentials are refused (${name}): they are wrong, or no longer good; log in again, for example with aws sso login`,
      because,
    )
  if (denied.includes(name))
    return new UserError(`the credentials may not do ${action}; let them, or use others`, because)
  return new RetryableError(`${action} did not work: ${message === '' ? name : message}`, because)
}

/** Whether AWS said that there is no such thing. */
export function isNamed(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof Error && names.includes(error.name)
}
