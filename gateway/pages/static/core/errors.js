/** For every error code of the API, and "network": what happened, and what to do next. */

const EXPLANATIONS = {
  network: ["The server cannot be reached.", "Check your connection and try again."],
  invalid: ["Some fields are not right.", "Correct what is marked and try again."],
  malformed_body: ["The request was damaged.", "Reload the page and try again."],
  url_not_allowed: ["This address is not allowed.", "Use a public https address."],
  not_enough_tickets: ["There are not enough tickets left.", "Choose fewer, or another kind."],
  all_held: [
    "All tickets that are left are on hold for other buyers.",
    "Some may come back. Try again in a few minutes.",
  ],
  over_user_limit: ["This is more than one buyer may have.", "Choose fewer tickets."],
  sale_not_open: ["The sale has not started yet.", "Wait until it opens; this page tells you."],
  sale_closed: ["The sale has ended.", "Ask the organiser for other tickets."],
  sale_paused: ["The sale is paused.", "Stay on this page; it goes on by itself."],
  not_authenticated: ["You are not signed in.", "Sign in and try again."],
  invalid_credentials: ["The name or the password is wrong.", "Check both and try again."],
  token_expired: ["Your sign-in has ended.", "Sign in and try again."],
  token_malformed: ["Your sign-in has ended.", "Sign in and try again."],
  token_not_valid: ["Your sign-in has ended.", "Sign in and try again."],
  permission_denied: ["Only the owner of the event may do this.", "Sign in with that account."],
  account_locked: ["This account is locked.", "Ask the operator."],
  registration_closed: ["New accounts cannot be made here.", "Sign in with yours."],
  out_of_scope: ["This key is not allowed to do this.", "Use one with another scope."],
  not_your_event: ["This event belongs to somebody else.", "Use a key of its owner."],
  cross_site_request: ["The request came from another site.", "Reload the page and try again."],
  not_found: ["There is no such thing here.", "Check the address."],
  method_not_allowed: ["This cannot be done here.", "Reload the page and try again."],
  body_too_slow: ["Your connection was too slow.", "Try again."],
  conflict: ["Something else changed this first.", "Reload the page and try again."],
  not_decided: ["Your purchase is still being decided.", "Wait a moment; it keeps its place."],
  not_held: ["These tickets are not on hold.", "Look at the purchase."],
  not_confirmed: ["This purchase is not confirmed.", "Look at the purchase."],
  hold_expired: ["The time to pay has run out.", "Buy again if you still want them."],
  hold_released: ["These tickets were given back.", "Buy again if you still want them."],
  already_confirmed: ["This purchase is paid already.", "Look at the purchase."],
  already_cancelled: ["These tickets are cancelled already.", "Look at the purchase."],
  too_many_cancellations: ["Too many cancellations of these tickets.", "Cancel all."],
  payment_reference_used: ["This payment belongs to another purchase.", "Look at the purchase."],
  extension_limit: ["These holds cannot be extended.", "Let them run out."],
  epoch_changed: ["The records were restored.", "Reload the page and try again."],
  precondition_failed: ["Somebody changed this meanwhile.", "Reload the page and try again."],
  body_too_large: ["This is too much at once.", "Shorten what you entered."],
  unsupported_content_encoding: ["The request was damaged.", "Reload the page and try again."],
  idempotency_key_reused: ["Two tries were mixed up.", "Reload the page and try again."],
  precondition_required: ["The page is out of date.", "Reload the page and try again."],
  too_many_requests: ["Too many requests came from you.", "Wait a moment and try again."],
  too_many_expired_holds: [
    "You let too many holds for this event run out.",
    "Try again within the hour.",
  ],
  server_error: ["Something went wrong on our side.", "Wait a moment and try again."],
  unavailable: ["The server is busy right now.", "Wait a moment and try again."],
};

/**
 * @param {{code?: string}} error - an ApiError, or any other: then it is a fault of ours
 * @returns {{title: string, next: string}}
 */
export function explain({ code }) {
  const [title, next] = EXPLANATIONS[code] ?? EXPLANATIONS.server_error;
  return { title, next };
}
