// Package webhook is the part of callbacks that needs no database: which URLs may be called (ParseURL), which
// addresses may be dialled (Guard), how a request is signed (Secret, Sign), how one attempt is made (Sender)
// and when the next one is due (Policy).
//
// The wire format is Standard Webhooks 1.0.0, symmetric signatures ("v1").
//
// A destination is judged twice, and neither judgement is ever reused:
//
//   - by its form, when an export is requested and again in every attempt;
//   - by its addresses, after DNS and again in the socket just before connect,
//     in every attempt. What is dialled is the address that was checked, so a
//     name that changes its answer between the two (rebinding) gains nothing.
//
// The package keeps no state between calls, except the counters of a Limiter, and logs nothing. What a tenant
// may see of a failure is its Class alone: an address, a banner or an error text would make callbacks a port
// scanner.
package webhook
