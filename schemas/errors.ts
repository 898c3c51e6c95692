// The three things this project throws. Whatever can go wrong with one image is a value instead (failure.ts).

/** The user can fix it. The message says what was seen, what was expected and what to do. */
export class UserError extends Error {
  override readonly name = 'UserError'
}

/** Trying again may help: a lost response, a busy service. Always has a cause. */
export class RetryableError extends Error {
  override readonly name = 'RetryableError'
}

/** Our bug: a state the code said could not be. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}
